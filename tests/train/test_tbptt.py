"""Truncated BPTT: equal to full BPTT where nothing is cut, and exactly k2 steps deep where something is."""

import weakref

import numpy as np
import pytest

from xprnn import Tensor, nn, ops
from xprnn.train import truncated_bptt

T, B, I, H = 10, 3, 2, 4  # noqa: E741


class Step(nn.Module):
    """A cell of the user's own."""

    state_sizes = (H,)

    def __init__(self):
        self.inner = nn.Linear(I + H, H, dtype="float64", rng=0)

    def step(self, x, state):
        return (ops.tanh(self.inner(ops.concat([x, state[0]], axis=-1))),)


def layer(kind="LSTM", **options):
    if kind == "Recurrent":
        return nn.Recurrent(Step(), **options)
    return getattr(nn, kind)(I, H, num_layers=2, dtype="float64", rng=0, **options)


@pytest.fixture
def x(rng):
    return rng.normal(size=(T, B, I))


def join(chunks, axis=0):
    return np.concatenate([chunk.output.numpy() for chunk in chunks], axis=axis)


kinds = pytest.mark.parametrize("kind", ["LSTM", "GRU", "Recurrent"])


@kinds
def test_one_chunk_is_full_bptt_to_the_bit(kind, x):
    gradients = []
    for truncated in (False, True):
        net, leaf = layer(kind), Tensor(x, requires_grad=True)
        if truncated:
            (chunk,) = truncated_bptt(net, leaf, k1=T + 5)
            output = chunk.output
        else:
            output, _ = net(leaf)
        ops.sum(ops.square(output)).backward()
        gradients.append([leaf.grad.numpy(), *(p.grad.numpy() for p in net.parameters())])
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_array_equal(a, b)


@kinds
@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (3, 3), (3, 4), (3, 7), (2, 9), (4, 50), (10, 10)])
def test_outputs_and_states_are_those_of_one_pass(kind, k1, k2, x):
    net = layer(kind)
    output, final = net(x)
    chunks = list(truncated_bptt(net, x, k1=k1, k2=k2))
    np.testing.assert_allclose(join(chunks), output.numpy(), rtol=1e-13, atol=1e-15)
    assert [(c.start, c.stop) for c in chunks] == [(t, min(t + k1, T)) for t in range(0, T, k1)]
    for ours, right in zip(parts(chunks[-1].state), parts(final), strict=True):
        np.testing.assert_allclose(ours.numpy(), right.numpy(), rtol=1e-13, atol=1e-15)
        assert not ours.requires_grad


def parts(state):
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (1, 4), (3, 3), (3, 5), (3, 6), (2, 7), (4, 100)])
def test_gradients_reach_exactly_k2_steps_back(k1, k2, x):
    leaf = Tensor(x, requires_grad=True)
    for chunk in truncated_bptt(layer(), leaf, k1=k1, k2=k2):
        leaf.grad = None
        ops.sum(chunk.output[-1]).backward()
        reached = np.abs(leaf.grad.numpy()).sum(axis=(1, 2)) > 0
        np.testing.assert_array_equal(reached, [chunk.stop - k2 <= t < chunk.stop for t in range(T)])


def test_gradients_are_those_of_the_window(x):
    """In each window: as if the layer had been started there, from the state of the full pass."""
    net, k1, k2 = layer(), 3, 5
    for chunk in truncated_bptt(net, x, k1=k1, k2=k2):
        net.zero_grad()
        ops.sum(ops.square(chunk.output)).backward()
        found = [p.grad.numpy() for p in net.parameters()]
        begin = max(0, chunk.stop - k2)
        state = tuple(part.detach() for part in net(x[:begin])[1]) if begin else None
        net.zero_grad()
        output, _ = net(x[begin : chunk.stop], state)
        ops.sum(ops.square(output[chunk.start - begin :])).backward()
        for a, p in zip(found, net.parameters(), strict=True):
            np.testing.assert_allclose(a, p.grad.numpy(), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(("k1", "k2"), [(3, 3), (2, 5)])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", ["LSTM", "Recurrent"])
def test_lengths_mask_and_reset(kind, batch_first, k1, k2, x, rng):
    net = layer(kind, batch_first=batch_first)
    control = {"mask": rng.random((T, B)) < 0.8, "reset": rng.random((T, B)) < 0.3}
    if batch_first:
        x, control = x.transpose(1, 0, 2), {name: flags.T for name, flags in control.items()}
    control["lengths"] = [T, 0, 4]
    output, final = net(x, **control)
    chunks = list(truncated_bptt(net, x, k1=k1, k2=k2, **control))
    np.testing.assert_allclose(join(chunks, int(batch_first)), output.numpy(), rtol=1e-13, atol=1e-15)
    for ours, right in zip(parts(chunks[-1].state), parts(final), strict=True):
        np.testing.assert_allclose(ours.numpy(), right.numpy(), rtol=1e-13, atol=1e-15)


def test_strict_arrays_and_device_lengths(home, x):
    net = layer().to(home)
    lengths = np.array([T, 2, 7])
    output, _ = net(home.asarray(x), lengths=lengths)
    chunks = list(truncated_bptt(net, home.asarray(x), k1=4, k2=6, lengths=home.asarray(lengths)))
    np.testing.assert_allclose(join(chunks), output.numpy(), rtol=1e-13, atol=1e-15)


def test_a_given_state_is_used_and_trained(x):
    net, state = layer("GRU"), Tensor(np.full((2, B, H), 0.5), requires_grad=True)
    output, _ = net(x, state)
    chunks = truncated_bptt(net, x, k1=2, k2=4, state=state)
    found = []
    for chunk in chunks:
        found.append(chunk.output.numpy())
        state.grad = None
        ops.sum(chunk.output).backward()
        assert (state.grad is not None) == (chunk.stop <= 4)
    np.testing.assert_allclose(np.concatenate(found), output.numpy(), rtol=1e-13)


def test_an_unbatched_sequence_and_a_function_around_the_layer(x):
    net = nn.LSTM(H, H, dtype="float64", rng=1)
    table = nn.Embedding(7, H, dtype="float64", rng=1)
    tokens = np.arange(T * B).reshape(T, B) % 7
    chunks = list(truncated_bptt(lambda t, state: net(table(t), state), tokens, k1=4))
    np.testing.assert_allclose(join(chunks), net(table(tokens))[0].numpy(), rtol=1e-13)
    single = layer()
    np.testing.assert_allclose(
        join(list(truncated_bptt(single, x[:, 0], k1=4, k2=6))), single(x[:, 0])[0].numpy(), rtol=1e-13
    )


def test_chunks_are_lazy_and_old_graphs_are_gone(x):
    calls, nodes, net = [], [], layer()

    def counted(x, state):
        calls.append(x.shape[0])
        assert not any(node() is not None for node in nodes)
        return net(x, state)

    walk = truncated_bptt(counted, x, k1=2, k2=5)
    assert calls == []
    for chunk in walk:
        nodes.append(weakref.ref(chunk.output))
        ops.sum(chunk.output).backward()
        del chunk
    assert len(nodes) == 5
    assert max(calls) <= 5
    assert not any(node() is not None for node in nodes)


def test_steps_between_chunks_are_allowed(x):
    net = layer()
    for chunk in truncated_bptt(net, x, k1=3, k2=6):
        net.zero_grad()
        ops.sum(chunk.output).backward()
        for p in net.parameters():
            p.data = p.data - 0.1 * p.grad.data


def test_no_steps_no_chunks(x):
    assert list(truncated_bptt(layer(), x[:0], k1=3)) == []


def test_errors_come_at_the_call(x):
    for options, message in [
        ({"k1": 0}, "k1 is 0 and k2 0; expected 1 <= k1 <= k2"),
        ({"k1": 3, "k2": 2}, "k1 is 3 and k2 2"),
        ({"k1": 3, "mask": np.ones((T - 1, B), dtype=bool)}, r"mask has shape \(9, 3\); expected T = 10 on axis 0"),
        ({"k1": 3, "reset": True}, r"reset has shape \(\); expected T = 10"),
        ({"k1": 3, "lengths": [1, 11, 3]}, "lengths go from 1 to 11; expected 0 to T = 10"),
    ]:
        with pytest.raises(ValueError, match=f"truncated_bptt: {message}"):
            truncated_bptt(layer(), x, **options)
    for backward in (layer(bidirectional=True), layer("Recurrent", reverse=True)):
        with pytest.raises(ValueError, match="truncated_bptt: the layer runs backward in time"):
            truncated_bptt(backward, x, k1=3)
    with pytest.raises(ValueError, match=r"x has shape \(10, 2\); expected \(B, T, I\)"):
        truncated_bptt(layer(batch_first=True), x[:, 0], k1=3)
    with pytest.raises(TypeError, match="truncated_bptt: lengths has dtype float64; expected integers"):
        truncated_bptt(layer(), x, k1=3, lengths=[1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match="truncated_bptt: x is a list"):
        truncated_bptt(layer(), [1.0], k1=3)


def test_a_mask_as_nested_lists(x):
    mask = np.arange(T * B).reshape(T, B) % 3 > 0
    net = layer()
    found, expected = (join(truncated_bptt(net, x, k1=4, mask=m)) for m in (mask.tolist(), mask))
    np.testing.assert_array_equal(found, expected)
