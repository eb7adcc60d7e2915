"""PyTorch's modules in our kernels on a GPU, beside PyTorch's own."""

import pytest
from gpu_home import gpu, needs_cupy

torch = pytest.importorskip("torch")
from xprnn.interop import torch as interop  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    needs_cupy,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch has no GPU"),
]
gpu()


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("stream", ["default", "another"])
def test_results_and_gradients(name, stream):
    expected, x = getattr(torch.nn, name)(16, 32, 2, bidirectional=True).cuda(), torch.randn(20, 8, 16).cuda()
    module = getattr(interop, name)(16, 32, 2, bidirectional=True).cuda()
    module.load_state_dict(expected.state_dict())
    found = []
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream() if stream == "another" else torch.cuda.default_stream()):
        for each in (module, expected):
            each.zero_grad()
            packed = torch.nn.utils.rnn.pack_padded_sequence(x, [20] * 4 + [7] * 4)
            (each(x)[0].square().sum() + each(packed)[0].data.sum()).backward()
            found.append([parameter.grad for parameter in each.parameters()])
        torch.cuda.current_stream().synchronize()
    for got, wanted in zip(*found, strict=True):
        assert got.device.type == "cuda"
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-2)
