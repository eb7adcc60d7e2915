"""Wrong input ends in one line, everything else in a traceback; what has to be said is one line too."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import click

from xprnn.backend import use_backend

EXPECTED = (ValueError, ImportError, RuntimeError, OSError, ArithmeticError, MemoryError)  # what wrong input can raise


@contextmanager
def one_line_errors(backend: str | None = None) -> Iterator[None]:
    """Compute on a backend inside the block, with one line for what goes wrong there."""
    try:
        with use_backend(backend) if backend is not None else nullcontext():
            yield
    except BrokenPipeError:  # whoever read what is printed has gone, and Click says nothing
        raise
    except EXPECTED as error:
        raise click.ClickException(str(error) or type(error).__name__) from None


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """Say on standard error what the block warns of, each in a line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        click.echo(f"Warning: {warning.message}", err=True)
