"""Layers against PyTorch: outputs, final states and every gradient."""

import itertools

import numpy as np
import pytest
from helpers import assert_close

from xprnn import Tensor, nn, ops

torch = pytest.importorskip("torch")

T, B, I, H = 6, 4, 3, 5  # noqa: E741
LENGTHS = [6, 1, 4, 2]
TOLERANCE = {"float64": 1e-10, "float32": 2e-5}
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
each_dtype = pytest.mark.parametrize("dtype", ["float64", "float32"])


def arrays(module):
    """A PyTorch state_dict as arrays, unchanged."""
    return {name: value.numpy() for name, value in module.state_dict().items()}


def pair(name, *args, dtype, **options):
    """PyTorch's layer and ours with the same weights."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(*args, dtype=getattr(torch, dtype), **options)
    ours = getattr(nn, name)(*args, dtype=dtype, rng=1, **options)
    ours.load_state_dict(arrays(theirs))
    return theirs, ours


def flat(result):
    """output, (h, c) or output, h as a flat tuple."""
    return tuple(itertools.chain.from_iterable(part if isinstance(part, tuple) else (part,) for part in result))


def compare(theirs, ours, x, state, dtype, lengths=None, batch_first=False):
    """Run both forward and back, with random cotangents for every output."""
    rng = np.random.default_rng(3)
    tx = torch.tensor(x, requires_grad=True)
    ts = tuple(torch.tensor(s, requires_grad=True) for s in state)
    ox, os = Tensor(x, requires_grad=True), tuple(Tensor(s, requires_grad=True) for s in state)
    if lengths is None:
        expected = theirs(tx, ts if len(ts) > 1 else ts[0])
    else:
        packed = torch.nn.utils.rnn.pack_padded_sequence(tx, lengths, batch_first, enforce_sorted=False)
        output, final = theirs(packed, ts if len(ts) > 1 else ts[0])
        output, _ = torch.nn.utils.rnn.pad_packed_sequence(output, batch_first, total_length=T)
        expected = output, final
    found = flat(ours(ox, os if len(os) > 1 else os[0], lengths=lengths))
    expected = flat(expected)
    tol = TOLERANCE[dtype]
    assert_close(found, tuple(e.detach().numpy() for e in expected), tol)

    cotangents = [rng.standard_normal(e.shape).astype(dtype) for e in expected]
    torch.autograd.backward(expected, [torch.tensor(c) for c in cotangents])
    loss = [ops.sum(y * c) for y, c in zip(found, cotangents, strict=True)]
    sum(loss[1:], loss[0]).backward()
    assert_close([t.grad for t in (ox, *os)], [t.grad.numpy() for t in (tx, *ts)], tol)
    gradients = {name: p.grad for name, p in ours.named_parameters()}
    for name, parameter in theirs.named_parameters():
        assert_close(gradients[name], parameter.grad.numpy(), tol)


LAYERS = {
    "rnn tanh": ("RNN", {}),
    "rnn relu": ("RNN", {"nonlinearity": "relu"}),
    "lstm": ("LSTM", {}),
    "lstm proj_size": ("LSTM", {"proj_size": 2}),
    "gru": ("GRU", {}),
}


@each_dtype
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize(("name", "options"), LAYERS.values(), ids=LAYERS.keys())
def test_recurrent_layers(name, options, num_layers, bidirectional, bias, lengths, dtype, rng):
    options = options | {"num_layers": num_layers, "bidirectional": bidirectional, "bias": bias}
    theirs, ours = pair(name, I, H, dtype=dtype, **options)
    x = rng.standard_normal((T, B, I)).astype(dtype)
    lead = (num_layers * (1 + bidirectional), B)
    state = tuple(rng.standard_normal((*lead, size)).astype(dtype) for size in ours.state_sizes)
    compare(theirs, ours, x, state, dtype, lengths)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize(("name", "options"), LAYERS.values(), ids=LAYERS.keys())
def test_batch_first(name, options, lengths, rng):
    theirs, ours = pair(name, I, H, dtype="float64", num_layers=2, bidirectional=True, batch_first=True, **options)
    state = tuple(rng.standard_normal((4, B, size)) for size in ours.state_sizes)
    compare(theirs, ours, rng.standard_normal((B, T, I)), state, "float64", lengths, batch_first=True)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(("name", "options"), LAYERS.values(), ids=LAYERS.keys())
def test_unbatched(name, options, batch_first, rng):
    theirs, ours = pair(name, I, H, dtype="float64", num_layers=2, batch_first=batch_first, **options)
    state = tuple(rng.standard_normal((2, size)) for size in ours.state_sizes)
    compare(theirs, ours, rng.standard_normal((T, I)), state, "float64")


@pytest.mark.parametrize(("name", "options"), LAYERS.values(), ids=LAYERS.keys())
def test_gradients_of_gradients(name, options, rng):
    theirs, ours = pair(name, I, H, dtype="float64", num_layers=2, bidirectional=True, **options)
    x, direction = rng.standard_normal((2, T, B, I))
    tx, ox = torch.tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
    (first,) = torch.autograd.grad(torch.sin(theirs(tx)[0]).sum(), tx, create_graph=True)
    (first * torch.tensor(direction)).sum().backward()
    ops.sin(ours(ox)[0]).sum().backward(create_graph=True)
    again, ox.grad = ox.grad, None
    ours.zero_grad()
    assert_close(again, first.detach().numpy(), 1e-10)
    (again * direction).sum().backward()
    assert_close(ox.grad, tx.grad.numpy(), 1e-10)
    theirs_gradients = {name: p.grad for name, p in theirs.named_parameters()}
    for parameter_name, parameter in ours.named_parameters():
        assert_close(parameter.grad, theirs_gradients[parameter_name].numpy(), 1e-10)


@pytest.mark.parametrize(("name", "options"), LAYERS.values(), ids=LAYERS.keys())
def test_names_and_shapes_are_the_same(name, options):
    theirs, ours = pair(name, I, H, dtype="float32", num_layers=2, bidirectional=True, **options)
    state = ours.state_dict()
    assert {n: a.shape for n, a in state.items()} == {n: tuple(a.shape) for n, a in theirs.state_dict().items()}
    theirs.load_state_dict({n: torch.tensor(a) for n, a in state.items()})  # and the way back
    assert_close(state[f"weight_hh_l1_{'reverse'}"], arrays(theirs)["weight_hh_l1_reverse"], 0.0)


def test_state_dict_may_hold_tensors_of_another_dtype():
    theirs = torch.nn.Linear(2, 3, dtype=torch.float64)
    ours = nn.Linear(2, 3)
    ours.load_state_dict(theirs.state_dict())
    assert_close(ours.weight, theirs.weight.detach().numpy().astype("float32"), 0.0)


@each_dtype
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(B, I), (I,)])
@pytest.mark.parametrize(
    ("name", "options"), [("RNNCell", {"nonlinearity": "relu"}), ("LSTMCell", {}), ("GRUCell", {})]
)
def test_single_steps(name, options, shape, bias, dtype, rng):
    theirs, ours = pair(name, I, H, dtype=dtype, bias=bias, **options)
    x = rng.standard_normal(shape).astype(dtype)
    state = [rng.standard_normal((*shape[:-1], H)).astype(dtype) for _ in range(2 if name == "LSTMCell" else 1)]
    tx, *ts = (torch.tensor(a, requires_grad=True) for a in (x, *state))
    ox, *os = (Tensor(a, requires_grad=True) for a in (x, *state))
    expected = flat((theirs(tx, tuple(ts) if len(ts) > 1 else ts[0]),))
    found = flat((ours(ox, tuple(os) if len(os) > 1 else os[0]),))
    assert_close(found, [e.detach().numpy() for e in expected], TOLERANCE[dtype])
    sum((e * e).sum() for e in expected).backward()
    ops.sum(ops.square(ops.stack(found))).backward()
    assert_close([t.grad for t in (ox, *os)], [t.grad.numpy() for t in (tx, *ts)], TOLERANCE[dtype])
    theirs_gradients = dict(theirs.named_parameters())
    for parameter_name, parameter in ours.named_parameters():
        assert_close(parameter.grad, theirs_gradients[parameter_name].grad.numpy(), TOLERANCE[dtype])


OTHERS = {
    "linear": ("Linear", (I, H), {}, (T, B, I)),
    "linear without bias": ("Linear", (I, H), {"bias": False}, (B, I)),
    "linear of a vector": ("Linear", (I, H), {}, (I,)),
    "layer norm": ("LayerNorm", (I,), {}, (T, B, I)),
    "layer norm of two axes": ("LayerNorm", ((B, I),), {"eps": 1e-3}, (T, B, I)),
    "layer norm without bias": ("LayerNorm", (I,), {"bias": False}, (B, I)),
}


@each_dtype
@pytest.mark.parametrize(("name", "args", "options", "shape"), OTHERS.values(), ids=OTHERS.keys())
def test_other_layers(name, args, options, shape, dtype, rng):
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(*args, dtype=getattr(torch, dtype), **options)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter)
    ours = getattr(nn, name)(*args, dtype=dtype, **options)
    ours.load_state_dict(arrays(theirs))
    x, tol = rng.standard_normal(shape).astype(dtype), TOLERANCE[dtype]
    tx, ox = torch.tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
    expected, found = theirs(tx), ours(ox)
    assert_close(found, expected.detach().numpy(), tol)
    torch.sin(expected).sum().backward()
    ops.sin(found).sum().backward()
    assert_close(ox.grad, tx.grad.numpy(), tol)
    theirs_gradients = dict(theirs.named_parameters())
    for parameter_name, parameter in ours.named_parameters():
        assert_close(parameter.grad, theirs_gradients[parameter_name].grad.numpy(), tol)


@pytest.mark.parametrize("padding_idx", [None, 0, -1])
def test_embedding(padding_idx, rng):
    theirs = torch.nn.Embedding(7, I, padding_idx=padding_idx, dtype=torch.float64)
    ours = nn.Embedding(7, I, padding_idx=padding_idx, dtype="float64")
    ours.load_state_dict(arrays(theirs))
    x = rng.integers(0, 7, (T, B))
    x[0, 0], x[0, 1] = 0, 6
    expected, found = theirs(torch.tensor(x)), ours(x)
    assert_close(found, expected.detach().numpy(), 1e-14)
    torch.sin(expected).sum().backward()
    ops.sin(found).sum().backward()
    assert_close(ours.weight.grad, theirs.weight.grad.numpy(), 1e-12)


UNARY = [
    "tanh",
    "sigmoid",
    "relu",
    "softplus",
    "gelu",
    "erf",
    "log_softmax",
    "softmax",
    "logsumexp",
    "var",
    "vector_norm",
]


@pytest.mark.parametrize("name", UNARY)
def test_primitives(name, rng):
    x = rng.standard_normal((4, 5)) * 3.0
    tx, ox = torch.tensor(x, requires_grad=True), Tensor(x, requires_grad=True)
    theirs = {
        "softplus": torch.nn.functional.softplus,
        "gelu": torch.nn.functional.gelu,
        "erf": torch.special.erf,
        "log_softmax": lambda t: torch.log_softmax(t, -1),
        "softmax": lambda t: torch.softmax(t, -1),
        "logsumexp": lambda t: torch.logsumexp(t, -1),
        "var": lambda t: torch.var(t, -1, correction=0),
        "vector_norm": lambda t: torch.linalg.vector_norm(t, dim=-1),
    }.get(name) or getattr(torch, name)
    reduces = name in ("logsumexp", "var", "vector_norm")
    expected, found = theirs(tx), getattr(ops, name)(ox, -1) if reduces else getattr(ops, name)(ox)
    assert_close(found, expected.detach().numpy(), 1e-8 if name == "softplus" else 1e-12)  # theirs is cut off at 20
    (expected**2).sum().backward()
    ops.square(found).sum().backward()
    assert_close(ox.grad, tx.grad.numpy(), 1e-7 if name == "softplus" else 1e-12)
