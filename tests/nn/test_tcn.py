import numpy as np
import pytest
from helpers import assert_close, host

from xprnn import Tensor, nn, ops
from xprnn.testing import check_gradients, check_second_gradients


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def make(**options):
    return nn.TCN(3, [4, 4, 5], 3, dtype="float64", rng=1, **options)


def conv(x, weight, bias, dilation):
    """Straight from the sum, step by step and tap by tap; x (T, C)."""
    y = np.tile(bias, (len(x), 1))
    for t in range(len(x)):
        for k in range(weight.shape[2]):
            if (s := t - (weight.shape[2] - 1 - k) * dilation) >= 0:
                y[t] += weight[:, :, k] @ x[s]
    return y


def test_the_formula():
    net, x = make(dilations=[1, 3, 2]), draw(12, 3)
    y = x
    for block, dilation in enumerate((1, 3, 2)):
        entered = y
        for each in net.convolutions[2 * block : 2 * block + 2]:
            v = each.weight_v.data
            weight = each.weight_g.data * v / np.sqrt((v**2).sum(axis=(1, 2), keepdims=True))
            assert_close(weight, v, 1e-14)  # g starts so
            y = np.maximum(conv(y, weight, each.bias.data, dilation), 0)
        cut = net.shortcuts[block]
        y = np.maximum(y + (entered if cut is None else entered @ cut.weight.data.T + cut.bias.data), 0)
    assert_close(net(x)[0].data, y, 1e-12)
    assert net.reach == 24


def test_gradients():
    net = nn.TCN(2, [2, 3], dtype="float64", rng=2)
    x = draw(5, 2, 2)
    check_gradients(lambda x: net(x, lengths=[5, 3]), [x], net.parameters())
    check_second_gradients(lambda x: net(x)[0], [x])


def test_sequences_may_be_cut_anywhere_and_padded_with_anything(home):
    net, x = make(), draw(12, 2, 3)
    whole, final = net(x)
    net.to(home)
    first, carried = net(home.asarray(x[:5]))
    second, last = net(home.asarray(x[5:]), carried)
    assert_close(ops.concat([first, second]).data, whole.data, 1e-12)
    assert_close([p.data for p in last], [p.data for p in final], 1e-12)
    dirty = np.concatenate([x, np.full((3, 2, 3), np.nan)])
    dirty[7:, 1] = np.nan
    found, ends = net(home.asarray(dirty), lengths=[12, 7])
    alone, end = net(home.asarray(x[:7, 1:]))
    assert_close(found.data[:12, 0, :], whole.data[:, 0], 1e-12)
    assert_close(found.data[:7, 1, :], alone.data[:, 0, :], 1e-12)
    assert not host(found)[7:, 1].any()
    for part, expected in zip(ends, end, strict=True):
        assert_close(part.data[:, 1:, :], expected.data, 1e-12)


def test_nothing_comes_from_the_future():
    net, x = make(), Tensor(draw(9, 1, 3), requires_grad=True)
    net(x)[0][4].sum().backward()
    assert (np.abs(x.grad.data).sum(axis=(1, 2)) > 0).tolist() == [True] * 5 + [False] * 4


@pytest.mark.parametrize("batch_first", [False, True])
def test_streams(batch_first):
    net, x = make(batch_first=batch_first, dropout=0.5), draw(9, 2, 3)
    net.eval()
    expected = net(x.swapaxes(0, 1))[0].data.swapaxes(0, 1) if batch_first else net(x)[0].data
    net.train()
    stream = net.stream(batch=2)
    found = np.concatenate([[stream.step(x[0])], stream.block(x[1:6]), [stream.step(each) for each in x[6:]]])
    assert_close(found, expected, 1e-12)
    stream.reset()
    assert_close(stream.step(x[0]), expected[0], 1e-12)
    single = net.stream(batch=None)
    assert_close(np.stack([single.step(each) for each in x[:, 0]]), expected[:, 0], 1e-12)
    with pytest.raises(ValueError, match=r"TCN.stream: x has shape \(1, 3\); expected \(T, 2, 3\), without T in a st"):
        stream.step(x[0, 0])


def test_dropout_draws_while_training():
    net, x = make(dropout=0.5), draw(9, 2, 3)
    assert not np.array_equal(net(x)[0].data, net(x)[0].data)
    net.eval()
    assert np.array_equal(net(x)[0].data, net(x)[0].data)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: make(dilations=[1, 2]),
            r"TCN: channels are \(4, 4, 5\) and dilations \(1, 2\); expected one of each a",
        ),
        (lambda: nn.TCN(3, []), r"TCN: channels are \(\) and dilations \(\)"),
        (lambda: nn.TCN(3, [4], 0), "TCN: kernel_size is 0; expected an integer"),
        (lambda: make()(draw(5, 2, 4)), r"TCN: x has shape \(5, 2, 4\); expected \(T, B, 3\)"),
        (lambda: make()(draw(5, 2, 3), ()), "TCN: state is of 0 parts; expected a tuple of 6, two for each block"),
        (
            lambda: make()(draw(5, 2, 3), [draw(2, 2, 3)] * 6),
            r"TCN: part 1 of the state has shape \(2, 2, 3\); expected \(2, 2, 4\)",
        ),
        (lambda: nn.CausalConv(3, 4, 2)(draw(5, 3).astype("float32")), r"CausalConv: x has shape \(5, 3\); expected"),
    ],
)
def test_wrong_values(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("options", [{"channels": 4}, {"channels": None}, {"channels": [4], "dilations": 3}])
def test_what_is_no_list(options):
    with pytest.raises(TypeError, match=r"TCN: (channels|dilations) is a (int|NoneType); expected a list of integers"):
        nn.TCN(3, **options)
