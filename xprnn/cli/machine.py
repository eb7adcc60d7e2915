"""``xprnn warmup`` and ``xprnn info``: this machine and what runs on it."""

from __future__ import annotations

import importlib.metadata
import platform
import sys

import click

from xprnn import __version__, host_kernels
from xprnn.backend import DTYPES, available_backends, default_backend, devices
from xprnn.engine import dispatch
from xprnn.nn import GRU, LSTM, RNN
from xprnn.tensor import Tensor


@click.command()
def warmup() -> None:
    """Compile the kernels now, for this and later processes, instead of at their first use."""
    import numpy as np
    from tqdm import tqdm

    verdict, host = "", host_kernels.kernels()
    with tqdm(total=4 * len(DTYPES), desc="compiling", unit="kernel", disable=sys.stderr is None) as progress:
        for dtype in DTYPES:
            small, wide, x = (
                LSTM(2, 3, dtype=dtype, rng=0),
                LSTM(2, 256, dtype=dtype, rng=0),
                np.zeros((2, 1, 2), dtype),
            )
            verdict = dispatch.explain(lambda run, x: run(x)[0].sum().backward(), small, Tensor(x, requires_grad=True))
            progress.update()
            wide(x)  # one sequence of many units, whose columns threads share
            progress.update()
            small.stream().step(x[0])
            progress.update()
            if not isinstance(host, str):  # which says why there are none
                host.compile_equations(x.itemsize)
            progress.update()
    click.echo(verdict)


@click.command()
def info() -> None:
    """Versions, backends, and what runs a recurrent layer here."""
    from xprnn.kernels import numba_status

    try:
        home = default_backend()
    except (ValueError, RuntimeError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"xprnn {__version__}, Python {platform.python_version()} on {platform.machine()} {sys.platform}")
    for name in ("numpy", "array-api-compat", "numba", "safetensors", "cupy-cuda12x", "cupy-cuda13x", "matplotlib"):
        try:
            click.echo(f"  {name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            click.echo(f"  {name} is not installed")
    click.echo("backends")
    for name, reason in available_backends().items():
        click.echo(f"  {name}: {reason or 'ready, ' + '; '.join(devices(name))}")
    click.echo(f"  default: {home}")
    click.echo(f"numba: {numba_status()}")
    click.echo("who runs a recurrent layer here")
    for layer in (RNN(2, 3), LSTM(2, 3), LSTM(2, 3, peephole="full"), GRU(2, 3), GRU(2, 3, reset_after=False)):
        click.echo(dispatch.explain(layer, home.zeros((2, 1, 2), "float32")))
