"""Multi-head attention and the Transformer's encoder against PyTorch: outputs, weights and every gradient."""

import numpy as np
import pytest
from helpers import assert_close

from xprnn import Tensor, nn, ops
from xprnn.data import lengths_to_mask

torch = pytest.importorskip("torch")

T, B, E, N, F = 7, 4, 12, 3, 20
LENGTHS = [7, 1, 5, 3]
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}
REAL = lengths_to_mask(LENGTHS)  # (T, B)
each_dtype = pytest.mark.parametrize("dtype", ["float64", "float32"])
each_form = pytest.mark.parametrize("batch_first", [False, True], ids=["time first", "batch first"])


def arrays(module):
    return {name: value.numpy() for name, value in module.state_dict().items()}


def loaded(theirs, ours):
    """Ours with the weights of theirs, all of which, biases and norms too, are random."""
    generator = torch.Generator().manual_seed(0)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.3, generator=generator)
    ours.load_state_dict(arrays(theirs))
    return theirs, ours


def drawn(rng, *shape, dtype):
    x = rng.standard_normal(shape).astype(dtype)
    return torch.tensor(x, requires_grad=True), Tensor(x, requires_grad=True)


def compare_gradients(theirs, ours, expected, found, inputs, dtype, real=None):
    """Back from random cotangents of the real outputs, to inputs and parameters."""
    rng, tol = np.random.default_rng(3), TOLERANCE[dtype]
    cotangents = [rng.standard_normal(e.shape).astype(dtype) for e in expected]
    if real is not None:
        cotangents = [c * real[..., None].astype(dtype) for c in cotangents]
    torch.autograd.backward(expected, [torch.tensor(c) for c in cotangents])
    losses = [ops.sum(y * c) for y, c in zip(found, cotangents, strict=True)]
    sum(losses[1:], losses[0]).backward()
    for theirs_x, ours_x in inputs:
        assert_close(ours_x.grad, theirs_x.grad.numpy(), tol)
    gradients = {name: p.grad for name, p in ours.named_parameters()}
    for name, parameter in theirs.named_parameters():
        assert_close(gradients[name], parameter.grad.numpy(), tol)


@each_dtype
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("average", [True, False])
def test_self_attention(average, masked, bias, dtype, rng):
    theirs, ours = loaded(
        torch.nn.MultiheadAttention(E, N, bias=bias, dtype=getattr(torch, dtype)),
        nn.MultiheadAttention(E, N, bias=bias, dtype=dtype),
    )
    tx, ox = drawn(rng, T, B, E, dtype=dtype)
    causal = np.tril(np.ones((T, T), bool))
    options = {"attn_mask": torch.tensor(~causal), "key_padding_mask": torch.tensor(~REAL.T)} if masked else {}
    expected = theirs(tx, tx, tx, average_attn_weights=average, **options)
    options = {"causal": True, "lengths": LENGTHS} if masked else {}
    found = ours(ox, average_attn_weights=average, **options)
    real = REAL if masked else None
    if masked:  # what queries in padding see is nobody's concern, and ours get no padding to start from
        found = [found[0] * REAL[..., None].astype(dtype), found[1] * selected(REAL, average, dtype)]
        expected = [
            expected[0] * torch.tensor(REAL[..., None]),
            expected[1] * torch.tensor(selected(REAL, average, dtype)),
        ]
    assert_close(found, [e.detach().numpy() for e in expected], TOLERANCE[dtype])
    compare_gradients(theirs, ours, expected[:1], found[:1], [(tx, ox)], dtype, real)


def selected(real, average, dtype):
    rows = real.T[:, :, None].astype(dtype)
    return rows if average else rows[:, None]


@each_dtype
@each_form
@pytest.mark.parametrize(("kdim", "vdim"), [(None, None), (5, 8)])
@pytest.mark.parametrize("same_value", [True, False])
def test_attention_to_something_else(same_value, kdim, vdim, batch_first, dtype, rng):
    if same_value and kdim is not None:
        vdim = kdim
    theirs, ours = loaded(
        torch.nn.MultiheadAttention(E, N, kdim=kdim, vdim=vdim, batch_first=batch_first, dtype=getattr(torch, dtype)),
        nn.MultiheadAttention(E, N, kdim=kdim, vdim=vdim, batch_first=batch_first, dtype=dtype),
    )
    steps = 5
    lead = lambda n: (B, n) if batch_first else (n, B)
    tq, oq = drawn(rng, *lead(steps), E, dtype=dtype)
    tk, ok = drawn(rng, *lead(T), kdim or E, dtype=dtype)
    tv, ov = (tk, ok) if same_value else drawn(rng, *lead(T), vdim or E, dtype=dtype)
    looks = rng.random((B, N, steps, T)) < 0.7
    looks[..., 0] = True
    expected = theirs(
        tq,
        tk,
        tv,
        key_padding_mask=torch.tensor(~REAL.T),
        attn_mask=torch.tensor(~looks.reshape(B * N, steps, T)),
        average_attn_weights=False,
    )
    found = ours(
        oq,
        ok,
        None if same_value else ov,
        mask=REAL.T if batch_first else REAL,
        attention_mask=looks,
        average_attn_weights=False,
    )
    assert_close(found, [e.detach().numpy() for e in expected], TOLERANCE[dtype])
    compare_gradients(theirs, ours, expected, found, [(tq, oq), (tk, ok), (tv, ov)], dtype)


@each_form
def test_attention_without_a_batch(batch_first, rng):
    theirs, ours = loaded(
        torch.nn.MultiheadAttention(E, N, batch_first=batch_first, dtype=torch.float64),
        nn.MultiheadAttention(E, N, batch_first=batch_first, dtype="float64"),
    )
    tq, oq = drawn(rng, 3, E, dtype="float64")
    tk, ok = drawn(rng, 5, E, dtype="float64")
    expected, found = theirs(tq, tk, tk), ours(oq, ok)
    assert_close(found, [e.detach().numpy() for e in expected], 1e-12)
    compare_gradients(theirs, ours, expected, found, [(tq, oq), (tk, ok)], "float64")


SETTINGS = {
    "post-norm": {},
    "pre-norm": {"norm_first": True},
    "gelu": {"activation": "gelu"},
    "pre-norm, gelu, no bias": {"norm_first": True, "activation": "gelu", "bias": False},
    "eps": {"layer_norm_eps": 1e-2},
}


@each_dtype
@each_form
@pytest.mark.parametrize("control", ["full", "lengths", "causal", "lengths and causal"])
@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS.keys())
def test_encoder_layer(options, control, batch_first, dtype, rng):
    options = {"dim_feedforward": F, "dropout": 0.0, "batch_first": batch_first} | options
    theirs, ours = loaded(
        torch.nn.TransformerEncoderLayer(E, N, dtype=getattr(torch, dtype), **options),
        nn.TransformerEncoderLayer(E, N, dtype=dtype, **options),
    )
    compare_encoders(theirs, ours, control, "src_mask", batch_first, dtype, rng)


@each_dtype
@pytest.mark.parametrize("control", ["full", "lengths and causal"])
@pytest.mark.parametrize("norm_first", [False, True])
def test_encoder(norm_first, control, dtype, rng):
    options = {"dim_feedforward": F, "dropout": 0.0, "norm_first": norm_first}
    layer = torch.nn.TransformerEncoderLayer(E, N, dtype=getattr(torch, dtype), **options)
    norm = torch.nn.LayerNorm(E, dtype=getattr(torch, dtype)) if norm_first else None
    theirs, ours = loaded(
        torch.nn.TransformerEncoder(layer, 3, norm, enable_nested_tensor=False),
        nn.TransformerEncoder(
            nn.TransformerEncoderLayer(E, N, dtype=dtype, **options),
            3,
            nn.LayerNorm(E, dtype=dtype) if norm_first else None,
        ),
    )
    compare_encoders(theirs, ours, control, "mask", False, dtype, rng)


def compare_encoders(theirs, ours, control, mask_name, batch_first, dtype, rng):
    tx, ox = drawn(rng, *((B, T) if batch_first else (T, B)), E, dtype=dtype)
    torch_options, options, real = {}, {}, None
    if "causal" in control:
        torch_options[mask_name] = torch.tensor(~np.tril(np.ones((T, T), bool)))
        options["causal"] = True
    expected = theirs(tx, **torch_options)
    if "lengths" in control:
        torch_options["src_key_padding_mask"], options["lengths"] = torch.tensor(~REAL.T), LENGTHS
        real = REAL.T if batch_first else REAL
        expected = theirs(tx, **torch_options) * torch.tensor(real[..., None])
    found = ours(ox, **options)
    assert_close(found, expected.detach().numpy(), TOLERANCE[dtype])
    compare_gradients(theirs, ours, [expected], [found], [(tx, ox)], dtype, real)


def test_gradients_of_gradients(rng):
    options = {"dim_feedforward": F, "dropout": 0.0, "norm_first": True, "activation": "gelu", "dtype": torch.float64}
    theirs = torch.nn.TransformerEncoderLayer(E, N, **options)
    ours = nn.TransformerEncoderLayer(E, N, **options | {"dtype": "float64"})
    loaded(theirs, ours)
    x, direction = rng.standard_normal((2, T, B, E))
    tx, ox = torch.tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # the others have no second derivative
        (first,) = torch.autograd.grad(torch.sin(theirs(tx)).sum(), tx, create_graph=True)
        (first * torch.tensor(direction)).sum().backward()
    ops.sin(ours(ox)).sum().backward(create_graph=True)
    again, ox.grad = ox.grad, None
    ours.zero_grad()
    assert_close(again, first.detach().numpy(), 1e-11)
    (again * direction).sum().backward()
    assert_close(ox.grad, tx.grad.numpy(), 1e-10)
    theirs_gradients = {name: p.grad for name, p in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        assert_close(parameter.grad, theirs_gradients[name].numpy(), 1e-10)


def test_names_shapes_and_order_are_the_same():
    layer = torch.nn.TransformerEncoderLayer(E, N, F)
    theirs = torch.nn.TransformerEncoder(layer, 2, torch.nn.LayerNorm(E), enable_nested_tensor=False)
    ours = nn.TransformerEncoder(nn.TransformerEncoderLayer(E, N, F, rng=0), 2, nn.LayerNorm(E))
    state = ours.state_dict()
    assert {n: a.shape for n, a in state.items()} == {n: tuple(a.shape) for n, a in theirs.state_dict().items()}
    theirs.load_state_dict({n: torch.tensor(a) for n, a in state.items()})


def test_initial_weights_have_the_same_spread():
    torch.manual_seed(0)
    theirs, ours = torch.nn.TransformerEncoderLayer(64, 4, 256), nn.TransformerEncoderLayer(64, 4, 256, rng=0)
    expected = {name: p.detach().numpy() for name, p in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        tolerance = {"rel": 0.02 if parameter.ndim > 1 else 0.25, "abs": 1e-6}
        for spread in (np.std, np.max):
            assert spread(parameter.numpy()) == pytest.approx(spread(expected[name]), **tolerance), name
