"""A trained model to one whose weights are numbers of 8 bits."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from xprnn.engine import int8
from xprnn.grad_mode import no_grad
from xprnn.nn.linear import Linear
from xprnn.nn.module import Module
from xprnn.nn.quantized.linear import QuantizedLinear
from xprnn.nn.quantized.recurrent import QuantizedRecurrent
from xprnn.nn.quantized.report import Error, Probe, Quantization, batches
from xprnn.nn.quantized.rows import Twins
from xprnn.nn.recurrent.layers import GRU, LSTM, RNN
from xprnn.nn.recurrent.stacked import RecurrentLayer
from xprnn.tensor import Parameter

M = TypeVar("M", bound=Module)
OWNER = "quantize"


def quantize(model: M, to: str = "int8", *, calibration: Any = None) -> M:
    """A copy of a model that infers with weights of 8 bits; the model stays as it is.

    Every RNN, LSTM, GRU and Linear in it becomes a :class:`QuantizedRecurrent` or :class:`QuantizedLinear` with a code
    from -127 to 127 for each weight and a float32 scale for each of its rows, so that files have a quarter of the size.
    Inputs and states are coded at every step anew, sums are integers of 32 bits, gates and states float32: the scheme
    of Jacob et al. 2018 (arXiv 1712.05877), dynamic in its activations. The copy's interface is the model's, and so are
    the names in its ``state_dict`` but for the scales. It loads what another one of the same layers saved, and streams.
    What parts share, they share in the copy too, but for weights of 8 bits with parts that stay as they were. All
    parameters of the copy are frozen, no gradient goes through what has weights of 8 bits, and their operators and
    methods raise TypeError, since codes without their scales are no numbers to calculate with.

    The copy's ``quantization`` is a :class:`Quantization`: its ``left`` names what keeps its float weights, and why,
    such as embeddings and cells with layer normalisation.

    Parameters
    ----------
    to
        "int8".
    calibration
        What the model is to be called with, for the report of errors: an array, or an iterable of such or of tuples of
        arguments. Nothing else depends on it.

    Raises ValueError where nothing can be quantized, for weights that are not finite and calibration without a batch;
    TypeError for what is no Module, and what the model raises for the calibration data.
    """
    if to != "int8":
        raise ValueError(f"{OWNER}: to is {to!r}; expected 'int8'")
    if not isinstance(model, Module):
        raise TypeError(
            f"{OWNER}: the model is a {type(model).__name__}; expected a Module"
            + f", or call {type(model).__name__}.quantized" * hasattr(model, "quantized")  # as estimators have it
        )
    twins: dict[int, tuple[Module, Module]] = {}
    layers: dict[str, tuple[str, Error]] = {}
    shared = Twins()
    left: dict[str, str] = {}
    for name, module in model.named_modules():
        made = _quantized(name, module, shared)
        if isinstance(made, Module):
            twins[id(module)] = module, made
            layers[name] = f"{type(module).__name__}, {module.describe()}", Error()
        elif made is not None:
            left[name] = made
    if not twins:
        why = "; ".join(f"{name or 'the model'}: {reason}" for name, reason in left.items()) or "it has no weights"
        raise ValueError(f"{OWNER}: nothing in the {type(model).__name__} can be quantized ({why})")
    # Whatever holds a layer or its bias holds its twin in the copy: copies ask their memo first.
    found: M = copy.deepcopy(model, {key: twin for key, (_, twin) in twins.items()} | shared.floats())
    found.eval()
    for _, twin in twins.values():
        twin.eval()
    for parameter in found.parameters():
        parameter.requires_grad, parameter.grad = False, None
    report = Quantization(layers, left, (_bytes(model), _bytes(found)))
    if calibration is not None:
        _calibrate(model, found, twins, report, calibration)
    object.__setattr__(found, "quantization", report)
    return found


def _quantized(name: str, module: Module, shared: Twins) -> Module | str | None:
    """The twin of a module, or why it has none; None where it has no weights of its own."""
    kind, label = type(module), f"{OWNER}: {name or type(module).__name__}"
    if kind not in (Linear, RNN, LSTM, GRU, RecurrentLayer):  # what a class of its own computes nobody knows
        if kind in (QuantizedLinear, QuantizedRecurrent):
            return "its weights have 8 bits already"
        own = any(isinstance(part, Parameter) for _, part in module._parts([]))
        return f"there is nothing of 8 bits for {kind.__name__}" if own else None
    layer: Any = module
    if layer.dtype != "float32":
        return f"its dtype is {layer.dtype}; expected float32"
    if kind is Linear:
        return QuantizedLinear(layer, label, shared)
    if layer.zoned:
        return "it has zoneout"
    if layer.reverse_cell is not None or not int8.serves(layer.cell):
        return f"there are no products of 8 bits for the cell {layer.cell.name}"
    return QuantizedRecurrent(layer, label, shared)


def _bytes(model: Module) -> int:
    """Of all parameters."""
    return sum(int(parameter.data.nbytes) for parameter in model.parameters())


def _calibrate(
    model: Module, found: Module, twins: dict[int, tuple[Module, Module]], report: Quantization, calibration: Any
) -> None:
    """Fill in the errors of a report."""
    errors = {id(module): report.layers[name][1] for name, module in model.named_modules() if name in report.layers}
    probes: dict[int, Any] = {key: Probe(module, twin, errors[key]) for key, (module, twin) in twins.items()}
    probed = copy.deepcopy(model, probes)
    with no_grad(), probed.mode(False):
        for arguments in batches(OWNER, calibration):
            report.output.see(probed(*arguments), found(*arguments))
