"""Commands that several processes run together, and that go on from where they were stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xprnn.cli.outputs import writable_file
from xprnn.distributed import Communicator, world
from xprnn.train import Checkpoint


def together(resume: Path | None, *written: Path) -> tuple[Communicator, dict[str, Any]]:
    """The ranks of this job, and the arguments for ``fit`` that follow from them and from ``--resume``.

    Raises UsageError where the training would be kept in a file that is ``written`` at the end.
    """
    if resume is not None:
        for path in written:
            if path.resolve() == resume.resolve():
                raise click.UsageError(f"{path} would be both result and training: give another --resume")
        writable_file(resume)  # before the work, not after it
    ranks = world()
    callbacks = [] if resume is None else [Checkpoint(resume, resume=True)]
    return ranks, {"callbacks": callbacks, "communicator": ranks}


def echo_once(ranks: Communicator, words: str) -> None:
    """Print something on standard error, once for all ranks."""
    if ranks.rank == 0:
        click.echo(words, err=True)
