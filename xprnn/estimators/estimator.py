"""What all estimators have in common: settings that are declared once, a fit, and saving and loading it."""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np

from xprnn import nn
from xprnn.arguments import Check, above_zero, float_dtype, integer, share, size, true_or_false, whole_number
from xprnn.backend import Backend, default_backend, dtype_name, get_backend
from xprnn.estimators.cells import Shapes, cell_name
from xprnn.estimators.model_file import check_weights, model_file
from xprnn.estimators.parameters import Parameters, drawn_seed, not_fitted, random_state
from xprnn.storage import HostArrays, write_tensors
from xprnn.train import History
from xprnn.train.communicator import Communicator, check_communicator

Part = TypeVar("Part")
Network = TypeVar("Network", bound=nn.Module)
Self = TypeVar("Self", bound="Estimator")

TRAINING: dict[str, Check] = {
    "cell": cell_name,
    "hidden": size,
    "layers": size,
    "epochs": whole_number,
    "learning_rate": above_zero,
    "clip_norm": above_zero,
    "validation": share,
    "seed": integer,
    "dtype": lambda owner, name, dtype: float_dtype(owner, dtype),
}
"""The settings that all estimators have."""


class Estimator(Parameters, ABC):
    """Base of what is fitted to data and kept in a file: a network, and what stands around it.

    A subclass says in ``SETTINGS`` how each of its settings is checked, so that a setting stands in the signature, in
    the docstring and there. Its ``__init__`` gives all arguments on by their names, ``super().__init__(locals())``.
    Settings are plain values, which can be written to a file.

    Arguments are attributes of their names, which the next ``fit`` reads; ``settings`` are what they came to when they
    were checked, and those of a fitted model stay as they were for its fit.
    """

    SETTINGS: ClassVar[Mapping[str, Check]]
    ADDED: ClassVar[Mapping[str, Any]] = {}
    """Settings that older files lack, with the values that they had in effect."""
    KIND: ClassVar[str]
    """What a file of it says that it is."""
    VERSION: ClassVar[int] = 1
    """The version of the file's form."""
    METADATA: ClassVar[Mapping[str, type]] = {}
    """The entries that a file holds beside the settings, by name, and their types."""
    ARRAYS: ClassVar[Mapping[str, int]] = {}
    """The arrays that a file must hold beside the network's parameters, finite and float64: by name, their axes."""
    PREFIX: ClassVar[str] = "network."
    """What the parameters' names begin with in a file."""

    _network: Any = None
    _training: History | None = None
    backend: str | None
    progress: bool
    random_state: Any

    def __init__(self, given: Mapping[str, Any]) -> None:
        owner = type(self).__name__
        self._settings: dict[str, Any] = {n: check(owner, n, given[n]) for n, check in self.SETTINGS.items()}
        random_state(owner, "random_state", given["random_state"])
        true_or_false(owner, "progress", given["progress"])
        if given["backend"] is not None:
            get_backend(given["backend"])
        vars(self).update({name: given[name] for name in (*self.SETTINGS, "random_state", "backend", "progress")})

    @property
    def settings(self) -> dict[str, Any]:
        """The settings, checked: those of the fit or, before it, those that it will have."""
        return self._settings

    @property
    def network(self) -> Any:
        """None before ``fit``."""
        return self._network

    @property
    def training(self) -> History | None:
        """How training went; None before ``fit``, and of a model from a file."""
        return self._training

    def set_params(self: Self, **params: Any) -> Self:
        """Change arguments for the next ``fit``; what is fitted stays as it is. Returns itself.

        Raises ValueError for a name that there is not, and what the constructor raises; nothing is changed then.
        """
        new = self._with(params)
        vars(self).update(params if self.__sklearn_is_fitted__() else vars(new))
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return self._network is not None

    @property
    def name(self) -> str:
        """How tables call it."""
        return f"xprnn {self.settings['cell']}"

    def quantized(self: Self, to: str = "int8") -> Self:
        """A copy of the fitted model whose network has weights of 8 bits; it predicts, is saved and loaded as this one.

        What :func:`xprnn.nn.quantize` makes of the network is told by ``network.quantization``. The copy's ``fit``
        trains in the dtype of the settings, and what needs gradients of the network raises RuntimeError.

        Raises RuntimeError before ``fit``; ValueError where nothing has a form of 8 bits, as in a network of float64.
        """
        network = self._fitted(self._network)
        twins = dict(nn.quantize(network, to).named_modules())
        # Whatever holds a part of the network holds its twin in the copy: copies ask their memo first.
        return copy.deepcopy(self, {id(part): twins[name] for name, part in network.named_modules() if name in twins})

    def save(self, path: str | os.PathLike[str], *, notes: Mapping[str, Any] | None = None) -> None:
        """Write the fitted model to a safetensors file, atomically. Raises RuntimeError before ``fit``.

        ``notes`` are plain values of your own, such as the names of columns, that
        :func:`xprnn.estimators.model_file.notes_of` gives back.
        """
        network = self._fitted(self._network)
        arrays, metadata = self._described()
        weights = {self.PREFIX + name: array for name, array in network.state_dict().items()}
        what = {"kind": self.KIND, "version": self.VERSION, "settings": self.settings}
        told = {} if notes is None else {"notes": dict(notes)}
        write_tensors(path, weights | arrays, what | metadata | told)

    @classmethod
    def load(cls: type[Self], path: str | os.PathLike[str], *, backend: str | None = None) -> Self:
        """Read what :meth:`save` wrote.

        Raises ValueError for a file that is damaged, lacks something, or is something else.
        """
        return cls._load(path, backend)

    @classmethod
    def _load(cls: type[Self], path: str | os.PathLike[str], backend: str | None, **own: Any) -> Self:
        expected: dict[str, Any] = {"settings": cls.SETTINGS, "metadata": cls.METADATA, "arrays": cls.ARRAYS}
        expected |= {"version": cls.VERSION, "added": cls.ADDED}
        with model_file(path, cls.KIND, **expected, backend=backend) as (arrays, metadata):
            model = cls(backend=backend, **cls._arguments(metadata["settings"], **own))  # type: ignore[call-arg]
            prefix = cls.PREFIX
            weights = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
            model._become(**model._restored(arrays, metadata, weights))
        return model

    @classmethod
    def _arguments(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """The arguments of ``__init__`` that give the settings of a file."""
        return settings

    @abstractmethod
    def _described(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The arrays and the metadata that a file holds of the fitted model, beside its settings and parameters."""

    @abstractmethod
    def _restored(
        self, arrays: HostArrays, metadata: dict[str, Any], weights: Mapping[str, np.ndarray[Any, Any]]
    ) -> dict[str, Any]:
        """The attributes of a fitted model from its file. Raises ValueError for what does not fit together."""

    def _read_network(
        self, weights: Mapping[str, np.ndarray[Any, Any]], shapes: Shapes, build: Callable[[], Network]
    ) -> Network:
        """The network of a file, built after its parameters have been found to be those that the settings declare."""
        check_weights(weights, shapes, self.settings["dtype"])
        network = build()
        if any(array.dtype == np.int8 for array in weights.values()):
            network = nn.quantize(network)
            for name, parameter in network.named_parameters():
                if dtype_name(parameter.data) != weights[name].dtype.name:
                    raise ValueError(f"{name} has dtype {weights[name].dtype}; expected {dtype_name(parameter.data)}")
        network.load_state_dict(weights)
        network.eval()
        return network

    def _become(self, **fitted: Any) -> None:
        """Take the attributes of a fit, all at once, so that Ctrl-C finds the old fit or the new one."""
        vars(self).update(fitted)

    def _unfitted(self: Self, communicator: Communicator | None = None) -> Self:
        """A new one of the same arguments, on which ``fit`` works, and whose parts it takes when all has gone well.

        All ranks draw from the seed of rank 0. Raises TypeError for what is no communicator.
        """
        check_communicator(f"{type(self).__name__}.fit", communicator)
        new = self._with({})
        if self.random_state is not None:
            new._settings["seed"] = drawn_seed(self.random_state)
        if communicator is not None:
            new._settings["seed"] = communicator.broadcast(new.settings["seed"])
        return new

    def _fitted(self, part: Part | None) -> Part:
        """A part of the fitted model. Raises RuntimeError before ``fit``."""
        if part is None:
            raise not_fitted(type(self).__name__)
        return part

    def _of_fit(self, name: str) -> Any:
        """The network, for an attribute that there is after ``fit`` only. Raises AttributeError before it."""
        if self._network is None:
            raise AttributeError(f"{type(self).__name__}: {name} is known after fit")
        return self._network

    def _owner(self, method: str) -> str:
        return f"{type(self).__name__}.{method}"

    def _home(self) -> Backend:
        return default_backend() if self.backend is None else get_backend(self.backend)


def no_target(owner: str, y: Any) -> None:
    """Raise TypeError for a target, in estimators that learn without one."""
    if y is not None:
        raise TypeError(f"{owner}: y is a {type(y).__name__}; expected None, as all there is to learn from comes first")
