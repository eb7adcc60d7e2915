"""``xprnn export-c``: a trained network as one file of C."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from xprnn.cli.errors import one_line_errors
from xprnn.cli.outputs import keep_inputs
from xprnn.interop import c, keras, nam, rtneural


def _of_keras(path: Path) -> Any:
    return keras.load(path).sequential()


READERS: dict[str, Callable[[Path], Any]] = {
    ".nam": nam.load,
    ".json": rtneural.load,
    ".keras": _of_keras,
    ".h5": _of_keras,
}
PATH = click.Path(path_type=Path)


@click.command("export-c")
@click.argument("model", type=PATH)
@click.option("-o", "--out", type=PATH, default=Path("model.c"), show_default=True, help="File to write.")
@click.option("--name", default="model", show_default=True, help="What all names in the file begin with.")
def export_c(model: Path, out: Path, name: str) -> None:
    """Write a network as one C99 file that needs no library and allocates nothing.

    MODEL is a .nam file of an LSTM (Neural Amp Modeler), whose initial state comes along, a .json file of RTNeural, or
    a .keras or .h5 file of Keras. A model in Python is written by xprnn.interop.c.export.
    """
    keep_inputs(out, model)
    with one_line_errors():
        if model.suffix.lower() not in READERS:
            raise ValueError(f"{model}: expected a file that ends in {' or '.join(READERS)}")
        sizes = c.export(READERS[model.suffix.lower()](model), out, name=name)
    click.echo(f"{out}: state {sizes.state}, weights {sizes.weights}, arrays on the stack {sizes.stack} bytes")
    click.echo(f"its test: cc -std=c99 -O2 -D{name}_TEST {out} -o {out.stem} && ./{out.stem}")
