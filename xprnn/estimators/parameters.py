"""What scikit-learn asks of an estimator: its arguments by name, its tags, and the error before ``fit``.

Nothing of scikit-learn is imported before it asks; xprnn runs without it.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, TypeVar

import numpy as np

from xprnn.arguments import integer

Self = TypeVar("Self", bound="Parameters")


@dataclass(frozen=True)
class Role:
    """What an estimator is to scikit-learn, and what it reads: the names of its tags."""

    kind: str | None = None
    """One of "classifier", "regressor", "outlier_detector", or None of them."""
    reads: Collection[str] = ("two_d_array",)
    several: bool = False
    """Whether a target may be of several labels or numbers."""


class Parameters:
    """Arguments that are attributes of their names, read and changed by name.

    A subclass keeps each argument of its ``__init__``, as it was given, under its name.
    """

    ROLE: ClassVar[Role] = Role()

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor by name. None of them is an estimator, so ``deep`` is the same."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self: Self, **params: Any) -> Self:
        """Change arguments, as if newly made: it has to be fitted again. Returns itself.

        Raises ValueError for a name that there is not, and what the constructor raises; nothing is changed then.
        """
        vars(self).update(vars(self._with(params)))
        return self

    def _with(self: Self, params: dict[str, Any]) -> Self:
        """An unfitted one of the same arguments but for these."""
        held = self.get_params()
        for name in params:
            if name not in held:
                known = ", ".join(held) or "none"
                raise ValueError(f"{type(self).__name__}: there is no argument {name!r}; expected one of {known}")
        return type(self)(**held | params)

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        held = self.get_params().items()
        shown = [f"{name}={value!r}" for name, value in held if repr(value) != repr(defaults[name].default)]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __sklearn_is_fitted__(self) -> bool:
        raise NotImplementedError(f"{type(self).__name__} does not say whether it is fitted")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        role, inputs = self.ROLE, InputTags(two_d_array=False)
        for name in role.reads:
            setattr(inputs, name, True)
        supervised = role.kind in ("classifier", "regressor")
        classifier = ClassifierTags(multi_label=role.several) if role.kind == "classifier" else None
        return Tags(
            estimator_type=role.kind,
            target_tags=TargetTags(required=supervised, multi_output=role.several),
            classifier_tags=classifier,
            regressor_tags=RegressorTags() if role.kind == "regressor" else None,
            input_tags=inputs,
        )


def random_state(owner: str, name: str, given: Any) -> Any:
    """None, a seed, or a generator of NumPy, old or new. Raises ValueError for anything else."""
    if given is None or isinstance(given, (np.random.RandomState, np.random.Generator)):
        return given
    return integer(owner, name, given)


def drawn_seed(given: Any) -> int:
    """The seed that a ``random_state`` stands for; generators go on."""
    if isinstance(given, np.random.RandomState):
        return int(given.randint(2**31))
    return int(given.integers(2**31)) if isinstance(given, np.random.Generator) else int(given)


def not_fitted(owner: str) -> RuntimeError:
    """The error of a call before ``fit``: scikit-learn's own too, where that is in use."""
    return _not_fitted_error("sklearn" in sys.modules)(owner)


@cache
def _not_fitted_error(known: bool) -> type[RuntimeError]:
    bases: tuple[type, ...] = (RuntimeError,)
    if known:
        from sklearn.exceptions import NotFittedError

        bases = (RuntimeError, NotFittedError)

    class NotFitted(*bases):  # type: ignore[misc]
        """A call before ``fit``."""

        def __init__(self, owner: str) -> None:
            super().__init__(f"{owner}: fit it first")
            self.owner = owner

        def __reduce__(self) -> tuple[Any, ...]:  # from a worker to whoever waits for it
            return not_fitted, (self.owner,)

    return NotFitted
