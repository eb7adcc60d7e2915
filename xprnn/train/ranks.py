"""What the ranks of a run decide together, so that all take the steps that one process alone would take."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, TypeVar

import numpy as np

from xprnn.backend import Array, backend_of, to_numpy
from xprnn.nn.module import Module
from xprnn.postponed import Check
from xprnn.randomness import restore
from xprnn.tape import backward_telling
from xprnn.tensor import Tensor
from xprnn.train.checkpoint import states_of, take_states
from xprnn.train.communicator import Communicator, check_communicator
from xprnn.train.sums import Sums

T = TypeVar("T")


class Computed(NamedTuple):
    """What a batch gives: its numbers and their weights, its checks, and whether a step is due after it."""

    values: Sequence[Any]
    weights: Sequence[Any]
    checks: list[Check]
    due: bool


class Ranks(AbstractContextManager["Ranks"]):
    """One rank alone, which needs nobody. :class:`Several` has the same methods for ranks that are joined."""

    rank, size = 0, 1

    def portion(self, owner: str, source: Any) -> Any:
        """The part of each batch of a source that this rank computes."""
        return source

    def is_idle(self, batch: Any) -> bool:
        """Whether this rank has no part of a batch."""
        return False

    def agree(self, work: Callable[[], Computed | None]) -> Computed | None:
        """What ``work`` computes, for the whole batch; None after the last one."""
        return work()

    def backward(self, loss: Tensor, cotangent: Array, due: bool) -> None:
        """Walk back from a loss; where a step is due after it, whole gradients may go to the others at once."""
        loss.backward(cotangent)

    def summed(self, parameters: Sequence[Tensor]) -> list[tuple[Tensor, Array]]:
        """The gradients of all ranks, of the parameters that have one anywhere."""
        return [(parameter, parameter.grad.data) for parameter in parameters if parameter.grad is not None]

    def tried(self, work: Callable[[], T]) -> T:
        """What ``work`` returns; where it fails in one rank, all fail."""
        return work()

    def once(self, work: Callable[[], object]) -> None:
        """Let rank 0 do it alone; where that fails, all fail."""
        self.tried(work if self.rank == 0 else lambda: None)

    def add_up(self, numbers: Sequence[float]) -> list[float]:
        """Numbers of the host, summed over all ranks."""
        return list(numbers)

    def of_first(self, value: T) -> T:
        """A small object of rank 0."""
        return value

    def of_all(self, value: T) -> list[T]:
        """The small objects of all ranks."""
        return [value]

    def bring_together(self, parts: Mapping[str, Any]) -> None:
        """Collect in rank 0 what each rank alone has of the states of parts."""

    def same_start(self, parts: Mapping[str, Any]) -> None:
        """Give parts the states that they have in rank 0."""

    def apart(self, model: Module, sources: Sequence[Any]) -> None:
        """Give a model copies of generators that it shares with sources, which draw the same order in all ranks."""

    def own_noise(self, model: Module) -> None:
        """Let each rank draw noise of its own; rank 0 draws what one alone would draw."""

    def everywhere(self) -> AbstractContextManager[None]:
        """A block that fails in all ranks where it fails in one, since all compute the same in it."""
        return nullcontext()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all ranks where this one fails alone, so that nobody waits for it."""


class Several(Ranks):
    """Ranks joined by a communicator, for an optimizer's parameters and batches with so many numbers to report."""

    def __init__(self, communicator: Communicator, parameters: Sequence[Tensor], numbers: int) -> None:
        self.communicator, self.parameters, self.numbers = communicator, parameters, numbers
        self.rank, self.size = communicator.rank, communicator.size
        self._sums, self._held = Sums(communicator, parameters), list[bool]()
        self._common: BaseException | None = None  # an error that all ranks raise, after which nobody has to be ended

    def portion(self, owner: str, source: Any) -> Any:
        if not hasattr(source, "portion"):
            raise TypeError(
                f"fit: {owner} is a {type(source).__name__}, which {self.size} ranks cannot share; expected Batches, "
                "Buckets or, of a list of batches, Divided(batches, axis=0), with the axis along which each is cut"
            )
        return source.portion(self.rank, self.size)

    def is_idle(self, batch: Any) -> bool:
        arrays = batch if isinstance(batch, (tuple, list)) else [batch]
        return len(arrays) > 0 and all(0 in getattr(array, "shape", ()) for array in arrays)

    def agree(self, work: Callable[[], Computed | None]) -> Computed | None:
        """As for one rank, with the numbers of all.

        One sum tells what each knows without asking its device: whether it failed, whether its batches are over,
        whether it has begun to sum, and which parameters have a gradient. Numbers on the host go along with it.
        """
        found, failure = _outcome(work)
        held = [parameter.grad is not None for parameter in self.parameters]
        flags = [failure is not None, found is None, found is not None and found.due, self._sums.begun, *held]
        home = backend_of(self.parameters[0].data)
        numbers = [0.0] * (2 * self.numbers)
        if found is not None and home.name == "numpy":
            numbers = [float(np.reshape(number, ())) for number in _weighted(found)]
        total = self.communicator.sum(np.array([*flags, *numbers], np.float64)).tolist()
        failed, over, due, begun, *total = total
        uneven = over not in (0, self.size) or due not in (0, self.size)
        if begun and (failed or uneven):
            self._sums.drop()
        if failed:
            self._fail(failure)
        if uneven:
            few = int(over) or self.size - int(due)
            with self.everywhere():
                raise ValueError(
                    f"fit: {few} of {self.size} ranks have fewer batches than the others; expected as many"
                )
        if found is None:
            return None
        self._held = [count > 0 for count in total[: len(held)]]
        if home.name == "numpy":
            return found._replace(**_means(total[len(held) :]))
        return self._agree_on_device(found, home)

    def _agree_on_device(self, found: Computed, home: Any) -> Computed:
        """The same for numbers on a device, without waiting, and whether a check has found something anywhere."""
        xp = home.xp
        row = [xp.reshape(home.asarray(number, "float64"), ()) for number in _weighted(found)]
        wrong = xp.zeros_like(row[0])
        for check in found.checks:
            wrong = xp.maximum(wrong, xp.astype(home.asarray(check.wrong), xp.float64))
        total = self.communicator.sum(xp.stack([*row, wrong]))

        def elsewhere() -> Exception:
            return FloatingPointError("fit: another rank has found something wrong in its part; its error says what")

        sums = [total[k] for k in range(len(row))]
        return found._replace(**_means(sums, xp), checks=[*found.checks, Check(total[-1] > 0, elsewhere)])

    def backward(self, loss: Tensor, cotangent: Array, due: bool) -> None:
        if due:
            backward_telling(loss, cotangent, self._sums.expect, self._sums.whole)
        else:
            loss.backward(cotangent)

    def summed(self, parameters: Sequence[Tensor]) -> list[tuple[Tensor, Array]]:
        return self._sums.finish(self._held)

    def tried(self, work: Callable[[], T]) -> T:
        found, failure = _outcome(work)
        if self.add_up([failure is not None])[0]:
            self._fail(failure)
        return found  # type: ignore[return-value] # it is None only where work says so

    def add_up(self, numbers: Sequence[float]) -> list[float]:
        total: list[float] = self.communicator.sum(np.array(numbers, np.float64)).tolist()
        return total

    def of_first(self, value: T) -> T:
        first: T = self.communicator.broadcast(value)
        return first

    def of_all(self, value: T) -> list[T]:
        return self.communicator.gather(value)

    def bring_together(self, parts: Mapping[str, Any]) -> None:
        for part in parts.values():
            if hasattr(part, "bring_together"):
                part.bring_together(self.of_all)

    def same_start(self, parts: Mapping[str, Any]) -> None:
        self.bring_together(parts)
        states, arrays = states_of(parts)
        states, names = self.of_first((states, list(arrays)))
        received: dict[str, Any] = {}
        for name in names:
            received[name] = self.of_first(to_numpy(arrays[name]) if self.rank == 0 else None)
        if self.rank > 0:
            take_states(parts, states, received)

    def apart(self, model: Module, sources: Sequence[Any]) -> None:
        drawn = {id(value) for source in sources for value in getattr(source, "__dict__", {}).values()}
        copies: dict[int, np.random.Generator] = {}
        for _, module in model.named_modules():
            for name, value in list(vars(module).items()):
                if isinstance(value, np.random.Generator) and id(value) in drawn:
                    vars(module)[name] = copies.setdefault(id(value), deepcopy(value))

    def own_noise(self, model: Module) -> None:
        generators = model.generators()
        states = self.of_first({name: each.bit_generator.state for name, each in generators.items()})
        for name, generator in generators.items() if self.rank > 0 else ():
            seed = int.from_bytes(hashlib.sha256(repr(states[name]).encode()).digest(), "little")
            sequence = np.random.SeedSequence(seed, spawn_key=(self.rank,))
            restore(generator, type(generator.bit_generator)(sequence).state)

    @contextmanager
    def everywhere(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._common = error
            raise

    def _fail(self, failure: Exception | None) -> NoReturn:
        """Raise what this rank raised or, where it did not, what another one did, in its words."""
        said = self.of_all(None if failure is None else (type(failure).__name__, str(failure)))
        if failure is None:
            rank, (kind, words) = next((rank, each) for rank, each in enumerate(said) if each is not None)
            here = FloatingPointError if kind == "FloatingPointError" else RuntimeError
            failure = here(f"fit: rank {rank} raised {kind}: {words}")
        self._common = failure
        raise failure

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and error is not self._common:
            self.communicator.abort(error)


def ranks_of(communicator: Communicator | None, parameters: Sequence[Tensor], numbers: int) -> Ranks:
    """What decides for the ranks of a communicator; None is one rank, as is a communicator of size 1.

    Raises TypeError for what is no communicator.
    """
    check_communicator("fit", communicator)
    if communicator is None or communicator.size == 1:
        return Ranks()
    return Several(communicator, parameters, numbers)


def _outcome(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """What ``work`` returns, or the error that it raises."""
    try:
        return work(), None
    except Exception as error:
        return None, error


def _weighted(found: Computed) -> list[Any]:
    """Each number times its weight, then the weights."""
    return [*(value * weight for value, weight in zip(found.values, found.weights, strict=True)), *found.weights]


def _means(sums: Sequence[Any], xp: Any = None) -> dict[str, Any]:
    """The values and weights of all ranks, from the sums of what :func:`_weighted` gave."""
    totals, weights = sums[: len(sums) // 2], sums[len(sums) // 2 :]
    divisors = [
        weight or 1.0 if xp is None else xp.where(weight == 0, xp.ones_like(weight), weight) for weight in weights
    ]
    return {"values": [total / each for total, each in zip(totals, divisors, strict=True)], "weights": weights}
