"""PyTorch's recurrent modules, computed by our kernels. Imported when PyTorch is."""

from __future__ import annotations

import sys
from copy import copy
from functools import cache
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from xprnn.backend import DTYPES
from xprnn.cells import GRU as GRUSpec
from xprnn.cells import LSTM as LSTMSpec
from xprnn.cells import Cell, Elman, Projected
from xprnn.engine.control import Control
from xprnn.interop.torch.node import HAS_NONE, Tensors, array, run


class _InKernels(torch.nn.RNNBase):
    """What stands before a module of PyTorch's in the order of classes: its forward pass."""

    def forward(self, input: Any, hx: Any = None, *, lengths: Any = None, reset: Any = None) -> Any:  # noqa: A002 - PyTorch's
        """Run over a batch of sequences, or over one, as the module of PyTorch does.

        Parameters
        ----------
        input, hx
            As PyTorch has them. A PackedSequence is padded for the time of the call.
        lengths
            (B,) integers from 0 to T. Past a sequence's end outputs are exactly zero; the final state is the last
            valid one; the reverse direction starts at the end of each sequence.
        reset
            (T, B) booleans, (B, T) with ``batch_first``. Where True the state before that step is zero.

        Raises
        ------
        ValueError, RuntimeError
            As PyTorch does, for wrong shapes and dtypes.
        TypeError, ValueError
            Wrong lengths or reset; or parameters that are neither float32 nor float64, or on another device; or
            tensors without numbers, as PyTorch's exporters have them, which must be given torch.nn's module.
        """
        if "torch._dynamo" in sys.modules:  # the compiler, which would go on into kernels
            return _outside(self, input, hx, lengths, reset)
        return self._forward(input, hx, lengths, reset)

    def _forward(self, input: Any, hx: Any, lengths: Any, reset: Any) -> Any:  # noqa: A002
        if torch.jit.is_tracing():
            raise TypeError(f"{_name(self)}: a trace would keep this call's numbers; {HAS_NONE}")
        if isinstance(input, PackedSequence):
            if lengths is not None or reset is not None:
                raise ValueError(f"{_name(self)}: lengths and reset are for padded input; input is a PackedSequence")
            data, sizes, order, back = input
            state = self._state(data, hx, int(sizes[0]), sizes, order)
            padded, lengths = pad_packed_sequence(PackedSequence(self._cast(data), sizes))
            control = Control.build(_name(self), array(padded), lengths=array(lengths))
            y, final = self._walk(padded, state, control)
            y = PackedSequence(pack_padded_sequence(y, lengths).data, sizes, order, back)
            return y, self._outer([part if back is None else part.index_select(1, back) for part in final])
        if input.dim() not in (2, 3):
            raise ValueError(f"{_name(self)}: Expected input to be 2D or 3D, got {input.dim()}D instead")
        single, batch_axis = input.dim() == 2, 0 if self.batch_first else 1
        if single and (lengths is not None or reset is not None):
            raise ValueError(f"{_name(self)}: lengths and reset need a batch; input has shape {tuple(input.shape)}")
        x = input.unsqueeze(batch_axis) if single else input
        state = self._state(x, hx, x.shape[batch_axis], None, None, single)
        x = self._cast(x)
        x = x.transpose(0, 1) if self.batch_first else x
        control = Control()
        if lengths is not None or reset is not None:
            lengths, reset = (_own(one) for one in (lengths, reset))
            control = Control.build(_name(self), array(x), lengths=lengths, reset=reset, batch_first=self.batch_first)
        y, final = self._walk(x, state, control)
        y = y.transpose(0, 1) if self.batch_first else y
        if single:
            return y.squeeze(batch_axis), self._outer([part.squeeze(1) for part in final])
        return y, self._outer(final)

    def _state(self, x: torch.Tensor, hx: Any, batch: int, sizes: Any, order: Any, single: bool = False) -> Tensors:
        """The parts of the initial state, (L*D, B, H) each; PyTorch's own checks look at them and x."""
        dtype = self.weight_ih_l0.dtype
        if str(dtype).removeprefix("torch.") not in DTYPES:
            raise TypeError(
                f"{_name(self)}: the parameters have dtype {dtype}; expected torch.float32 or torch.float64"
            )
        layers = self.num_layers * (2 if self.bidirectional else 1)
        if hx is None:
            parts = [
                x.new_zeros(layers, batch, size, dtype=dtype) for size in self._cell().state_sizes(self.hidden_size)
            ]
        else:
            parts = list(hx) if self.mode == "LSTM" else [hx]
            for part in parts:
                if part.dim() != (2 if single else 3):
                    raise RuntimeError(
                        f"{_name(self)}: a part of the state has {part.dim()} dimensions; expected "
                        f"{'2, as an unbatched input has' if single else '3'}"
                    )
                if part.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
                    raise ValueError(f"{_name(self)}: the state has dtype {part.dtype}; the parameters have {dtype}")
            if single:
                parts = [part.unsqueeze(1) for part in parts]
            if order is not None:
                parts = [part.index_select(1, order) for part in parts]
        self.check_forward_args(x, self._outer(parts), sizes)
        return tuple(self._cast(part) for part in parts)

    def _cast(self, x: torch.Tensor) -> torch.Tensor:
        """What autocast may have narrowed, as the parameters are."""
        dtype = self.weight_ih_l0.dtype
        return x if x.dtype is dtype else x.to(dtype)

    def _walk(self, x: torch.Tensor, state: Tensors, control: Control) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The output (T, B, D*H) for x (T, B, I), and the final state."""
        finals: list[list[torch.Tensor]] = []
        cell = self._cell()
        for layer in range(self.num_layers):
            if layer > 0 and self.dropout and self.training:
                x = torch.nn.functional.dropout(x, self.dropout)
            outputs = []
            for direction, suffix in enumerate(("", "_reverse") if self.bidirectional else ("",)):
                k = len(finals)
                before = tuple(part[k] for part in state)
                y, *final = run(cell, self._weights(cell, f"_l{layer}{suffix}"), x, before, control, direction == 1)
                outputs.append(y)
                finals.append(final)
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, -1)
        if len(finals) == 1:
            return x, [part.unsqueeze(0) for part in finals[0]]
        return x, [torch.stack(part) for part in zip(*finals, strict=True)]

    def _weights(self, cell: Cell, suffix: str) -> dict[str, torch.Tensor]:
        names = [name for name in cell.weight_shapes(1, 1) if self.bias or not name.startswith("bias")]
        return {name: getattr(self, name + suffix) for name in names}

    def _outer(self, parts: Any) -> Any:
        return tuple(parts) if self.mode == "LSTM" else parts[0]

    def _cell(self) -> Cell:
        return _cell(self.mode, self.proj_size)


@cache
def _cell(mode: str, proj_size: int) -> Cell:
    """The cell of a module, always the same object, by which the engine knows it."""
    if mode == "LSTM":
        return Projected(LSTMSpec(), proj_size) if proj_size else LSTMSpec()
    return GRUSpec() if mode == "GRU" else Elman(mode.removeprefix("RNN_").lower())


def _own(flags: Any) -> Any:
    """Lengths or resets that the caller may write to before the way back comes."""
    return array(flags.clone()) if isinstance(flags, torch.Tensor) else copy(flags)


def _name(module: Any) -> str:
    return type(module).__name__


_outside = torch._disable_dynamo(_InKernels._forward)
"""As torch.compiler.disable, which would import the compiler here, and so take seconds of those who compile nothing."""


class LSTM(_InKernels, torch.nn.LSTM):
    """torch.nn.LSTM in our kernels: the same arguments, parameters and results; ``lengths`` and ``reset`` too."""


class GRU(_InKernels, torch.nn.GRU):
    """torch.nn.GRU in our kernels: the same arguments, parameters and results; ``lengths`` and ``reset`` too."""


class RNN(_InKernels, torch.nn.RNN):
    """torch.nn.RNN in our kernels: the same arguments, parameters and results; ``lengths`` and ``reset`` too."""


class Sequential(torch.nn.Sequential):
    """torch.nn.Sequential that hands on the first of a tuple, which recurrent modules and attention return.

    Attention is of a sequence to itself.
    """

    def forward(self, input: Any) -> Any:  # noqa: A002 - PyTorch's
        for module in self:
            given = (input,) * (3 if isinstance(module, torch.nn.MultiheadAttention) else 1)
            input = module(*given)  # noqa: A001
            input = input[0] if isinstance(input, tuple) else input  # noqa: A001
        return input
