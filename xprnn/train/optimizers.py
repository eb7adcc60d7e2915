"""Optimizers: from gradients to new parameters, with the formulas, names and defaults of torch.optim."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from xprnn import host_kernels
from xprnn.arguments import true_or_false
from xprnn.backend import Array, namespace
from xprnn.train.optimizer import Optimizer
from xprnn.train.optimizer_state import Slots
from xprnn.train.parameter_groups import Setting, number, pair


class SGD(Optimizer):
    """Gradient descent, with momentum b = momentum b + g (Polyak 1964).

    w = w - lr b; with ``nesterov`` w = w - lr (g + momentum b) (Sutskever et al. 2013). g includes weight_decay w.
    """

    elementwise = True
    settings = ("lr", "momentum", "nesterov", "weight_decay")
    momentum, nesterov, weight_decay = Setting(number()), Setting(true_or_false), Setting(number())

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)

    def agree(self, group: Mapping[str, Any]) -> None:
        if group["nesterov"] and group["momentum"] == 0.0:
            raise ValueError("SGD: nesterov needs a momentum above 0")

    def slots(self) -> tuple[str, ...]:
        return ("momentum",) if self.group["momentum"] else ()

    def update(self, data: Array, gradient: Array, slots: Slots, step: int) -> tuple[Array, Slots]:
        group = self.group
        gradient = _decayed(gradient, data, group["weight_decay"])
        if not group["momentum"]:
            return data - group["lr"] * gradient, slots
        velocity = group["momentum"] * slots["momentum"] + gradient
        direction = gradient + group["momentum"] * velocity if group["nesterov"] else velocity
        return data - group["lr"] * direction, {"momentum": velocity}


class Adam(Optimizer):
    """Steps of the mean gradient over its root mean square (Kingma and Ba 2015, arXiv 1412.6980).

    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w = w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps),
    with (b1, b2) = betas. g includes weight_decay w. ``amsgrad`` divides by the largest v so far (Reddi, Kale and Kumar
    2018, arXiv 1904.09237).
    """

    elementwise = True
    settings, squares = ("lr", "betas", "eps", "weight_decay", "amsgrad"), ("square", "largest")
    betas, eps = Setting(pair(number(below=1.0))), Setting(number())
    weight_decay, amsgrad = Setting(number()), Setting(true_or_false)

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(parameters, lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)

    def slots(self) -> tuple[str, ...]:
        return ("mean", "square", "largest") if self.group["amsgrad"] else ("mean", "square")

    def update(self, data: Array, gradient: Array, slots: Slots, step: int) -> tuple[Array, Slots]:
        group = self.group
        beta1, beta2 = group["betas"]
        data, gradient = self.decay(data, gradient)
        rate, root = group["lr"] / (1.0 - beta1**step), math.sqrt(1.0 - beta2**step)
        if not group["amsgrad"] and (found := host_kernels.loaded_for(data, gradient, *slots.values())) is not None:
            new = found.adam(data, gradient, slots["mean"], slots["square"], beta1, beta2, root, group["eps"], rate)
            return new[0], {"mean": new[1], "square": new[2]}
        mean = beta1 * slots["mean"] + (1.0 - beta1) * gradient
        square = beta2 * slots["square"] + (1.0 - beta2) * (gradient * gradient)
        xp, kept = namespace(square), {"mean": mean, "square": square}
        if group["amsgrad"]:
            square = kept["largest"] = xp.maximum(slots["largest"], square)
        return data - rate * (mean / (xp.sqrt(square) / root + group["eps"])), kept

    def decay(self, data: Array, gradient: Array) -> tuple[Array, Array]:
        """Weight decay, before the step: here as a part of the gradient."""
        return data, _decayed(gradient, data, self.group["weight_decay"])


class AdamW(Adam):
    """Adam with w = (1 - lr weight_decay) w beside the gradient (Loshchilov and Hutter 2019, arXiv 1711.05101)."""

    elementwise = True

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay, amsgrad)

    def decay(self, data: Array, gradient: Array) -> tuple[Array, Array]:
        """Weight decay, before the step: here of the value itself."""
        return data * (1.0 - self.group["lr"] * self.group["weight_decay"]), gradient


class RMSprop(Optimizer):
    """Gradients over their root mean square (Hinton 2012, lecture 6e).

    v = alpha v + (1 - alpha) g^2;  d = g / (sqrt(v) + eps);  b = momentum b + d;  w = w - lr b. ``centered`` divides by
    the standard deviation, sqrt(v - m^2), m = alpha m + (1 - alpha) g (Graves 2013). g includes weight_decay w.
    """

    elementwise = True
    settings, squares = ("lr", "alpha", "eps", "weight_decay", "momentum", "centered"), ("square",)
    alpha, eps, weight_decay = Setting(number(below=1.0)), Setting(number()), Setting(number())
    momentum, centered = Setting(number()), Setting(true_or_false)

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        own = {"weight_decay": weight_decay, "momentum": momentum, "centered": centered}
        super().__init__(parameters, lr, alpha=alpha, eps=eps, **own)

    def slots(self) -> tuple[str, ...]:
        group = self.group
        return ("square", *["mean"] * group["centered"], *["momentum"] * bool(group["momentum"]))

    def update(self, data: Array, gradient: Array, slots: Slots, step: int) -> tuple[Array, Slots]:
        group = self.group
        gradient = _decayed(gradient, data, group["weight_decay"])
        xp, new = namespace(data), {}
        variance = new["square"] = group["alpha"] * slots["square"] + (1.0 - group["alpha"]) * (gradient * gradient)
        if group["centered"]:
            mean = new["mean"] = group["alpha"] * slots["mean"] + (1.0 - group["alpha"]) * gradient
            variance = variance - mean * mean
            variance = xp.maximum(variance, xp.zeros_like(variance))  # rounding can take it below 0, whose root is NaN
        direction = gradient / (xp.sqrt(variance) + group["eps"])
        if group["momentum"]:
            direction = new["momentum"] = group["momentum"] * slots["momentum"] + direction
        return data - group["lr"] * direction, new


class Adagrad(Optimizer):
    """Gradients over the root of the sum of their squares so far (Duchi, Hazan and Singer 2011, JMLR 12).

    v = v + g^2;  w = w - lr / (1 + (t - 1) lr_decay) g / (sqrt(initial_accumulator_value + v) + eps). g includes
    weight_decay w.
    """

    elementwise = True
    settings = ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps")
    squares = ("square",)
    lr_decay, weight_decay = Setting(number()), Setting(number())
    initial_accumulator_value, eps = Setting(number()), Setting(number())

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        own = {"weight_decay": weight_decay, "initial_accumulator_value": initial_accumulator_value, "eps": eps}
        super().__init__(parameters, lr, lr_decay=lr_decay, **own)

    def slots(self) -> tuple[str, ...]:
        return ("square",)

    def update(self, data: Array, gradient: Array, slots: Slots, step: int) -> tuple[Array, Slots]:
        group = self.group
        gradient = _decayed(gradient, data, group["weight_decay"])
        square = slots["square"] + gradient * gradient
        root = namespace(data).sqrt(square + group["initial_accumulator_value"])
        rate = group["lr"] / (1.0 + (step - 1) * group["lr_decay"])
        return data - rate * (gradient / (root + group["eps"])), {"square": square}


class Adadelta(Optimizer):
    """Gradients over their root mean square, times that of the changes before (Zeiler 2012, arXiv 1212.5701).

    v = rho v + (1 - rho) g^2;  d = sqrt(u + eps) / sqrt(v + eps) g;  u = rho u + (1 - rho) d^2;  w = w - lr d. g
    includes weight_decay w.
    """

    elementwise = True
    settings, squares = ("lr", "rho", "eps", "weight_decay"), ("square", "change")
    rho, eps, weight_decay = Setting(number(below=1.0)), Setting(number()), Setting(number())

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, rho=rho, eps=eps, weight_decay=weight_decay)

    def slots(self) -> tuple[str, ...]:
        return ("square", "change")

    def update(self, data: Array, gradient: Array, slots: Slots, step: int) -> tuple[Array, Slots]:
        group, sqrt = self.group, namespace(data).sqrt
        rho, eps = group["rho"], group["eps"]
        gradient = _decayed(gradient, data, group["weight_decay"])
        square = rho * slots["square"] + (1.0 - rho) * (gradient * gradient)
        change = sqrt(slots["change"] + eps) / sqrt(square + eps) * gradient
        kept = {"square": square, "change": rho * slots["change"] + (1.0 - rho) * (change * change)}
        return data - group["lr"] * change, kept


class RAdam(Optimizer):
    """Adam that does without the variance until that is known well enough (Liu et al. 2020, arXiv 1908.03265).

    m and v as of :class:`Adam`;  r = R - 2 t b2^t / (1 - b2^t), with R = 2 / (1 - b2) - 1;  w = w - lr m / (1 - b1^t)
    and, where r > 5, this change times sqrt((r - 4) (r - 2) R / ((R - 4) (R - 2) r)) sqrt(1 - b2^t) / (sqrt(v) + eps).
    g includes weight_decay w, but with ``decoupled_weight_decay`` it is w that decays, as of :class:`AdamW`.
    """

    elementwise = True
    settings = ("lr", "betas", "eps", "weight_decay", "decoupled_weight_decay")
    squares = ("square",)
    betas, eps = Setting(pair(number(below=1.0))), Setting(number())
    weight_decay, decoupled_weight_decay = Setting(number()), Setting(true_or_false)

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
    ) -> None:
        own = {"weight_decay": weight_decay, "decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(parameters, lr, betas=betas, eps=eps, **own)

    def slots(self) -> tuple[str, ...]:
        return ("mean", "square")

    def update(self, data: Array, gradient: Array, slots: Slots, step: int) -> tuple[Array, Slots]:
        group = self.group
        beta1, beta2 = group["betas"]
        if group["decoupled_weight_decay"]:
            data = data * (1.0 - group["lr"] * group["weight_decay"])
        else:
            gradient = _decayed(gradient, data, group["weight_decay"])
        mean = beta1 * slots["mean"] + (1.0 - beta1) * gradient
        square = beta2 * slots["square"] + (1.0 - beta2) * (gradient * gradient)
        rate, unseen = group["lr"] / (1.0 - beta1**step), 1.0 - beta2**step
        longest = 2.0 / (1.0 - beta2) - 1.0
        length = longest - 2.0 * step * beta2**step / unseen
        if length <= 5.0:
            return data - rate * mean, {"mean": mean, "square": square}
        known = (length - 4.0) * (length - 2.0) * longest / ((longest - 4.0) * (longest - 2.0) * length)
        rate *= math.sqrt(known * unseen)
        change = rate * (mean / (namespace(data).sqrt(square) + group["eps"]))
        return data - change, {"mean": mean, "square": square}


def _decayed(gradient: Array, data: Array, rate: float) -> Array:
    """A gradient with weight decay in it."""
    return gradient + rate * data if rate else gradient
