"""Recurrent layers with weights of 8 bits."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from xprnn import ops
from xprnn.backend import shared_namespace
from xprnn.engine import dispatch, int8
from xprnn.engine.call import SequenceCall
from xprnn.engine.control import Control
from xprnn.nn.linear import Linear
from xprnn.nn.quantized.linear import QuantizedLinear
from xprnn.nn.quantized.rows import Twins, refuse_gradients
from xprnn.nn.recurrent.sequence_layer import Parts, SequenceLayer, zero_state
from xprnn.nn.recurrent.stacked import RecurrentLayer, side_by_side
from xprnn.nn.weights import Declared
from xprnn.tensor import Parameter, Tensor

if TYPE_CHECKING:
    from xprnn.nn.recurrent.stream import Stream


class QuantizedRecurrent(SequenceLayer):
    """An RNN, LSTM or GRU with weights of 8 bits, which :func:`xprnn.nn.quantize` makes of one. For inference.

    Called, streamed and shaped as :class:`RecurrentLayer`; parameters are weight_ih_l0 and weight_hh_l0 int8, with
    scale_ih_l0, scale_hh_l0, bias_ih_l0 and bias_hh_l0 float32, and so on. In a step

        z = b + s_x s_ih (q_x W_ih) + s_h s_hh (q_h W_hh),    q = round(127 v / max|v|),    s = max|v| / 127,

    with the codes q of x and h of that step, each sequence by itself; sums of codes are exact, the state and the gates
    float32. The kernels and array code, a sequence at once and step by step, give the same bits. A step of x that is
    not finite makes its sequence NaN.

    After writing into a weight in place, assign its ``.data``: else kernels do not notice. Raises what
    :class:`RecurrentLayer` does, and RuntimeError where a gradient is asked for.
    """

    _fixed = RecurrentLayer._fixed
    input_size: int
    dtype: str
    weight_bits, zoned = 8, False

    def __init__(self, layer: RecurrentLayer, name: str = "", twins: Twins | None = None) -> None:
        owner, twins = name or type(layer).__name__, Twins() if twins is None else twins
        self.cell, self.num_layers, self.directions = layer.cell, layer.num_layers, layer.directions
        self.input_size, self.hidden_size, self.bias = layer.input_size, layer.hidden_size, layer.bias
        self.batch_first, self.bidirectional, self.reverse = layer.batch_first, layer.bidirectional, layer.reverse
        self.zero_masked, self.dtype = layer.zero_masked, "float32"
        self.state_names, self.state_sizes, self.state_lead = layer.state_names, layer.state_sizes, layer.state_lead
        self.declared = []
        for weights, declared in zip(layer.weights(), layer.declared, strict=True):
            found: dict[str, Parameter] = {}
            for key in ("ih", "hh"):
                attribute = declared.attributes[f"weight_{key}"][0]
                found[f"weight_{key}"], found[f"scale_{key}"] = twins.coded(owner, attribute, weights[f"weight_{key}"])
            found |= {name: twins.kept(weight) for name, weight in weights.items() if name.startswith("bias")}
            self.declared.append(Declared.of(self, found, attribute.removeprefix("weight_hh")))
        self._codes = [int8.Codes() for _ in self.declared]

    def _walk(self, x: Tensor, state: Parts | None, control: Control, every: bool) -> tuple[Tensor, Parts, Parts]:
        owner, weights = type(self).__name__, self.weights()
        given = (x, *(state or ()), *(w for own in weights for w in own.values()))
        refuse_gradients(owner, given)
        shared_namespace(owner, ("x", "its parameters"), x.data, weights[0]["weight_ih"].data)
        control = control.zero_where_held() if self.zero_masked else control
        start = zero_state(x, self.state_sizes) if state is None else ()
        finals, sequences = [], []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(self.directions):
                k = layer * self.directions + direction
                before = start if state is None else tuple(part[k] for part in state)
                call = SequenceCall(
                    self.cell, {name: w.data for name, w in weights[k].items()}, x.data,
                    tuple([part.data for part in before]), control, self.reverse or direction == 1,
                )  # fmt: skip
                result = int8.forward(self._codes[k], call)
                dispatch.note(partial(_verdict, call))
                outputs.append(Tensor(result.sequences[0]))
                if every:
                    sequences.append(tuple(map(Tensor, result.sequences)))
                finals.append(tuple(map(Tensor, result.final)))
            x = outputs[0] if self.directions == 1 else ops.concat(outputs, axis=-1)
        return x, side_by_side(finals, 0), side_by_side(sequences, 1) if every else ()

    def weights(self) -> list[dict[str, Parameter]]:
        """The parameters of each layer and direction, as :meth:`RecurrentLayer.weights` gives them."""
        return [declared.present(self) for declared in self.declared]

    def attributes(self) -> list[str]:
        """Under which names the layer has them."""
        return [attribute for declared in self.declared for attribute, *_ in declared.attributes.values()]

    def stream(self, batch: int | None = 1, head: Linear | QuantizedLinear | None = None) -> Stream:
        """Open a :class:`Stream`; a ``head`` is a :class:`QuantizedLinear`, or a Linear."""
        from xprnn.nn.recurrent.stream import Stream

        return Stream(self, batch, head)

    def describe(self) -> str:
        options = f", num_layers={self.num_layers}" * (self.num_layers > 1) + ", bidirectional" * self.bidirectional
        return f"{self.cell.name}, {self.input_size}, {self.hidden_size}{options}" + ", reverse" * self.reverse


def _verdict(call: SequenceCall) -> str:
    steps, batch, inputs = call.x.shape
    way = "backward" if call.reverse else "forward"
    what = f"{call.cell.name} in int8, T={steps} B={batch} I={inputs}, {way} in time"
    return int8.verdict(what, *int8.arrays_of(call))
