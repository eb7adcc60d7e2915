"""New values of a module's parameters: matched by name, read from arrays of any library, given to all or to none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from xprnn.backend import Array, backend_of, dtype_name, to_numpy
from xprnn.tensor import Parameter, Tensor
from xprnn.together import make, new_data, new_gradients

Host = np.ndarray[Any, Any]


class Loaded(Protocol):
    """What is asked of a module."""

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Its parameters, each once, by dotted names."""


class Unmatched(NamedTuple):
    """Names that a state lacks, and names that it has and the module has not, as PyTorch calls them."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load(module: Loaded, state: Any, strict: bool) -> Unmatched:
    """What :meth:`xprnn.nn.Module.load_state_dict` does."""
    owner, parameters = type(module).__name__, dict(module.named_parameters())
    if not isinstance(state, Mapping):
        way = ": pass its state_dict()" if hasattr(state, "state_dict") else ""
        raise TypeError(f"{owner}: state_dict is a {type(state).__name__}; expected names and arrays{way}")
    names = {id(parameter): name for name, parameter in parameters.items()}
    # What the state calls it -> what we call it.
    targets = {name: name if name in parameters else names.get(id(_part_at(module, name))) for name in state}
    missing = [name for name in parameters if name not in targets.values()]
    unexpected = [name for name, target in targets.items() if target is None]
    if strict and (missing or unexpected):
        kinds = {"missing": missing, "unexpected": unexpected}
        wrong = "; ".join(f"{kind}: {', '.join(which)}" for kind, which in kinds.items() if which)
        raise KeyError(f"{owner}: state_dict does not fit; {wrong}")
    matched = [(name, parameters[target]) for name, target in targets.items() if target is not None]
    loaded = _read(owner, state, matched)
    assign([*loaded], [*loaded.values()], [parameter.grad for parameter in loaded])
    return Unmatched(missing, unexpected)


def _part_at(module: Loaded, name: str) -> Any:
    """What stands under a dotted name, which need not be the first one of a parameter that is shared; or None."""
    found: Any = module
    for key in str(name).split("."):
        if isinstance(found, (list, tuple)):
            found = dict(enumerate(found)).get(int(key)) if key.isdecimal() else None
        else:
            found = getattr(found, "__dict__", {}).get(key)
    return found


def _read(owner: str, state: Mapping[str, Any], matched: Sequence[tuple[str, Parameter]]) -> dict[Parameter, Array]:
    """For each parameter its array in the state, copied, cast and moved; of several names the first one counts.

    Raises TypeError for what is no array or cannot be read as real numbers, ValueError for other shapes.
    """
    problem = f"{owner}: state_dict does not fit"
    shapes = {name: _shape(problem, name, state[name]) for name, _ in matched}
    if no_arrays := [f"{name} is a {type(state[name]).__name__}" for name, shape in shapes.items() if shape is None]:
        raise TypeError(f"{problem}; {'; '.join(no_arrays)}; expected arrays")
    if wrong := [
        f"{name} has shape {shapes[name]}, expected {parameter.shape}"
        for name, parameter in matched
        if shapes[name] != parameter.shape
    ]:
        raise ValueError(f"{problem}; {'; '.join(wrong)}")
    arrays: dict[Parameter, Array] = {}
    for name, parameter in matched:
        if parameter in arrays:
            continue
        try:
            host = host_copy(state[name], dtype_name(parameter.data))
            if host.shape != parameter.shape:
                raise ValueError(f"its numbers have shape {host.shape}")
        except Exception as error:  # each library has errors of its own, and none names the entry
            raise _unreadable(problem, name, state[name], error) from error
        arrays[parameter] = backend_of(parameter.data).asarray(host)
    return arrays


def _shape(problem: str, name: str, array: Any) -> tuple[int, ...] | None:
    """None of what is no array."""
    try:
        return tuple(array.shape) if hasattr(array, "shape") else None
    except Exception as error:  # such as of a lazy or nested tensor
        raise _unreadable(problem, name, array, error) from error


def _unreadable(problem: str, name: str, array: Any, error: Exception) -> TypeError:
    return TypeError(f"{problem}; {name} (a {type(array).__name__}) cannot be read: {error}")


def host_copy(array: Any, dtype: str) -> Host:
    """A copy on the host, in a dtype that NumPy knows. Raises TypeError for what is not of real numbers alone."""
    if hasattr(array, "detach"):  # a Tensor, or one of PyTorch's, which may want a gradient or lie on a device
        array = array.detach()
        if hasattr(array, "cpu"):
            array = array.cpu()
        if "bfloat16" in str(array.dtype) or "float8" in str(array.dtype):  # which NumPy has not
            array = array.float()
    host = to_numpy(array)
    if isinstance(host, np.ma.MaskedArray):
        raise TypeError("it is a masked array; expected one without a mask")
    if host.dtype.kind in "cSUmM":
        raise TypeError(f"it has dtype {host.dtype}; expected real numbers")
    if np.dtype(dtype).kind == "i" and host.dtype != dtype:  # codes of weights, which are not rounded to
        raise TypeError(f"it has dtype {host.dtype}; expected {dtype}")
    if host.dtype == np.int8 and np.dtype(dtype).kind == "f":
        raise TypeError(
            f"it has dtype int8, as codes of weights: only what nn.quantize made takes them; expected {dtype}"
        )
    with np.errstate(over="ignore"):
        cast = np.array(host, dtype=dtype, order="C")
    if host.dtype != cast.dtype and not np.array_equal(np.isinf(cast), np.isinf(host.astype(np.float64))):
        raise OverflowError(f"it holds numbers too large for {dtype}")
    return cast


def assign(parameters: Sequence[Parameter], arrays: Sequence[Array], gradients: Sequence[Tensor | None]) -> None:
    """Give parameters new data, of the shapes and dtypes that they have, and gradients; all of them or none."""
    make([*new_data(parameters, arrays), new_gradients(parameters, gradients)])
