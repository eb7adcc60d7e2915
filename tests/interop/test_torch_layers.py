"""Modules of PyTorch's computed by our kernels, beside PyTorch's own."""

import copy
import pickle
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch.nn.utils import rnn  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

from xprnn.interop import torch as interop  # noqa: E402

torch.set_num_threads(1)  # its threads would spin in the way of other tests
T, B, I, H = 6, 4, 3, 5  # noqa: E741
KINDS = {
    "rnn": ("RNN", {}),
    "rnn relu": ("RNN", {"nonlinearity": "relu"}),
    "lstm": ("LSTM", {}),
    "projected lstm": ("LSTM", {"proj_size": 2}),
    "gru": ("GRU", {}),
}
each_kind = pytest.mark.parametrize("kind", KINDS)
each_layer = pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])


def pair(kind, **options):
    """PyTorch's module, and ours with its weights."""
    name, own = KINDS[kind]
    options = {"num_layers": 2, "bidirectional": True, "dtype": torch.float64, **own, **options}
    expected = getattr(torch.nn, name)(I, H, **options)
    ours = getattr(interop, name)(I, H, **options)
    ours.load_state_dict(expected.state_dict())
    return expected, ours


def numbers(*shape, **options):
    return torch.randn(*shape, dtype=torch.float64, **options)


def state_of(module, batch=B):
    """A drawn initial state."""
    layers = module.num_layers * (2 if module.bidirectional else 1)
    h = numbers(layers, batch, getattr(module, "proj_size", 0) or H, requires_grad=True)
    return (h, numbers(layers, batch, H, requires_grad=True)) if isinstance(module, torch.nn.LSTM) else h


def flat(result):
    """All tensors of a result."""
    if isinstance(result, rnn.PackedSequence):
        return [result.data]
    return [t for part in result for t in flat(part)] if isinstance(result, tuple) else [result]


def all_of(module, run, leaves):
    """Results of a module, and the gradients of leaves and parameters of a sum that weighs every number."""
    for leaf in (*leaves, *module.parameters()):
        leaf.grad = None
    results = flat(run(module))
    sum((r * torch.linspace(0.5, 1.5, r.numel(), dtype=r.dtype).view(r.shape)).sum() for r in results).backward()
    return [*results, *(leaf.grad for leaf in (*leaves, *module.parameters()))]


def assert_same(pair, run, leaves):
    for got, expected in zip(all_of(pair[1], run, leaves), all_of(pair[0], run, leaves), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@each_kind
@pytest.mark.parametrize("batch_first", [False, True], ids=["time first", "batch first"])
def test_results_and_gradients(kind, batch_first):
    modules = pair(kind, batch_first=batch_first, bias=batch_first)
    x, state = numbers(B, T, I, requires_grad=True) if batch_first else numbers(T, B, I, requires_grad=True), None
    assert_same(modules, lambda module: module(x), [x])
    state = state_of(modules[0])
    assert_same(modules, lambda module: module(x, state), [x, *flat(state)])
    assert_same(modules, lambda module: module(x[:, 0]), [x])
    odd = numbers(T, I, B, requires_grad=True).transpose(1, 2)  # not contiguous
    assert_same(modules, lambda module: module(odd.transpose(0, 1) if batch_first else odd), [])
    assert repr(modules[0]) == repr(modules[1])
    assert list(modules[0].state_dict()) == list(modules[1].state_dict())


@each_kind
@pytest.mark.parametrize("enforce_sorted", [True, False])
def test_packed_sequences(kind, enforce_sorted):
    modules, x = pair(kind), numbers(T, B, I, requires_grad=True)
    lengths = [6, 4, 4, 1] if enforce_sorted else [4, 1, 6, 4]
    state = state_of(modules[0])

    def run(module, *state):
        return module(rnn.pack_padded_sequence(x, lengths, enforce_sorted=enforce_sorted), *state)

    assert_same(modules, run, [x])
    assert_same(modules, lambda module: run(module, state), [x, *flat(state)])
    for ours, expected in zip(run(modules[1])[0], run(modules[0])[0], strict=True):
        assert ours is expected is None or torch.allclose(ours, expected)


@each_layer
@pytest.mark.parametrize("batch_first", [False, True], ids=["time first", "batch first"])
def test_lengths_and_resets(name, batch_first):
    module = getattr(interop, name)(I, H, batch_first=batch_first, dtype=torch.float64)
    x, lengths = numbers(T, B, I, requires_grad=True), torch.tensor([4, 0, 6, 1])
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[2, 0] = reset[3, 2] = reset[4, 2] = True

    def stepwise(module):
        """PyTorch's loop: a step, a reset, a step."""
        cell = getattr(torch.nn, name)(I, H, dtype=torch.float64)
        cell._parameters.update(module._parameters)
        cell._flat_weights = module._flat_weights
        state, outputs = flat(tuple(torch.zeros(1, B, H, dtype=x.dtype) for _ in range(1 + (name == "LSTM")))), []
        for t in range(T):
            state = [torch.where(reset[t, :, None], 0.0, part) for part in state]
            y, new = cell(x[t : t + 1], tuple(state) if name == "LSTM" else state[0])
            going = (t < lengths)[:, None]
            state = [torch.where(going, n, part) for n, part in zip(flat(new), state, strict=True)]
            outputs.append(torch.where(going, y[0], 0.0))
        return torch.stack(outputs), *state

    def ours(module):
        turned = (x.transpose(0, 1), reset.T) if batch_first else (x, reset)
        y, state = module(turned[0], lengths=lengths, reset=turned[1])
        return y.transpose(0, 1) if batch_first else y, *flat(state)

    for got, expected in zip(all_of(module, ours, [x]), all_of(module, stepwise, [x]), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "gru"])
def test_gradients_of_any_order(kind):
    _, module = pair(kind, num_layers=1, bidirectional=False)
    x, state, lengths = numbers(2, 2, I, requires_grad=True), state_of(module, 2), [2, 1]
    names = list(dict(module.named_parameters()))
    reset = np.array([[False, False], [True, False]])

    def function(x, *rest):
        parts, weights = rest[: len(flat(state))], rest[len(flat(state)) :]
        hx = parts if isinstance(state, tuple) else parts[0]
        options = {"lengths": lengths, "reset": reset}
        return tuple(flat(torch.func.functional_call(module, dict(zip(names, weights, strict=True)), (x, hx), options)))

    inputs = (x, *flat(state), *(p.detach().requires_grad_() for p in module.parameters()))
    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)
    (gradient,) = torch.autograd.grad(module(x)[0].sum(), x, create_graph=True)
    assert type(gradient) is torch.Tensor


def test_one_tensor_in_two_places():
    expected, module = pair("gru", num_layers=1, bidirectional=False)
    for each in (expected, module):
        del each.bias_hh_l0
        each.bias_hh_l0 = each.bias_ih_l0
    x = numbers(T, B, I, requires_grad=True)
    found = []
    for each in (expected, module):
        (once,) = torch.autograd.grad(each(x)[0].square().sum(), each.bias_ih_l0, create_graph=True)
        found.append([once, *torch.autograd.grad(once.square().sum(), each.bias_ih_l0)])
    for got, wanted in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-10)


def test_memory_is_shared():
    module, x = interop.LSTM(I, H), torch.randn(T, B, I)
    with torch.no_grad():
        y, _ = module(x)
    (call,) = _calls(module, x)
    assert np.shares_memory(call.x, x.numpy())
    assert np.shares_memory(call.weights["weight_hh"], module.weight_hh_l0.detach().numpy())
    assert y.is_contiguous()


def _calls(module, x):
    from xprnn.engine import dispatch

    calls, real = [], dispatch.run_forward
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dispatch, "run_forward", lambda call: calls.append(call) or real(call))
        module(x)
    return calls


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_nothing_is_kept(mode):
    module, x = interop.GRU(I, H), torch.randn(T, B, I)
    with mode():
        (call,), y = _calls(module, x), module(x)[0]
    assert not call.keep
    assert not y.requires_grad
    module.requires_grad_(False)
    assert not module(x)[0].requires_grad
    module.weight_hh_l0.requires_grad_()
    module(x)[0].sum().backward()
    assert module.weight_hh_l0.grad is not None
    assert module.weight_ih_l0.grad is None


def test_what_was_written_to_in_between_is_noticed():
    module, x = interop.GRU(I, H), torch.randn(T, B, I)
    for spoilt in (lambda y: module.weight_hh_l0, lambda y: y, lambda y: x):
        y = module(x)[0]
        loss = y.sum()
        with torch.no_grad():
            spoilt(y).mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


@pytest.mark.parametrize("home", [lambda reset: reset, lambda reset: reset.numpy()], ids=["tensor", "array"])
def test_resets_may_be_used_again_before_the_way_back(home):
    module, x = interop.GRU(I, H), torch.randn(T, B, I)
    flags = torch.rand(T, B) < 0.5
    expected = torch.autograd.grad(module(x, reset=home(flags))[0].sum(), module.weight_hh_l0)[0]
    y = module(x, reset=home(flags))[0]
    flags.logical_not_()
    assert torch.equal(torch.autograd.grad(y.sum(), module.weight_hh_l0)[0], expected)


def test_the_graph_is_walked_once_and_let_go():
    module, x = interop.GRU(I, H), torch.randn(T, B, I)
    y = module(x)[0]
    loss = y.sum()
    loss.backward(retain_graph=True)
    first = module.weight_hh_l0.grad.clone()
    loss.backward()
    torch.testing.assert_close(module.weight_hh_l0.grad, 2 * first)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_checkpoints_and_hooks_on_saved_tensors():
    expected, module = pair("lstm")
    x = numbers(T, B, I, requires_grad=True)
    assert_same((expected, module), lambda m: checkpoint(lambda x: m(x)[0], x, use_reentrant=False), [x])
    with torch.autograd.graph.saved_tensors_hooks(lambda saved: saved.detach().numpy().copy(), torch.from_numpy):
        assert_same((expected, module), lambda m: m(x)[0], [x])


def test_dropout_draws_as_pytorch_does():
    expected, module = pair("gru", dropout=0.5)
    x = numbers(T, B, I)
    found = [(torch.manual_seed(3), each(x)[0])[1] for each in (expected, module)]
    torch.testing.assert_close(*found, rtol=0, atol=1e-12)
    module.eval()
    torch.testing.assert_close(module(x)[0], expected.eval()(x)[0], rtol=0, atol=1e-12)


def test_copies_pickles_and_threads():
    _, module = pair("lstm")
    x = numbers(T, B, I)
    expected = module(x)[0].detach()
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert type(other) is interop.LSTM
        assert torch.equal(other(x)[0], expected)
    found = [None] * 4

    def work(k):
        found[k] = torch.autograd.grad(module(x)[0].sum(), module.weight_hh_l0)[0]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(gradient, found[0]) for gradient in found)


def test_autocast_leaves_it_in_its_own_precision():
    module, x = interop.GRU(I, H), torch.randn(T, B, I)
    with torch.autocast("cpu", torch.bfloat16):
        y = module(torch.nn.Linear(I, I)(x))[0]
    assert y.dtype == torch.float32


def test_no_steps_and_no_sequences():
    module = interop.LSTM(I, H, bidirectional=True)
    for shape in ((0, B, I), (T, 0, I)):
        y, (h, _) = module(torch.zeros(shape))
        assert y.shape == (*shape[:2], 2 * H)
        assert h.shape == (2, shape[1], H)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m, x: m(x[..., :2]), RuntimeError, "input_size. Expected 3, got 2"),
        (lambda m, x: m(x.double()), ValueError, "dtype"),
        (lambda m, x: m(x, torch.zeros(1, B, H + 1)), RuntimeError, "Expected hidden size"),
        (lambda m, x: m(x, torch.zeros(1, H)), RuntimeError, "2 dimensions; expected 3"),
        (lambda m, x: m(x, torch.zeros(1, B, H).double()), ValueError, "state has dtype torch.float64"),
        (lambda m, x: m(x[0, 0]), ValueError, "got 1D"),
        (lambda m, x: m.half()(x.half()), TypeError, "torch.float16; expected torch.float32"),
        (lambda m, x: m(x, lengths=[7, 1, 1, 1]), ValueError, "GRU: lengths contains 7"),
        (lambda m, x: m(x, reset=torch.zeros(T, B)), TypeError, "GRU: reset has dtype float32; expected bool"),
        (lambda m, x: m(x[:, 0], lengths=[3]), ValueError, "need a batch"),
        (lambda m, x: m(rnn.pack_sequence([x[:, 0]]), lengths=[3]), ValueError, "input is a PackedSequence"),
        (lambda m, x: m.to("meta")(x.to("meta")), TypeError, "on device meta"),
    ],
)
def test_errors(call, error, words):
    with pytest.raises(error, match=words):
        call(interop.GRU(I, H), torch.randn(T, B, I))


def test_it_is_trained_as_pytorch_trains_its_own():
    found = []
    for module in pair("gru", dropout=0.0):
        torch.manual_seed(0)
        head, x, losses = torch.nn.Linear(2 * H, 1).double(), numbers(T, B, I), []
        parameters = [*module.parameters(), *head.parameters()]
        for _ in range(20):  # a step written out, since torch.optim takes seconds to import
            loss = torch.nn.functional.mse_loss(head(module(x)[0]), x[..., :1])
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter -= 0.3 * gradient
            losses.append(loss.item())
        found.append(losses)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)
    assert found[0][-1] < 0.9 * found[0][0]


def test_tensors_on_a_gpu_go_to_cupy_by_dlpack_and_on_their_stream(monkeypatch):
    """With stand-ins for a CUDA tensor and for CuPy."""
    from xprnn.interop.torch import node

    class OnGPU:
        is_cpu, is_cuda, device = False, True, SimpleNamespace(type="cuda", index=1)
        detach = resolve_neg = lambda self: self

    streams = SimpleNamespace(ExternalStream=lambda pointer, device: ("stream", pointer, device))
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=streams))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=7))
    monkeypatch.setattr(node, "get_backend", lambda name: SimpleNamespace(asarray=lambda given: (name, given)))
    given = OnGPU()
    assert node.array(given) == ("cupy", given)
    assert node._current_stream(given) == ("stream", 7, 1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_would_keep_the_numbers_of_one_call_is_refused():
    from torch._subclasses.fake_tensor import FakeTensorMode

    module, x = interop.GRU(I, H), torch.randn(T, B, I)
    with torch.no_grad(), pytest.raises(TypeError, match="GRU: a trace would keep this call's numbers; .* torch.nn's"):
        torch.jit.trace(module, x)
    numbers = pytest.raises(TypeError, match="a FakeTensor has no numbers; to trace or export a model, load")
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, numbers:  # as exporters do
        module(mode.from_tensor(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_compiler_goes_round_it():
    expected, ours = pair("gru", dtype=torch.float32)
    x, head = torch.randn(T, B, I), torch.nn.Linear(2 * H, 1)
    whole, alone = torch.compile(lambda x: head(ours(torch.tanh(x))[0]), backend="eager"), torch.compile(ours)
    for _ in range(2):
        torch.testing.assert_close(whole(x), head(expected(torch.tanh(x))[0]))
        torch.testing.assert_close(alone(x), expected(x))
    whole(x).sum().backward()
    assert all(parameter.grad is not None for parameter in ours.parameters())
