"""Files of PyTorch's, real ones and hostile ones."""

import io
import pickle
import zipfile

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from xprnn import nn  # noqa: E402
from xprnn.interop import torch as interop  # noqa: E402
from xprnn.storage import ModelFileError, load_weights, write_tensors  # noqa: E402


def saved(path, what):
    torch.save(what, path)
    return path


def test_weights(tmp_path):
    module = torch.nn.LSTM(3, 4, 2, bidirectional=True)
    layer = nn.LSTM(3, 4, 2, bidirectional=True)
    layer.load_state_dict(interop.load(saved(tmp_path / "weights.pt", module.state_dict())))
    for name, weight in module.state_dict().items():
        np.testing.assert_array_equal(getattr(layer, name).data, weight.numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_safetensors_there_and_back(dtype, tmp_path):
    theirs = pytest.importorskip("safetensors.torch")
    module, layer = torch.nn.GRU(3, 4).to(dtype), nn.GRU(3, 4)
    theirs.save_file(module.state_dict(), tmp_path / "theirs.safetensors")
    layer.load_state_dict(load_weights(tmp_path / "theirs.safetensors"))
    write_tensors(tmp_path / "ours.safetensors", layer.state_dict(), {})
    back = theirs.load_file(tmp_path / "ours.safetensors")
    for name, weight in module.state_dict().items():
        assert torch.equal(back[name], weight.float())


KINDS = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]


def test_a_checkpoint_with_everything_around_its_tensors(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    what = {
        "model": torch.nn.Linear(2, 3).state_dict(),
        "views": [base, base.T, base[1:3, ::2], base[2, 3], base[:0], torch.nn.Parameter(base)],
        "epoch": 3,
        "big": 2**70,
        "rate": 1e-3,
        "name": "a b",
        "best": None,
        "flags": (True, False),
        "kinds": {kind: torch.tensor([0, 1]).to(getattr(torch, kind)) for kind in KINDS},
        "optimizer": {"state": {0: {"step": 3}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0]}]},
    }
    found = interop.load(saved(tmp_path / "checkpoint.pt", what))
    for name in ("epoch", "big", "rate", "name", "best", "flags", "optimizer"):
        assert found[name] == what[name]
    for view, expected in zip(found["views"], what["views"], strict=True):
        np.testing.assert_array_equal(view, expected.detach().numpy())
    assert np.shares_memory(found["views"][0], found["views"][2])
    for kind, array in found["kinds"].items():
        assert array.dtype == ("float32" if kind in ("float16", "bfloat16") else kind)
        np.testing.assert_array_equal(array, [0, 1])
    with pytest.raises(ValueError, match="read-only"):
        found["views"][0][0] = 1


def records(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewritten(path, change, compression=zipfile.ZIP_STORED):
    """The file with its records changed."""
    found = records(path)
    change(found)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in found.items():
            archive.writestr(name, content)


class Code:
    def __reduce__(self):
        return print, ("it ran",)


def shape_of(path, old, new):
    """Another number in the pickle: of a shape, a stride or a count."""

    def change(found):
        (name,) = [name for name in found if name.endswith("data.pkl")]
        assert old in found[name]
        found[name] = found[name].replace(old, new)

    rewritten(path, change)


def with_pickle(path, content):
    rewritten(path, lambda found: found.update({name: content for name in found if name.endswith("data.pkl")}))


HOSTILE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "empty": lambda path: path.write_bytes(b""),
    "foreign": lambda path: path.write_bytes(b"\x89PNG" * 50),
    "a module": lambda path: saved(path, torch.nn.Linear(2, 2)),
    "code": lambda path: with_pickle(path, pickle.dumps(Code())),
    "older code": lambda path: with_pickle(path, pickle.dumps(Code(), protocol=0)),
    "before 1.6": lambda path: torch.save({"w": torch.zeros(2)}, path, _use_new_zipfile_serialization=False),
    "compressed": lambda path: rewritten(path, lambda found: None, zipfile.ZIP_DEFLATED),
    "no pickle": lambda path: rewritten(path, lambda found: found.clear()),
    "no storage": lambda path: rewritten(path, lambda found: [found.pop(n) for n in [*found] if "/data/" in n]),
    "short storage": lambda path: rewritten(path, lambda f: f.update({n: f[n][:4] for n in f if "/data/" in n})),
    "a shape beyond its storage": lambda path: shape_of(path, b"K\x05K\x03\x86", b"K\x06K\x03\x86"),
    "a shape of nearly everything": lambda path: shape_of(path, b"K\x05K\x03\x86", b"J\xff\xff\xff\x7fK\x03\x86"),
    "one number many times": lambda path: [
        shape_of(path, b"K\x05K\x03\x86", b"J\xff\xff\xff\x7fK\x03\x86"),
        shape_of(path, b"K\x03K\x01\x86", b"K\x00K\x00\x86"),
    ],
    "a negative stride": lambda path: shape_of(path, b"K\x03K\x01\x86", b"J\xfd\xff\xff\xffK\x01\x86"),
    "a large place in memory": lambda path: with_pickle(path, b"\x80\x02}r\xff\xff\xff\x7f)R."),
    "a call of nothing": lambda path: with_pickle(path, b"\x80\x02X\x01\x00\x00\x00a)R."),
    "a text that does not end": lambda path: with_pickle(path, b"\x80\x02X\xff\xff\xff\x7fa."),
    "complex": lambda path: saved(path, torch.zeros(2, dtype=torch.complex64)),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_named_and_run_nothing(case, tmp_path, capsys):
    path = saved(tmp_path / "weights.pt", {"w": torch.arange(15.0).reshape(5, 3)})
    HOSTILE[case](path)
    with pytest.raises(ValueError, match=r"load: .*weights\.pt is truncated, corrupt or no file of weights"):
        interop.load(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (lambda: torch.imag(torch.tensor([1 + 2j]).conj()), "sign is not in its numbers; save tensor.resolve_neg"),
        (lambda: torch.zeros(1).expand(3), r"of shape \(3,\) is expanded from 1 numbers; save a clone"),
        (lambda: torch.zeros(2).to_sparse(), "a tensor by torch._utils._rebuild_sparse_tensor, and no plain one"),
        (lambda: torch.zeros(2, dtype=torch.uint16), "a tensor by torch._utils._rebuild_tensor_v3, and no plain one"),
    ],
    ids=["signs apart", "expanded", "sparse", "uint16"],
)
def test_tensors_that_are_no_plain_numbers(what, words, tmp_path):
    with pytest.raises(ModelFileError, match=words):
        interop.load(saved(tmp_path / "weights.pt", {"w": what()}))


def test_a_file_of_an_older_format_tells_how_to_make_a_new_one(tmp_path):
    torch.save({"w": torch.zeros(2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(ModelFileError, match=r"no zip file, .*torch\.save\(torch\.load\(path\), path\)"):
        interop.load(tmp_path / "old.pt")


def test_a_missing_file_and_open_ones(tmp_path):
    with pytest.raises(FileNotFoundError):
        interop.load(tmp_path / "none.pt")
    with pytest.raises(TypeError):
        interop.load(io.BytesIO())
