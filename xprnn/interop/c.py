"""A model as one file of C99, for microcontrollers, plugins, and wherever Python is not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from xprnn import __version__
from xprnn.arguments import input_tensor, several
from xprnn.backend import backend_of, to_numpy
from xprnn.grad_mode import no_grad
from xprnn.interop.c_code import RECURRENT, Code, Recurrent_, Sizes, constant
from xprnn.interop.c_file import FILE
from xprnn.interop.c_int8 import BEFORE
from xprnn.interop.c_source import functions
from xprnn.interop.chain import Stage, stages
from xprnn.interop.nam import Capture
from xprnn.nn.activations import ReLU
from xprnn.nn.module import Module
from xprnn.nn.quantized.linear import QuantizedLinear
from xprnn.nn.quantized.recurrent import QuantizedRecurrent
from xprnn.tensor import Tensor
from xprnn.whole_files import Path_, write_atomically

__all__ = ["Sizes", "export"]

Host = np.ndarray[Any, Any]
LARGEST = 1e30  # of a test's outputs: sums in another order might overflow beyond
STEPS, ALLOWED, A_CODE_OFF = 64, 64, 2**17
"""Of the test in the file: how long it is, and by how much it may be off, in ulp of the largest output; and by how much
where another bit of an input may give another code."""


def export(model: Module | Capture, path: Path_, *, name: str = "model", states: Sequence[Any] | None = None) -> Sizes:
    """Write a model as one file of C99 that needs no library and allocates nothing, and say what it takes.

    In C, with ``name`` in the place of model:

        model_state s;              the state, a struct of floats
        model_init(&s);             the state to begin with: ``states``, or that of a capture
        model_reset(&s);            zeros, as if nothing had been heard
        model_step(&s, x, y);       one step, x[inputs] to y[outputs]
        model_block(&s, x, y, n);   n steps, x[n][inputs] to y[n][outputs]

    With ``model_DECLARATIONS_ONLY`` defined it can be included as a header, from C++ too. Compiled with
    ``-Dmodel_TEST`` it is a program that compares itself with what the model said here, to 64 ulp of the largest
    output: sums are taken in another order, so that bits differ.

    Parameters
    ----------
    model
        A recurrent layer (RNN, LSTM with any peepholes, both GRUs, IndRNN; not with other activations, clipping or
        layer normalisation, and no linear cells), stacked or not, or a Sequential of recurrent layers, Linear, Tanh,
        Sigmoid and ReLU (Dropout is left out); or a :class:`xprnn.interop.nam.Capture`. All is rounded to float32.
        Layers that :func:`xprnn.nn.quantize` made keep their weights of 8 bits and compute as here, to the bit, where
        the compiler keeps to IEEE 754 (with clang's -ffp-contract=fast it does not, whatever a file asks for); the
        file's own test allows them nothing.
    name
        A C name, with which all others begin.
    states
        Of each recurrent layer its initial state, as it takes it where x has no batch. Default: zeros.

    Raises ValueError for what cannot be written (both directions, zoneout, other modules and cells), a model without a
    recurrent layer, weights that are not finite, a name that is none, and states that do not fit.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(f"c.export: name is {name!r}; expected letters, digits and underscores")
    if isinstance(model, Capture):
        states = [model.state]
        model = model.model
    chain = stages("c.export", model, coded=True)
    layers = [stage.module for stage in chain if isinstance(stage.module, RECURRENT)]
    if not layers:
        raise ValueError("c.export: the model has no recurrent layer")
    begin = _begin(layers, states)
    code = Code(chain, begin)
    sizes = code.sizes()
    x, y = _test_vector(chain, begin)
    text = FILE.format(
        name=name,
        what=", ".join(f"{type(stage.module).__name__}({stage.module.describe()})" for stage in chain),
        version=__version__,
        inputs=chain[0].inputs,
        outputs=chain[-1].outputs,
        sizes=sizes,
        multiplications=code.multiplications,
        before=BEFORE if code.codes else "",
        members="\n".join(f"    float {part}[{len(values)}];" for part, values in code.state.items()),
        constants="\n\n".join(code.constants),
        functions=functions("\n".join([*code.body, *code.beginning, "clear()"])),
        beginning=_lines([f"{name}_reset(s);", *code.beginning]),
        zeros=_lines([f"clear(s->{part}, {len(values)});" for part, values in code.state.items()]),
        body=_lines(
            [
                *(f"float {buffer}[{size}];" for buffer, size in code.buffers.items()),
                *(f"signed char q[{code.inputs}];" for _ in range(bool(code.codes))),
                *code.body,
            ]
        ),
        steps=len(x),
        allowed=_allowed(chain),
        test_x=constant("test_x", x),
        test_y=constant("test_y", y),
    )
    write_atomically(path, _named(text, name).encode())
    return sizes


def _named(text: str, name: str) -> str:
    """The file with its own functions and constants called by the name, too: others may be in one unit with it."""
    for own, bracket in set(re.findall(r"^static [^=;(\n]*?(\w+)([\[(])", text, re.MULTILINE)):
        text = re.sub(rf"\b{own}\b" + r"(?=\()" * (bracket == "("), f"{name}_{own}", text)
    return text


def _allowed(chain: Sequence[Stage]) -> int:
    """By how many ulp C may be off: by none where all is codes, and by much where these follow what is off a little."""
    coded = [isinstance(stage.module, (QuantizedRecurrent, QuantizedLinear)) for stage in chain]
    exact = [found or isinstance(stage.module, ReLU) for stage, found in zip(chain, coded, strict=True)]
    if all(exact):
        return 0
    return A_CODE_OFF if any(coded[exact.index(False) :]) else ALLOWED


def _begin(layers: Sequence[Recurrent_], states: Sequence[Any] | None) -> list[tuple[Host, ...]]:
    """The parts of each layer's initial state, (L, H), on the host."""
    states = None if states is None else several("c.export", "states", states)
    if states is not None and len(states) != len(layers):
        raise ValueError(f"c.export: states are {len(states)}; expected {len(layers)}, one for each recurrent layer")
    found = []
    for number, layer in enumerate(layers):
        shapes = [(layer.num_layers, size) for size in layer.state_sizes]
        given = [np.zeros(shape) for shape in shapes] if states is None else states[number]
        parts = given if isinstance(given, (tuple, list)) else [given]
        host = [to_numpy(input_tensor("c.export", f"state {number}", part).data) for part in parts]
        if (came := [part.shape for part in host]) != shapes:
            raise ValueError(f"c.export: state {number} has shapes {came}; expected {shapes}")
        found.append(tuple(part.astype(np.float32) for part in host))
    return found


def _test_vector(chain: Sequence[Stage], begin: Sequence[tuple[Host, ...]]) -> tuple[Host, Host]:
    """Inputs, and what the model makes of them: up to the step before one where it leaves what C can compare."""
    x = np.random.default_rng(0).uniform(-1.0, 1.0, (STEPS, chain[0].inputs)).astype(np.float32)
    for scale in (1.0, 2.0**-60, 0.0):
        scaled = x * np.float32(scale)
        with np.errstate(all="ignore"):
            y = _outputs(chain, begin, scaled)
            outside = np.flatnonzero(~(np.abs(y) <= LARGEST).all(axis=1))  # NaN too
        if steps := int(outside[0]) if len(outside) else STEPS:
            return scaled[:steps], y[:steps].astype(np.float32)
    raise ValueError("c.export: the model's first output is above what float32 holds, whatever comes in")


def _outputs(chain: Sequence[Stage], begin: Sequence[tuple[Host, ...]], x: Host) -> Host:
    layer = next(stage.module for stage in chain if isinstance(stage.module, RECURRENT))
    home, dtype, states = backend_of(layer.parameters()[0].data), layer.dtype, iter(begin)
    y = Tensor(home.asarray(x.astype(dtype)))
    with no_grad():
        for module in (stage.module for stage in chain):
            if not isinstance(module, RECURRENT):
                y = module(y)
                continue
            parts = [home.asarray(part.astype(dtype)) for part in next(states)]
            with module.mode(False):
                y = module(y, parts[0] if len(parts) == 1 else tuple(parts))[0]
    return to_numpy(y.data)


def _lines(statements: Sequence[str]) -> str:
    return "\n".join(f"    {statement}" for statement in statements)
