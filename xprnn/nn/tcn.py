"""Temporal convolutional network (Bai, Kolter, Koltun 2018, arXiv 1803.01271): what sequence papers compare with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from xprnn import ops
from xprnn.arguments import each_true_or_false, floating_input, input_tensor, size, sizes, true_or_false
from xprnn.arguments import float_dtype as checked_dtype
from xprnn.backend import Array, backend_of, shared_namespace, zeros_beside
from xprnn.grad_mode import no_grad
from xprnn.nn import init
from xprnn.nn.dropout import Dropout
from xprnn.nn.form import Form
from xprnn.nn.linear import Linear
from xprnn.nn.module import Module
from xprnn.nn.weights import weight_of
from xprnn.randomness import Rng, generator
from xprnn.tensor import Parameter, Tensor

Past = tuple[Tensor, ...]


class CausalConv(Module):
    """y_t = b + sum_k W[:, :, k] x_{t - (K - 1 - k) d}: a convolution over time that sees no step to come.

    x (T, B, C), y (T, B, O). The weight (O, C, K), as PyTorch's Conv1d has it, is g v / |v|, where |v| is the length of
    an output channel's part of weight_v and g (O, 1, 1) is weight_g, which starts as that length (Salimans and Kingma
    2016, arXiv 1602.07868); without ``weight_norm`` it is ``weight`` itself. From U(+-1/sqrt(C K)), as is the bias (O).
    """

    _fixed = frozenset({"in_channels", "out_channels", "kernel_size", "dilation", "dtype", "weight_norm"})

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        dilation: int = 1,
        *,
        weight_norm: bool = True,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        in_channels, out_channels, kernel_size = sizes(
            "CausalConv", in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size
        )
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, kernel_size
        self.dilation = size("CausalConv", "dilation", dilation)
        self.dtype, draws = checked_dtype("CausalConv", dtype), generator(rng)
        self.weight_norm = true_or_false("CausalConv", "weight_norm", weight_norm)
        shape, bound = (out_channels, in_channels, kernel_size), 1.0 / math.sqrt(in_channels * kernel_size)
        weight = Parameter(init.uniform(shape, bound, rng=draws, dtype=dtype))
        if weight_norm:
            self.weight_v = weight
            with no_grad():
                self.weight_g = Parameter(_length(weight).data)
        else:
            self.weight = weight
        self.bias = Parameter(init.uniform((out_channels,), bound, rng=draws, dtype=dtype))

    @property
    def reach(self) -> int:
        """How many steps it looks back, (K - 1) d."""
        return (self.kernel_size - 1) * self.dilation

    def kernel(self) -> Tensor:
        """The weight (O, C, K)."""
        shape = (self.out_channels, self.in_channels, self.kernel_size)
        if not self.weight_norm:
            return weight_of(self, "weight", shape, self.dtype)
        v = weight_of(self, "weight_v", shape, self.dtype)
        return v * (weight_of(self, "weight_g", (shape[0], 1, 1), self.dtype) / _length(v))

    def forward(self, x: Any, past: Any = None) -> Tensor:
        """``past`` (reach, B, C) is what came before x; zeros by default."""
        x = input_tensor("CausalConv", "x", x, self.dtype)
        if x.ndim != 3 or x.shape[-1] != self.in_channels:
            raise ValueError(f"CausalConv: x has shape {x.shape}; expected (T, B, {self.in_channels})")
        whole, steps = joined(x, self.reach, past), x.shape[0]
        taps = [whole[k * self.dilation : k * self.dilation + steps] for k in range(self.kernel_size)]
        rows = ops.reshape(ops.permute_dims(self.kernel(), (0, 2, 1)), (self.out_channels, -1))
        bias = weight_of(self, "bias", (self.out_channels,), self.dtype)
        return ops.linear(taps[0] if len(taps) == 1 else ops.concat(taps, axis=-1), rows, bias)

    def describe(self) -> str:
        sizes = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        return f"{sizes}, dilation={self.dilation}"


class TCN(Module):
    """Temporal convolutional network (Bai et al. 2018, arXiv 1803.01271): blocks of dilated causal convolutions.

    A block is y = relu(f + s), where f = dropout(relu(conv(dropout(relu(conv(x)))))), both convolutions with its
    dilation, and s is x, or W x + b where their widths differ. It sees the last 1 + 2 (K - 1) sum(dilations) steps.

    =======  ================================================================================
    x        (T, B, I), or (B, T, I) with ``batch_first``, or (T, I) without a batch
    output   (T, B, C) of the last block's channels, axes as in x; zero past a sequence's end
    state    what each convolution goes on from: its last inputs ((K - 1) d, B, channels), a tuple
             of two a block, whatever ``batch_first`` says; without a batch in x none either
    =======  ================================================================================

    Parameters
    ----------
    channels
        The width of each block.
    kernel_size
        K.
    dilations
        One for each block. Default: 1, 2, 4, ...
    dropout
        Probability of a zero behind each relu, while training.
    weight_norm
        Whether weights of convolutions are :class:`CausalConv`'s g v / |v|.

    Raises TypeError and ValueError for wrong types, shapes, dtypes and libraries, with the argument's name.
    """

    _fixed = frozenset({"input_size", "channels", "dilations", "dtype"})

    def __init__(
        self,
        input_size: int,
        channels: Sequence[int],
        kernel_size: int = 2,
        dropout: float = 0.0,
        batch_first: bool = False,
        *,
        dilations: Sequence[int] | None = None,
        weight_norm: bool = True,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        self.input_size, draws = size("TCN", "input_size", input_size), generator(rng)
        (self.batch_first,) = each_true_or_false("TCN", batch_first=batch_first)
        weight_norm = true_or_false("TCN", "weight_norm", weight_norm)
        self.dtype = checked_dtype("TCN", dtype)
        kernel_size = size("TCN", "kernel_size", kernel_size)
        self.channels = _each("channels", channels)
        given = [2**k for k in range(len(self.channels))] if dilations is None else dilations
        self.dilations = _each("dilations", given)
        if not self.channels or len(self.dilations) != len(self.channels):
            raise ValueError(
                f"TCN: channels are {self.channels} and dilations {self.dilations}; expected one of each a block"
            )
        self.convolutions: list[CausalConv] = []
        self.shortcuts: list[Linear | None] = []
        self.dropout = Dropout(dropout, rng=draws)
        inputs = self.input_size
        for outputs, dilation in zip(self.channels, self.dilations, strict=True):
            for width in (inputs, outputs):
                options: Any = {"weight_norm": weight_norm, "dtype": dtype, "rng": draws}
                self.convolutions.append(CausalConv(width, outputs, kernel_size, dilation, **options))
            self.shortcuts.append(None if inputs == outputs else Linear(inputs, outputs, dtype=dtype, rng=draws))
            inputs = outputs

    @property
    def reach(self) -> int:
        """How many steps an output looks back."""
        return sum(conv.reach for conv in self.convolutions)

    def forward(self, x: Any, state: Any = None, *, lengths: Any = None) -> tuple[Tensor, Past]:
        """The output, and the state to go on from.

        ``lengths`` (B,) are integers from 0 to T: what lies past a sequence's end is not looked at, and its state is
        that of its end.
        """
        x = floating_input("TCN", "x", x, self.dtype)
        form = Form.of("TCN", "x", x, self.input_size, self.batch_first)
        came, x = x, form.inward(x)
        control = form.control("TCN", "x", came, x, lengths=lengths)
        shared_namespace("TCN", ("x", "its parameters"), x.data, self.convolutions[0].bias.data)
        past = None if state is None else form.batched(self._pasts(state, x, form), 1)
        ends = None
        if control.inside is not None:
            xp = backend_of(x.data).xp
            ends = xp.sum(xp.astype(control.inside[..., 0], xp.int64), axis=0)
        y, after = control.moving(x), []
        for block, shortcut in enumerate(self.shortcuts):
            entered = y
            for k in (2 * block, 2 * block + 1):
                conv = self.convolutions[k]
                before = None if past is None else past[k]
                after.append(_last(joined(y, conv.reach, before), conv.reach, ends))
                y = self.dropout(ops.relu(conv(y, before)))
            y = ops.relu(y + (entered if shortcut is None else shortcut(entered)))
        return form.outward(control.shown(y)), form.unbatched(after, 1)

    def _pasts(self, state: Any, x: Tensor, form: Form) -> Past:
        """A state, whose parts fit. Raises TypeError and ValueError for others."""
        if not isinstance(state, (tuple, list)) or len(state) != len(self.convolutions):
            came = f"of {len(state)} parts" if isinstance(state, (tuple, list)) else f"a {type(state).__name__}"
            raise ValueError(f"TCN: state is {came}; expected a tuple of {len(self.convolutions)}, two for each block")
        parts = tuple(input_tensor("TCN", f"part {k} of the state", each, self.dtype) for k, each in enumerate(state))
        for k, (part, conv) in enumerate(zip(parts, self.convolutions, strict=True)):
            batch = () if form is Form.SINGLE else (x.shape[1],)
            if part.shape != (conv.reach, *batch, conv.in_channels):
                expected = (conv.reach, *batch, conv.in_channels)
                raise ValueError(f"TCN: part {k} of the state has shape {part.shape}; expected {expected}")
            shared_namespace("TCN", ("x", f"part {k} of the state"), x.data, part.data)
        return parts

    def stream(self, batch: int | None = 1) -> TCNStream:
        """Open a :class:`TCNStream`: step by step or block by block, what came before kept."""
        return TCNStream(self, batch)

    def describe(self) -> str:
        return f"{self.input_size}, {list(self.channels)}, dilations={list(self.dilations)}"


class TCNStream:
    """A TCN that remembers what came: ``y = stream.step(x)``, x (B, I); ``stream.block(x)`` for steps (T, B, I).

    Without B where it was opened with ``batch=None``. It calls the network, in evaluation and without gradients;
    ``state`` is the network's, and ``reset()`` makes it zero.
    """

    def __init__(self, network: TCN, batch: int | None = 1) -> None:
        self._network, self._lead = network, () if batch is None else (size("TCN.stream", "batch", batch),)
        self.state: Any = None

    def step(self, x: Any) -> Array:
        """One step."""
        return self.block(ops.expand_dims(input_tensor("TCN.stream", "x", x), 0))[0, ...]

    def block(self, x: Any) -> Array:
        """Any number of steps."""
        x, width = input_tensor("TCN.stream", "x", x), self._network.input_size
        if x.shape[1:] != (*self._lead, width):
            expected = ", ".join(map(str, ("T", *self._lead, width)))
            raise ValueError(f"TCN.stream: x has shape {x.shape}; expected ({expected}), without T in a step")
        turned = len(self._lead) > 0 and self._network.batch_first
        with no_grad(), self._network.mode(False):
            y, self.state = self._network(ops.permute_dims(x, (1, 0, 2)) if turned else x, self.state)
            return (ops.permute_dims(y, (1, 0, 2)) if turned else y).data

    def reset(self) -> None:
        """Nothing came before."""
        self.state = None


def joined(x: Tensor, reach: int, past: Any) -> Tensor:
    """What came before x and x, one behind the other."""
    if reach == 0:
        return x
    if past is None:
        past = zeros_beside(x.data, (reach, *x.shape[1:]))
    return ops.concat([past, x], axis=0)


def _last(whole: Tensor, reach: int, ends: Array | None) -> Tensor:
    """The last steps of what was joined: at its end, or where each sequence (B,) ends."""
    if ends is None:
        return whole[whole.shape[0] - reach :]
    xp = backend_of(ends).xp
    number = xp.reshape(backend_of(ends).arange(reach), (-1, 1, 1)) + xp.reshape(ends, (1, -1, 1))
    return ops.take_along_axis(whole, xp.broadcast_to(number, (reach, *whole.shape[1:])), axis=0)


def _each(name: str, numbers: Any) -> tuple[int, ...]:
    """A list of whole numbers. Raises TypeError for what is none, ValueError for other numbers."""
    if not isinstance(numbers, (list, tuple)):
        raise TypeError(f"TCN: {name} is a {type(numbers).__name__}; expected a list of integers, one a block")
    return tuple(size("TCN", name, each) for each in numbers)


def _length(v: Tensor) -> Tensor:
    return ops.sqrt(ops.sum(ops.square(v), axis=(1, 2), keepdims=True))
