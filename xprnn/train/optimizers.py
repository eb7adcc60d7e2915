"""Optimizers: from gradients to new parameters, with the formulas, names and defaults of torch.optim."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from xprnn.arguments import real_number, whole_number
from xprnn.backend import Array, backend_of, dtype_name, namespace, to_numpy
from xprnn.tensor import Parameter, Tensor

Slots = dict[str, Array]
"""The arrays that an optimizer keeps for one parameter, each of its shape."""


class Optimizer:
    """Base of all optimizers. A subclass says what it keeps (``slots``) and how it moves one parameter (``update``).

    ``step`` computes every new value before it assigns the first, so a step that fails changes nothing; ``.data`` gets
    a new array and the old one is never written to. What is kept follows its parameter when ``module.to`` has moved it.
    ``lr`` may be assigned at any time. Frozen Parameters (``requires_grad`` False) are kept in place and left alone.

    Raises ValueError for settings out of range, no parameters or frozen ones only, or one given twice; TypeError for
    things that are none.
    """

    settings: tuple[str, ...] = ("lr",)
    """The constructor's arguments besides the parameters, each also an attribute; state_dict keeps them."""

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        owner = type(self).__name__
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError(f"{owner}: no parameters; expected at least one, as from module.parameters()")
        for position, parameter in enumerate(self.parameters):
            leaf = isinstance(parameter, Tensor) and parameter.node is None
            if not leaf or not (parameter.requires_grad or isinstance(parameter, Parameter)):
                raise TypeError(
                    f"{owner}: parameter {position} is a {type(parameter).__name__}; "
                    "expected a Parameter, or a Tensor with requires_grad that was not computed from others"
                )
        if not any(parameter.requires_grad for parameter in self.parameters):
            raise ValueError(f"{owner}: no parameter requires a gradient; expected at least one that is not frozen")
        if len({id(parameter) for parameter in self.parameters}) < len(self.parameters):
            raise ValueError(f"{owner}: a parameter was given twice; it would be moved twice in each step")
        self.lr = lr
        self._steps = [0] * len(self.parameters)
        self._slots: list[Slots] = [{} for _ in self.parameters]

    @property
    def lr(self) -> float:
        """The learning rate."""
        return self._lr

    @lr.setter
    def lr(self, rate: Any) -> None:
        self._lr = self._setting("lr", rate)

    def slots(self) -> tuple[str, ...]:
        """The names of the arrays kept for each parameter; they start as zeros."""
        return ()

    def update(self, data: Array, gradient: Array, slots: Slots, step: int) -> tuple[Array, Slots]:
        """The new value of a parameter and its new slots, in new arrays. ``step`` counts from 1."""
        raise NotImplementedError(f"{type(self).__name__} defines no update")

    @property
    def counts(self) -> list[int]:
        """How many steps each parameter has made. Assign it to take back steps in which ``where`` was False."""
        return list(self._steps)

    @counts.setter
    def counts(self, counts: Iterable[int]) -> None:
        owner, counts = type(self).__name__, [*counts]
        if len(counts) != len(self.parameters):
            raise ValueError(f"{owner}: counts has {len(counts)} numbers; expected {len(self.parameters)}")
        self._steps = [whole_number(owner, f"counts[{k}]", count, 0) for k, count in enumerate(counts)]

    def step(self, where: Array | None = None) -> None:
        """Move every parameter that has a gradient.

        Parameters
        ----------
        where
            A boolean array without axes, best beside the parameters. Where it is False, they and all that is kept for
            them stay as they are, though the step is counted: nobody has to wait for a GPU to know which it is. ``fit``
            gives it on a GPU; a ``step`` of your own must take it there.

        Raises ValueError or TypeError for a gradient of another shape, dtype, library or device than its parameter, and
        for another ``where``.
        """
        if where is not None and (tuple(where.shape), dtype_name(where)) != ((), "bool"):
            came = f"shape {tuple(where.shape)} and dtype {dtype_name(where)}"
            raise ValueError(f"{type(self).__name__}: where has {came}; expected a boolean without axes")
        moved = []
        for k, parameter in enumerate(self.parameters):
            if parameter.grad is None or not parameter.requires_grad:
                continue
            data, gradient = parameter.data, self._gradient(k)
            xp, step = namespace(data), self._steps[k] + 1
            slots = self._slots[k] or {name: xp.zeros_like(data) for name in self.slots()}
            for name, array in slots.items():
                if not _together(array, data):
                    slots = {**slots, name: backend_of(data).asarray(array)}
            new, kept = self.update(data, gradient, slots, step)
            if where is not None:
                where = where if _together(where, data) else backend_of(data).asarray(where)
                new = xp.where(where, new, data)
                kept = {name: xp.where(where, array, slots[name]) for name, array in kept.items()}
            # NumPy turns results without axes into scalars, which asarray makes arrays again.
            moved.append((k, step, xp.asarray(new), {name: xp.asarray(array) for name, array in kept.items()}))
        for k, step, new, kept in moved:
            self.parameters[k].data, self._steps[k], self._slots[k] = new, step, kept

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """The kind, the settings, and by each moved parameter's position its step count and slots."""
        return {
            "optimizer": type(self).__name__,
            "settings": {name: getattr(self, name) for name in self.settings},
            "parameters": {
                str(k): {"step": step, **slots}
                for k, (step, slots) in enumerate(zip(self._steps, self._slots, strict=True))
                if step
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` gave, arrays cast and moved to where each parameter is.

        Raises ValueError where it does not fit this optimizer or its parameters; nothing has been loaded then.
        """
        owner = type(self).__name__
        if state.get("optimizer") != owner or not {"settings", "parameters"} <= set(state):
            raise ValueError(f"{owner}: the state is of {state.get('optimizer', 'something else')}; expected {owner}")
        try:
            fresh = type(self)(self.parameters, **state["settings"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{owner}: the state's settings do not fit: {error}") from error
        places = {str(k): k for k in range(len(self.parameters))}
        for name, entry in state["parameters"].items():
            if name not in places:
                raise ValueError(f"{owner}: the state has parameter {name!r}; expected 0 to {len(places) - 1}")
            fresh._take(places[name], entry)
        for name in self.settings:
            setattr(self, name, getattr(fresh, name))
        self._steps, self._slots = fresh._steps, fresh._slots

    def _take(self, k: int, entry: Mapping[str, Any]) -> None:
        where, expected = f"{type(self).__name__}: the state of parameter {k}", {"step", *self.slots()}
        if set(entry) != expected:
            raise ValueError(f"{where} has {sorted(entry)}; expected {sorted(expected)}")
        if not isinstance(entry["step"], int) or entry["step"] < 1:
            raise ValueError(f"{where} has step {entry['step']!r}; expected a count from 1")
        data = self.parameters[k].data
        for name in self.slots():
            array = np.array(to_numpy(entry[name]), dtype=dtype_name(data), order="C")
            if array.shape != tuple(data.shape):
                raise ValueError(f"{where} has {name} of shape {array.shape}; expected {tuple(data.shape)}")
            self._slots[k][name] = backend_of(data).asarray(array)
        self._steps[k] = entry["step"]

    def _gradient(self, k: int) -> Array:
        parameter = self.parameters[k]
        gradient, what = parameter.grad, f"{type(self).__name__}: the gradient of parameter {k}"
        if not isinstance(gradient, Tensor):
            raise TypeError(f"{what} is a {type(gradient).__name__}; expected a Tensor")
        if gradient.shape != parameter.shape:
            raise ValueError(f"{what} has shape {gradient.shape}; expected {parameter.shape}")
        if not _together(gradient.data, parameter.data):
            namespace(**{f"parameter {k}": parameter.data, what: gradient.data})
        if gradient.dtype != parameter.dtype:
            raise TypeError(f"{what} has dtype {dtype_name(gradient.data)}; expected {dtype_name(parameter.data)}")
        return gradient.data

    def _setting(self, name: str, number: Any, below: float = math.inf) -> float:
        """A setting that is a number from 0 to below a bound."""
        bound = "a finite number" if below == math.inf else f"a number below {below:g}"
        highest = math.nextafter(below, 0.0)
        return real_number(type(self).__name__, name, number, f"{bound}, at least 0", high=highest)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={getattr(self, name)}" for name in self.settings)
        return f"{type(self).__name__}({len(self.parameters)} parameters, {settings})"


class SGD(Optimizer):
    """Gradient descent, with momentum b = momentum b + g (Polyak 1964).

    w = w - lr b; with ``nesterov`` w = w - lr (g + momentum b) (Sutskever et al. 2013). g includes weight_decay w.
    """

    settings = ("lr", "momentum", "nesterov", "weight_decay")

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr)
        self.momentum, self.nesterov = self._setting("momentum", momentum), bool(nesterov)
        self.weight_decay = self._setting("weight_decay", weight_decay)
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("SGD: nesterov needs a momentum above 0")

    def slots(self) -> tuple[str, ...]:
        return ("momentum",) if self.momentum else ()

    def update(self, data: Array, gradient: Array, slots: Slots, step: int) -> tuple[Array, Slots]:
        if self.weight_decay:
            gradient = gradient + self.weight_decay * data
        if not self.momentum:
            return data - self.lr * gradient, slots
        velocity = self.momentum * slots["momentum"] + gradient
        direction = gradient + self.momentum * velocity if self.nesterov else velocity
        return data - self.lr * direction, {"momentum": velocity}


class Adam(Optimizer):
    """Steps of the mean gradient over its root mean square (Kingma and Ba 2015, arXiv 1412.6980).

    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w = w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps),
    with (b1, b2) = betas. g includes weight_decay w.
    """

    settings = ("lr", "betas", "eps", "weight_decay")

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr)
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"{type(self).__name__}: betas is {betas!r}; expected two numbers")
        self.betas = self._setting("betas[0]", betas[0], below=1.0), self._setting("betas[1]", betas[1], below=1.0)
        self.eps, self.weight_decay = self._setting("eps", eps), self._setting("weight_decay", weight_decay)

    def slots(self) -> tuple[str, ...]:
        return ("mean", "square")

    def update(self, data: Array, gradient: Array, slots: Slots, step: int) -> tuple[Array, Slots]:
        beta1, beta2 = self.betas
        data, gradient = self.decay(data, gradient)
        mean = beta1 * slots["mean"] + (1.0 - beta1) * gradient
        square = beta2 * slots["square"] + (1.0 - beta2) * (gradient * gradient)
        scale = namespace(square).sqrt(square) / math.sqrt(1.0 - beta2**step) + self.eps
        return data - (self.lr / (1.0 - beta1**step)) * (mean / scale), {"mean": mean, "square": square}

    def decay(self, data: Array, gradient: Array) -> tuple[Array, Array]:
        """Weight decay, before the step: here as a part of the gradient."""
        return data, gradient + self.weight_decay * data if self.weight_decay else gradient


class AdamW(Adam):
    """Adam with w = (1 - lr weight_decay) w beside the gradient (Loshchilov and Hutter 2019, arXiv 1711.05101)."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay)

    def decay(self, data: Array, gradient: Array) -> tuple[Array, Array]:
        """Weight decay, before the step: here of the value itself."""
        return data * (1.0 - self.lr * self.weight_decay), gradient


class RMSprop(Optimizer):
    """Gradients over their root mean square (Hinton 2012, lecture 6e).

    v = alpha v + (1 - alpha) g^2;  d = g / (sqrt(v) + eps);  b = momentum b + d;  w = w - lr b. ``centered`` divides by
    the standard deviation, sqrt(v - m^2), m = alpha m + (1 - alpha) g (Graves 2013). g includes weight_decay w.
    """

    settings = ("lr", "alpha", "eps", "weight_decay", "momentum", "centered")

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        super().__init__(parameters, lr)
        self.alpha, self.eps = self._setting("alpha", alpha, below=1.0), self._setting("eps", eps)
        self.weight_decay = self._setting("weight_decay", weight_decay)
        self.momentum = self._setting("momentum", momentum)
        self.centered = bool(centered)

    def slots(self) -> tuple[str, ...]:
        return ("square", *["mean"] * self.centered, *["momentum"] * bool(self.momentum))

    def update(self, data: Array, gradient: Array, slots: Slots, step: int) -> tuple[Array, Slots]:
        if self.weight_decay:
            gradient = gradient + self.weight_decay * data
        xp, new = namespace(data), {}
        variance = new["square"] = self.alpha * slots["square"] + (1.0 - self.alpha) * (gradient * gradient)
        if self.centered:
            mean = new["mean"] = self.alpha * slots["mean"] + (1.0 - self.alpha) * gradient
            variance = variance - mean * mean
            variance = xp.maximum(variance, xp.zeros_like(variance))  # rounding can take it below 0, whose root is NaN
        direction = gradient / (xp.sqrt(variance) + self.eps)
        if self.momentum:
            direction = new["momentum"] = self.momentum * slots["momentum"] + direction
        return data - self.lr * direction, new


def _together(a: Array, b: Array) -> bool:
    """Whether two arrays are of one library and on one device."""
    return type(a) is type(b) and a.device == b.device
