"""A sequence call as one node of PyTorch's graph. Imported when PyTorch is."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import array_api_compat.torch
import numpy as np
import torch

from xprnn.backend import Array, admit, get_backend
from xprnn.cells import Cell
from xprnn.engine import dispatch, reference
from xprnn.engine.call import SequenceCall
from xprnn.engine.control import Control

Tensors = tuple[torch.Tensor, ...]
HAS_NONE = "to trace or export a model, load the state_dict into torch.nn's module"


def run(
    cell: Cell,
    weights: Mapping[str, torch.Tensor],
    x: torch.Tensor,
    state: Tensors,
    control: Control,
    reverse: bool = False,
) -> Tensors:
    """h after every step (T, B, H), and each part of the state at the end (B, H), for x (T, B, I)."""
    question, inputs = Question(cell, tuple(weights), control, reverse), (x, *state, *weights.values())
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs):
        found: Tensors = Node.apply(question, *inputs)
        return found
    return question.answer(inputs, keep=False)[0]


class Answer(NamedTuple):
    """What the way back needs of the way forward."""

    impl: dispatch.Impl
    call: SequenceCall
    cache: Any


@dataclass(frozen=True)
class Question:
    """A call, but for its tensors."""

    cell: Cell
    names: tuple[str, ...]
    control: Control
    reverse: bool

    def call_on(self, values: Any, control: Control, keep: bool) -> SequenceCall:
        """The call of these values: x, the parts of the state, the weights."""
        end = 1 + len(self.cell.state_names)
        weights = dict(zip(self.names, values[end:], strict=True))
        state = tuple(values[1:end])
        return SequenceCall(self.cell, weights, values[0], state, control, self.reverse, keep, every=False)

    def answer(self, inputs: Tensors, keep: bool) -> tuple[Tensors, Answer]:
        """The results of the kernels, in their memory."""
        with _current_stream(inputs[0]):
            call = self.call_on([array(tensor) for tensor in inputs], self.control, keep)
            impl, result, cache = dispatch.run_forward(call)
            return tuple(tensor(part) for part in (result.sequences[0], *result.final)), Answer(impl, call, cache)


class Node(torch.autograd.Function):
    """The whole call, one way and back."""

    @staticmethod
    def forward(ctx: Any, question: Question, *inputs: torch.Tensor) -> Tensors:
        results, answer = question.answer(inputs, keep=True)
        # PyTorch lets go of what is saved as soon as the way back has passed, and so of what hangs on it.
        bearer = torch.empty(0)
        bearer.answer = answer
        ctx.question = question
        ctx.save_for_backward(*inputs, results[0], bearer)  # the output too, which the way back reads again
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        question, (*inputs, _, bearer) = ctx.question, ctx.saved_tensors
        needed = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():  # it will itself be differentiated
            return None, *_composed(question, inputs, needed, cotangents)
        answer = getattr(bearer, "answer", None)
        if answer is None:  # a hook on saved tensors, such as a checkpoint's, has put another in its place
            answer = question.answer(tuple(inputs), keep=True)[1]
        parts = len(question.cell.state_names)
        with _current_stream(inputs[0]):
            dy, *dfinal = [None if cotangent is None else array(cotangent) for cotangent in cotangents]
            back = answer.impl.backward(
                answer.call, answer.cache, (dy, *[None] * (parts - 1)), tuple(dfinal), needed[0]
            )
            found = (back.x, *back.state, *(back.weights[name] for name in question.names))
            return None, *(tensor(one) if wanted else None for one, wanted in zip(found, needed, strict=True))


class Composed(torch.Tensor):
    """A tensor that the reference engine and the cells compute with, so that PyTorch records every step."""


admit(Composed, array_api_compat.torch)


def _composed(question: Question, inputs: Any, needed: Any, cotangents: Any) -> list[torch.Tensor | None]:
    """The gradients, of the call composed of PyTorch's own operations."""
    aliases = [tensor.as_subclass(Composed) for tensor in inputs]  # one each, of a tensor that comes twice too
    flags = (None if f is None else tensor(f).as_subclass(Composed) for f in vars(question.control).values())
    result, _ = reference.forward(question.call_on(aliases, Control(*flags), keep=False))
    results = (result.sequences[0], *result.final)
    flows = [(y, g) for y, g in zip(results, cotangents, strict=True) if g is not None and y.requires_grad]
    wanted = [alias for alias, want in zip(aliases, needed, strict=True) if want]
    if not flows or not wanted:
        return [None] * len(inputs)
    ys, gs = zip(*flows, strict=True)
    found = iter(torch.autograd.grad(ys, wanted, gs, create_graph=True, allow_unused=True))
    gradients = [next(found) if want else None for want in needed]
    return [None if one is None else one.as_subclass(torch.Tensor) for one in gradients]


def array(tensor: torch.Tensor) -> Array:
    """The tensor's memory as an array of NumPy's or CuPy's. Raises TypeError for other devices, and where none is."""
    if tensor.is_cpu:
        try:
            return tensor.numpy(force=True)  # in one call what detach and resolve_neg would do
        except RuntimeError as error:
            raise TypeError(f"xprnn.interop.torch: a {type(tensor).__name__} has no numbers; {HAS_NONE}") from error
    if tensor.is_cuda:
        return get_backend("cupy").asarray(tensor.detach().resolve_neg())
    raise TypeError(f"xprnn.interop.torch: a tensor is on device {tensor.device}; expected cpu or cuda")


def tensor(array: Array) -> torch.Tensor:
    """The array's memory as a tensor."""
    return torch.from_numpy(array) if type(array) is np.ndarray else torch.from_dlpack(array)


def _current_stream(tensor: torch.Tensor) -> AbstractContextManager[Any]:
    """CuPy has streams of its own; it takes PyTorch's for a tensor on a GPU."""
    if not tensor.is_cuda:
        return nullcontext()
    import cupy

    stream = torch.cuda.current_stream(tensor.device)
    found: AbstractContextManager[Any] = cupy.cuda.ExternalStream(stream.cuda_stream, tensor.device.index)
    return found
