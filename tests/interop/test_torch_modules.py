"""Modules of PyTorch's to layers of ours and back: the same numbers, and what cannot be said."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn as theirs  # noqa: E402

from xprnn import nn  # noqa: E402
from xprnn.interop import torch as interop  # noqa: E402

T, B, I, H, E = 5, 3, 4, 6, 8  # noqa: E741
STEPS = (T, B, I)
BOTH = {"num_layers": 2, "bidirectional": True}


def encoder(**options):
    layer = theirs.TransformerEncoderLayer(E, 2, 12, **options)
    return theirs.TransformerEncoder(layer, 2, theirs.LayerNorm(E), enable_nested_tensor=False)


CASES = {
    "rnn": (lambda: theirs.RNN(I, H, **BOTH), STEPS),
    "rnn relu": (lambda: theirs.RNN(I, H, nonlinearity="relu", bias=False), STEPS),
    "lstm": (lambda: theirs.LSTM(I, H, batch_first=True, dropout=0.3, **BOTH), STEPS),
    "projected lstm": (lambda: theirs.LSTM(I, H, proj_size=2, **BOTH), STEPS),
    "gru": (lambda: theirs.GRU(I, H, **BOTH), STEPS),
    "rnn cell": (lambda: theirs.RNNCell(I, H, nonlinearity="relu"), (B, I)),
    "lstm cell": (lambda: theirs.LSTMCell(I, H, bias=False), (B, I)),
    "gru cell": (lambda: theirs.GRUCell(I, H), (B, I)),
    "linear": (lambda: theirs.Linear(I, H, bias=False), STEPS),
    "layer norm": (lambda: theirs.LayerNorm((B, I), 1e-3), STEPS),
    "dropout": (lambda: theirs.Dropout(0.4), STEPS),
    "attention": (lambda: theirs.MultiheadAttention(E, 2, batch_first=True), (B, T, E)),
    "encoder layer": (lambda: theirs.TransformerEncoderLayer(E, 2, 12, activation="gelu", norm_first=True), (T, B, E)),
    "encoder": (encoder, (T, B, E)),
    "sequential": (
        lambda: theirs.Sequential(theirs.Linear(I, H), theirs.Sequential(theirs.LayerNorm(H)), theirs.Linear(H, 2)),
        STEPS,
    ),
    "of ours": (lambda: interop.GRU(I, H), STEPS),
    "sequential of ours": (lambda: interop.Sequential(interop.LSTM(I, H), theirs.Linear(H, 2)), STEPS),
}


def parts(result):
    """All arrays of a result."""
    if isinstance(result, (tuple, list)):
        return [array for part in result if part is not None for array in parts(part)]
    return [result.detach().numpy()]


def run(module, x):
    attention = isinstance(module, (theirs.MultiheadAttention, nn.MultiheadAttention))
    return parts(module(x, x, x) if attention else module(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_there_and_back(case, dtype, rng):
    make, shape = CASES[case]
    module = make().to(getattr(torch, dtype)).eval()
    x = rng.standard_normal(shape).astype(dtype)
    layer = interop.from_module(module)
    for ours, expected in zip(run(layer, x), run(module, torch.from_numpy(x)), strict=True):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-6 if dtype == "float32" else 1e-12)
    back, before = interop.to_module(layer), torch.random.get_rng_state()
    assert type(back).__name__ == type(module).__name__
    assert not back.training
    assert torch.equal(torch.random.get_rng_state(), before)
    assert list(back.state_dict()) == list(module.state_dict())
    for got, kept in zip(run(back, torch.from_numpy(x)), run(module, torch.from_numpy(x)), strict=True):
        np.testing.assert_allclose(got, kept, rtol=0, atol=1e-6)


def test_embedding():
    module = theirs.Sequential(theirs.Embedding(7, I, padding_idx=-1), theirs.Linear(I, 2))
    words = np.array([[0, 6, 3]])
    layer = interop.from_module(module)
    np.testing.assert_allclose(layer(words).numpy(), parts(module(torch.from_numpy(words)))[0], atol=1e-6)
    assert interop.to_module(layer)[0].padding_idx == 6


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_becomes_float32(half):
    module = theirs.GRU(I, H).to(half)
    layer = interop.from_module(module)
    for name, weight in module.state_dict().items():
        np.testing.assert_array_equal(getattr(layer, name).data, weight.float().numpy())
        assert getattr(layer, name).data.dtype == np.float32


def test_sharing_freezing_and_modes():
    module = theirs.Sequential(theirs.Linear(4, 4), theirs.Dropout(), theirs.Linear(4, 4), theirs.Linear(4, 4))
    module[2].weight, module[3] = module[0].weight, module[0]
    module[2].bias.requires_grad = False
    module[1].eval()
    layer = interop.from_module(module)
    back = interop.to_module(layer)
    for model in (layer, back):
        assert model[2].weight is model[0].weight
        assert model[3] is model[0]
        assert [part.training for part in model] == [True, False, True, True]
        assert [p.requires_grad for p in (model[0].weight, model[0].bias, model[2].bias)] == [True, True, False]
    module.eval()
    again = interop.from_module(module).train()
    with again.mode(True):  # as fit does it: no part was set apart
        assert all(part.training for part in again)


def test_nothing_is_shared_with_the_other_library():
    module = theirs.Linear(2, 2)
    layer = interop.from_module(module)
    back, before = interop.to_module(layer), layer.weight.data.copy()
    with torch.no_grad():
        module.weight += 1
        back.weight += 1
    np.testing.assert_array_equal(layer.weight.data, before)


class Doubled(theirs.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def hooked():
    module = theirs.Linear(2, 2)
    module.register_forward_hook(lambda *_: None)
    return module


REFUSED = {
    "another module": (lambda: theirs.Conv1d(2, 2, 1), TypeError, "Conv1d; expected one of RNN"),
    "a subclass": (lambda: theirs.Sequential(Doubled(2, 2)), TypeError, r"0 \(Doubled\) is a .*Doubled"),
    "hooks": (hooked, TypeError, "Linear has hooks"),
    "weight norm": (lambda: theirs.utils.parametrizations.weight_norm(theirs.Linear(2, 2)), TypeError, "Parametrized"),
    "max_norm": (lambda: theirs.Embedding(2, 2, max_norm=1.0), ValueError, "Embedding has max_norm"),
    "no affine": (lambda: theirs.LayerNorm(2, elementwise_affine=False), ValueError, "elementwise_affine=False"),
    "bias_k": (lambda: theirs.MultiheadAttention(2, 1, add_bias_kv=True), ValueError, "add_bias_kv"),
    "activation": (lambda: theirs.TransformerEncoderLayer(2, 1, 2, activation=torch.tanh), ValueError, "activation"),
    "another axis": (lambda: theirs.Softmax(dim=0), ValueError, "Softmax has dim=0"),
    "no module": (lambda: 3, TypeError, "module is a int; expected a torch.nn.Module"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_layers_do_not_have_is_refused_by_name(case):
    make, error, words = REFUSED[case]
    with pytest.raises(error, match=words):
        interop.from_module(make())


@pytest.mark.parametrize(
    ("layer", "error", "words"),
    [
        (lambda: nn.LSTM(2, 3, peephole="diagonal"), ValueError, "LSTM is made of PeepholeLSTM"),
        (lambda: nn.Sequential(nn.GRU(2, 3, reset_after=False)), ValueError, r"0 \(GRU\) is made of ResetBeforeGRU"),
        (lambda: nn.RNN(2, 3, clip=1.0), ValueError, "RNN is made of"),
        (lambda: nn.RNN(2, 3, reverse=True), ValueError, "RNN has reverse"),
        (lambda: nn.RNN(2, 3, nonlinearity=("tanh", "relu"), bidirectional=True), ValueError, "another cell"),
        (lambda: nn.GRU(2, 3, recurrent_dropout=0.1), ValueError, "has zoneout or dropout between steps"),
        (lambda: nn.IndRNN(2, 3), TypeError, "IndRNN; expected one of RNN"),
    ],
    ids=["peepholes", "reset before", "clip", "reverse", "two cells", "dropout between steps", "indrnn"],
)
def test_what_modules_do_not_have_is_refused_by_name(layer, error, words):
    with pytest.raises(error, match=words):
        interop.to_module(layer())
