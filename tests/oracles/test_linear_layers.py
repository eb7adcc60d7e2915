"""Linear layers against their papers' packages where these are installed, and against PyTorch where there is none."""

import numpy as np
import pytest
from helpers import assert_close

from xprnn import Tensor, nn

torch = pytest.importorskip("torch")

T, B, I, H, N = 7, 3, 4, 5, 6  # noqa: E741


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def compare(layer, x, theirs, state=None, tol=1e-11):
    """Outputs, and the gradients of x and of every parameter, for random cotangents.

    ``theirs(x, weights, state)`` gets tensors of PyTorch, by our names.
    """
    weights = {
        name.removesuffix("_l0"): torch.tensor(p.data, requires_grad=True) for name, p in layer.named_parameters()
    }
    tx, ox = torch.tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
    expected = theirs(tx, weights, None if state is None else torch.tensor(state))
    found, _ = layer(ox, state)
    cotangent = draw(*found.shape, seed=9).astype(x.dtype)
    expected.backward(torch.tensor(cotangent))
    found.backward(cotangent)
    assert_close(found.data, expected.detach().numpy(), tol)
    assert_close(ox.grad, tx.grad.numpy(), tol)
    for name, parameter in layer.named_parameters():
        assert_close(parameter.grad, weights[name.removesuffix("_l0")].grad.numpy(), tol)


def functional(module, named, x, **options):
    """A module of PyTorch called with other tensors as its parameters."""
    return torch.func.functional_call(module, named, (x,), options)


def test_mingru_in_log_space():
    package = pytest.importorskip("minGRU_pytorch.minGRU")
    module = package.minGRU(I).double()

    def theirs(x, w, h):
        z, v = w["weight_ih"].chunk(2)
        named = {"to_hidden_and_gate.weight": torch.cat([v, z])}
        return functional(module, named, x.transpose(0, 1), prev_hidden=h.transpose(0, 1)).transpose(0, 1)

    layer = nn.MinGRU(I, I, bias=False, dtype="float64", rng=0)
    compare(layer, draw(T, B, I), theirs, abs(draw(1, B, I)))  # only positive numbers have logarithms


def test_minlstm_in_log_space():
    package = pytest.importorskip("minGRU_pytorch.minLSTM")
    module = package.minLSTM(I).double()

    def theirs(x, w, h):
        f, i, v = w["weight_ih"].chunk(3)
        named = {"to_hidden_and_f_i_gate.weight": torch.cat([v, f, i])}
        return functional(module, named, x.transpose(0, 1)).transpose(0, 1)

    layer = nn.MinLSTM(I, I, bias=False, dtype="float64", rng=0)
    compare(layer, draw(T, B, I), theirs)


def mingru(x, w, h):
    outputs, (z, v) = [], (x @ w["weight_ih"].T + w["bias_ih"]).chunk(2, dim=-1)
    for zt, vt in zip(torch.sigmoid(z), v, strict=True):
        h = torch.lerp(h, vt, zt)
        outputs.append(h)
    return torch.cat(outputs)


def minlstm(x, w, h):
    outputs, (f, i, v) = [], (x @ w["weight_ih"].T + w["bias_ih"]).chunk(3, dim=-1)
    for ft, it, vt in zip(torch.sigmoid(f), torch.sigmoid(i), v, strict=True):
        h = (ft * h + it * vt) / (ft + it)
        outputs.append(h)
    return torch.cat(outputs)


@pytest.mark.parametrize(("layer", "theirs"), [(nn.MinGRU, mingru), (nn.MinLSTM, minlstm)])
def test_linear_space(layer, theirs):
    compare(layer(I, H, space="linear", dtype="float64", rng=0), draw(T, B, I), theirs, draw(1, B, H))


@pytest.mark.parametrize("inputs", [I, H])
def test_sru(inputs):
    package = pytest.importorskip("sru")
    module = package.SRUCell(inputs, H, v1=True, rescale=False).double()
    blocks = 3 if inputs == H else 4

    def theirs(x, w, _):
        # theirs has a unit's blocks side by side in the columns, and biases of the gates only
        weight = w["weight_ih"].reshape(blocks, H, inputs).permute(2, 1, 0).reshape(inputs, -1)
        bias = w["bias_ih"].reshape(blocks, H)
        named = {"weight": weight, "bias": bias[1:3].reshape(-1)}
        return functional(module, named, x)[0]

    layer = nn.SRU(inputs, H, dtype="float64", rng=0)
    bias = layer.bias_ih_l0.data.copy()
    bias[:H] = bias[3 * H :] = 0.0
    layer.bias_ih_l0.data = bias
    x = draw(T, B, inputs)
    tx, w = torch.tensor(x), {n.removesuffix("_l0"): torch.tensor(p.data) for n, p in layer.named_parameters()}
    assert_close(layer(x)[0].data, theirs(tx, w, None).detach().numpy(), 1e-12)


def test_qrnn_is_a_convolution_and_a_pooling():
    def theirs(x, w, _):
        now, before = w["weight_ih"].chunk(2)
        kernel = torch.stack([before, now], dim=-1)  # (3H, I, 2), as conv1d has it
        padded = torch.nn.functional.pad(x.permute(1, 2, 0), (1, 0))
        z, f, o = torch.nn.functional.conv1d(padded, kernel, w["bias_ih"]).permute(2, 0, 1).chunk(3, dim=-1)
        c, outputs = torch.zeros_like(z[0]), []
        for zt, ft, ot in zip(torch.tanh(z), torch.sigmoid(f), torch.sigmoid(o), strict=True):
            c = ft * c + (1 - ft) * zt
            outputs.append(ot * c)
        return torch.stack(outputs)

    compare(nn.QRNN(I, H, window=2, dtype="float64", rng=0), draw(T, B, I), theirs)


def test_lru():
    package = pytest.importorskip("LRU_pytorch")
    module = package.LRU(I, H, N)

    def theirs(x, w, _):
        b_re, b_im, d = w["weight_ih"].split([N, N, H])
        named = {name: w[name] for name in ("nu_log", "theta_log", "gamma_log")}
        c_re, c_im = w["weight_ch"].chunk(2, dim=1)
        named |= {"B": torch.complex(b_re, b_im), "C": torch.complex(c_re, c_im), "D": d}
        return functional(module, named, x.transpose(0, 1)).transpose(0, 1)

    compare(nn.LRU(I, H, state_size=N, rng=0), draw(T, B, I).astype("float32"), theirs, tol=2e-5)


def test_s5():
    package = pytest.importorskip("s5")

    def theirs(x, w, _):
        b_re, b_im, d = w["weight_ih"].split([N, N, I])
        c_re, c_im = w["weight_ch"].chunk(2, dim=1)
        poles = torch.complex(*w["poles"].chunk(2))
        p, b = package.discretize_zoh(poles, torch.complex(b_re, b_im), torch.exp(w["log_step"]))
        runs = [
            package.apply_ssm(p, b, 2 * torch.complex(c_re, c_im), torch.diagonal(d), x[:, k])[0]
            for k in range(x.shape[1])
        ]
        return torch.stack(runs, dim=1)

    layer = nn.S5(I, I, state_size=N, dtype="float64", rng=0)
    weight = layer.weight_ih_l0.data.copy()
    weight[2 * N :] = np.diag(draw(I))  # the paper's is a diagonal
    layer.weight_ih_l0.data = weight
    x, w = draw(T, B, I), {n.removesuffix("_l0"): torch.tensor(p.data) for n, p in layer.named_parameters()}
    assert_close(layer(x)[0].data, theirs(torch.tensor(x), w, None).detach().numpy(), 1e-12)
