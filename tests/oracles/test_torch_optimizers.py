"""Groups, schedules over them and amsgrad against PyTorch's trajectories."""

import numpy as np
import pytest
from helpers import exported

from xprnn import Parameter, Tensor, train
from xprnn.train import SGD, Adam, AdamW, Exponential, ReduceOnPlateau, RMSprop, StepDecay

torch = pytest.importorskip("torch")
SECOND = {
    SGD: {"lr": 0.3, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    Adam: {"lr": 0.1, "betas": (0.5, 0.9), "amsgrad": True, "weight_decay": 0.1},
    AdamW: {"lr": 0.1, "amsgrad": True, "weight_decay": 0.5, "eps": 1e-3},
    RMSprop: {"lr": 0.1, "alpha": 0.5, "centered": True, "momentum": 0.5},
}
for kind in exported(train, train.Optimizer):
    SECOND.setdefault(kind, {"lr": 0.1, "weight_decay": 0.1})


def pairs(kind, settings, second):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape) for shape in ((2, 3), (4,), (2,))]
    ours = [Parameter(array) for array in arrays]
    theirs = [torch.tensor(array, requires_grad=True) for array in arrays]
    make = lambda p: [{"params": p[:1]}, {"params": p[1:], **second}]
    return ours, theirs, kind(make(ours), **settings), getattr(torch.optim, kind.__name__)(make(theirs), **settings)


def follow(ours, theirs, optimizer, oracle, steps=8, each=lambda step: None):
    rng = np.random.default_rng(1)
    for step in range(steps):
        for p, t in zip(ours, theirs, strict=True):
            gradient = rng.normal(size=p.shape) * (10.0 if step == 1 else 1.0)  # a peak, which amsgrad remembers
            p.grad, t.grad = Tensor(gradient), torch.tensor(gradient)
        optimizer.step()
        oracle.step()
        each(step)
        for p, t in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.data, t.detach().numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", SECOND)
def test_groups(kind):
    follow(*pairs(kind, {"lr": 0.05}, SECOND[kind]))


@pytest.mark.parametrize("kind", [Adam, AdamW])
@pytest.mark.parametrize("settings", [{}, {"weight_decay": 0.1, "betas": (0.8, 0.9), "eps": 1e-3}])
def test_amsgrad(kind, settings):
    follow(*pairs(kind, {"lr": 0.05, "amsgrad": True, **settings}, {}))


@pytest.mark.parametrize("name", ["step", "exponential", "plateau"])
def test_schedules_of_groups(name):
    ours, theirs, optimizer, oracle = pairs(SGD, {"lr": 0.1}, {"lr": 0.4})
    of_torch = torch.optim.lr_scheduler
    mine, other = {
        "step": lambda: (StepDecay(optimizer, 2, 0.5), of_torch.StepLR(oracle, 2, 0.5)),
        "exponential": lambda: (Exponential(optimizer, 0.9), of_torch.ExponentialLR(oracle, 0.9)),
        "plateau": lambda: (
            ReduceOnPlateau(optimizer, 0.5, 1, floor=0.15),
            of_torch.ReduceLROnPlateau(oracle, factor=0.5, patience=1, min_lr=0.15, threshold=0.0, eps=0.0),
        ),
    }[name]()
    if name == "plateau":  # PyTorch raises a rate below the least one only when it reduces, and so do we
        optimizer.lr = 0.3
        for group in oracle.param_groups:
            group["lr"] = 0.3
    arguments = [5.0, 4.0, 4.0, 4.0, 4.0, 3.0, 3.0, 3.0]

    def each(step):
        for schedule in (mine, other):
            schedule.step(*([arguments[step]] if name == "plateau" else []))
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([g["lr"] for g in oracle.param_groups])

    follow(ours, theirs, optimizer, oracle, each=each)
