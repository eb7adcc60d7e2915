"""The ``xprnn`` command."""

from __future__ import annotations

import io
import sys

import click

from xprnn import __version__
from xprnn.cli.classify_command import classify
from xprnn.cli.detect_command import detect
from xprnn.cli.export_command import export_c
from xprnn.cli.forecast_command import backtest, demo, forecast
from xprnn.cli.machine import info, warmup
from xprnn.cli.sentiment_command import sentiment
from xprnn.cli.stream_command import stream_check


@click.group()
@click.version_option(__version__)
def main() -> None:
    """Recurrent neural networks for NumPy and CuPy arrays."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # as on standard error: not every terminal has every sign of a text
        sys.stdout.reconfigure(errors="backslashreplace")


for command in (forecast, demo, backtest, sentiment, classify, detect, export_c, stream_check, warmup, info):
    main.add_command(command)
