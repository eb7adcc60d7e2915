"""Checkpoint files: whole or not at all, to write and to read."""

import json

import numpy as np
import pytest

from xprnn import nn
from xprnn.backend import to_numpy
from xprnn.data import Batches
from xprnn.train import (
    SGD,
    Adam,
    Exponential,
    ModelFileError,
    load_checkpoint,
    load_weights,
    read_tensors,
    save_checkpoint,
    write_tensors,
)

ARRAYS = {
    "a.b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "scalar": np.array(2.5),
    "empty": np.zeros((0, 3)),
    "flags": np.array([True, False]),
    "numbers": np.array([1, 2**63], dtype=np.uint64),
    "turned": np.arange(6.0).reshape(2, 3).T,
    "big endian": np.arange(3, dtype=">i4"),
}


def test_round_trip(tmp_path, home):
    path = tmp_path / "file.safetensors"
    metadata = {"list": [1, 2.5, None, "ä"], "nested": {"number": 2**100}, "inf": float("inf")}
    write_tensors(path, {**ARRAYS, "home": home.asarray(np.arange(3.0))}, metadata)
    arrays, found = read_tensors(str(path))
    assert found == metadata
    np.testing.assert_array_equal(arrays.pop("home"), np.arange(3.0))
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays.pop(name), array)
    assert not arrays
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.safetensors"]
    write_tensors(path, {}, {})
    assert read_tensors(path) == ({}, {})


def test_it_is_a_safetensors_file(tmp_path):
    from safetensors.numpy import load_file

    write_tensors(tmp_path / "f", ARRAYS, {})
    np.testing.assert_array_equal(load_file(tmp_path / "f")["a.b"], ARRAYS["a.b"])


@pytest.mark.parametrize("broken", ["os.replace", "os.fsync"])
def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch, broken):
    path = tmp_path / "f"
    write_tensors(path, {"x": np.ones(3)}, {"version": 1})

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(broken, fail)
    with pytest.raises(OSError, match=r"cannot write .*f: No space left on device"):
        write_tensors(path, {"x": np.zeros(3)}, {"version": 2})
    monkeypatch.undo()
    assert read_tensors(path)[1] == {"version": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written(tmp_path):
    path = tmp_path / "f"
    for arrays, metadata, message in [
        ({"z": np.zeros(2, dtype=complex)}, {}, "write_tensors: z has dtype complex128; expected one of bool"),
        ({1: np.zeros(2)}, {}, "write_tensors: an array is named 1; expected a str"),
        ({"__metadata__": np.zeros(2)}, {}, "write_tensors: an array is named '__metadata__'"),
        ({"x": [1.0]}, {}, "write_tensors: x is a list; expected an array"),
        ({}, {"x": {1, 2}}, "write_tensors: the metadata cannot be written as JSON"),
    ]:
        with pytest.raises(TypeError, match=message):
            write_tensors(path, arrays, metadata)
    with pytest.raises(FileNotFoundError, match=r"cannot write .*missing"):
        write_tensors(tmp_path / "missing" / "f", {}, {})
    path.write_text("a file, no folder")
    with pytest.raises(NotADirectoryError, match="cannot write"):
        write_tensors(path / "f", {}, {})
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_read(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "f"
    with pytest.raises(FileNotFoundError, match=r"read_tensors: cannot read .*f: No such file"):
        read_tensors(path)
    with pytest.raises(IsADirectoryError, match="read_tensors: cannot read"):
        read_tensors(tmp_path)
    save_file({"x": np.ones(3)}, path)
    with pytest.raises(ValueError, match="was not written by xprnn: its metadata has no entry 'xprnn'"):
        read_tensors(path)
    for text in ("no json", "[]", json.dumps({"metadata": {}})):
        save_file({"x": np.ones(3)}, path, {"xprnn": text})
        with pytest.raises(ValueError, match="is corrupt: its metadata cannot be read"):
            read_tensors(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="truncated, corrupt or no safetensors file"):
        read_tensors(path)


def test_every_truncation_and_every_flipped_byte_is_found(tmp_path):
    path = tmp_path / "f"
    write_tensors(path, {"x": np.arange(4.0), "y": np.ones(2, dtype=np.int32)}, {"epoch": 3, "name": "run"})
    content = path.read_bytes()
    for damaged in [content[:n] for n in range(0, len(content), 7)] + [
        content[:n] + bytes([content[n] ^ 1]) + content[n + 1 :] for n in range(len(content))
    ]:
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"truncated|corrupt|not written by"):
            read_tensors(path)


class Model(nn.Module):
    def __init__(self, rng):
        self.lstm = nn.LSTM(2, 3, num_layers=2, dropout=0.5, dtype="float64", rng=rng)
        self.out = nn.Linear(3, 1, dtype="float64", rng=rng)


def parts(seed, kind="PCG64"):
    model = Model(np.random.Generator(getattr(np.random, kind)(seed)))
    optimizer = Adam(model.parameters(), lr=0.1)
    for p in model.parameters():
        p.grad = p.detach()
    optimizer.step()
    schedule = Exponential(optimizer, 0.9)
    schedule.step()
    return {"model": model, "optimizer": optimizer, "schedule": schedule}


def snapshot(parts):
    model = parts["model"]
    state = {
        "model": model.state_dict(),
        "rng": {name: g.bit_generator.state for name, g in model.generators().items()},
        **{name: parts[name].state_dict() for name in ("optimizer", "schedule")},
    }
    return json.dumps(state, default=lambda array: to_numpy(array).tolist())


@pytest.mark.parametrize("kind", ["PCG64", "MT19937", "Philox", "SFC64"])
def test_all_parts_come_back(tmp_path, kind):
    first, second = parts(0, kind), parts(1, kind)
    first["model"].lstm(np.ones((2, 2, 2)))  # dropout draws
    save_checkpoint(tmp_path / "c", **first)
    assert snapshot(first) != snapshot(second)
    load_checkpoint(tmp_path / "c", **second)
    assert snapshot(first) == snapshot(second)
    x = np.ones((4, 2, 2))
    np.testing.assert_array_equal(first["model"].lstm(x)[0].numpy(), second["model"].lstm(x)[0].numpy())
    third = parts(2, kind)
    load_checkpoint(tmp_path / "c", model=third["model"])  # one part alone
    np.testing.assert_array_equal(third["model"].out.weight.numpy(), first["model"].out.weight.numpy())


def test_batches_and_other_libraries(tmp_path, home):
    model, batches = nn.Linear(2, 2, rng=0).to(home), Batches(np.arange(9), batch_size=9, shuffle=True, rng=0)
    save_checkpoint(tmp_path / "c", model=model, batches=batches)
    expected = [x.tolist() for (x,) in batches]
    other, again = nn.Linear(2, 2, rng=1), Batches(np.arange(9), batch_size=9, shuffle=True, rng=5)
    load_checkpoint(tmp_path / "c", model=other, batches=again)
    np.testing.assert_array_equal(other.weight.numpy(), model.weight.numpy())
    assert [x.tolist() for (x,) in again] == expected


def test_one_refusal_leaves_every_part_as_it_was(tmp_path):
    save_checkpoint(tmp_path / "c", **parts(0))
    mine = parts(1)
    before = snapshot(mine)
    sgd = SGD(mine["model"].parameters())
    for wrong, message in [
        ({**mine, "optimizer": sgd}, "optimizer refuses: SGD: the state is of Adam; expected SGD; nothing has been"),
        (
            {**mine, "schedule": Batches(np.ones(2), batch_size=1)},
            r"schedule refuses: Batches: the state has \[.*; exp",
        ),
        ({**mine, "model": nn.Linear(2, 3)}, "model refuses: Linear: the random generators are"),
        ({**mine, "other": sgd}, "has no other; it has model, optimizer, schedule"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_checkpoint(tmp_path / "c", **wrong)
        assert snapshot(mine) == before
    write_tensors(tmp_path / "c", {}, {})
    with pytest.raises(ValueError, match="has no model; it has nothing"):
        load_checkpoint(tmp_path / "c", model=mine["model"])


def test_a_generator_of_another_kind_is_refused(tmp_path):
    save_checkpoint(tmp_path / "c", **parts(0, "MT19937"))
    mine = parts(1)
    before = snapshot(mine)
    with pytest.raises(ValueError, match="model refuses"):
        load_checkpoint(tmp_path / "c", **mine)
    assert snapshot(mine) == before


def test_parts_without_a_state(tmp_path):
    with pytest.raises(TypeError, match="save_checkpoint: model is a int, which has no state_dict"):
        save_checkpoint(tmp_path / "c", model=3)

    class Odd:
        def state_dict(self):
            return {"inside": {"it": object()}}

        def load_state_dict(self, state): ...

    with pytest.raises(
        TypeError, match=r"save_checkpoint: odd.inside.it is a object; expected dicts, arrays and plain"
    ):
        save_checkpoint(tmp_path / "c", odd=Odd())
    assert not list(tmp_path.iterdir())


class State:
    def __init__(self, state):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = dict(state)


@pytest.mark.parametrize("turned", [False, True])
def test_dots_in_keys_do_not_collide(tmp_path, turned):
    state = {"a.b": np.zeros(1), "a": {"b": np.ones(2), "b'": np.ones(3)}}
    state = dict(reversed(state.items())) if turned else state
    part = State(state)
    save_checkpoint(tmp_path / "file", part=part)
    load_checkpoint(tmp_path / "file", part=part)
    assert [a.shape for a in (part.state["a.b"], part.state["a"]["b"], part.state["a"]["b'"])] == [(1,), (2,), (3,)]


def test_an_interrupt_leaves_every_part_as_it_was(tmp_path):
    class Interrupted(State):
        def load_state_dict(self, state):
            if "stop" in state:
                self.state = {}
                raise KeyboardInterrupt
            super().load_state_dict(state)

    save_checkpoint(tmp_path / "c", **parts(0), other=State({"stop": 1}))
    mine, other = parts(1), Interrupted({"go": 1})
    before = snapshot(mine)
    with pytest.raises(KeyboardInterrupt):
        load_checkpoint(tmp_path / "c", **mine, other=other)
    assert snapshot(mine) == before
    assert other.state == {"go": 1}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_weights_that_pytorch_wrote(tmp_path, kind, dtype):
    torch, save = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    theirs = getattr(torch.nn, kind)(3, 4, num_layers=2, bidirectional=True).to(getattr(torch, dtype))
    save.save_file(theirs.state_dict(), tmp_path / "theirs.safetensors", {"format": "pt"})
    weights = load_weights(tmp_path / "theirs.safetensors")
    for name, tensor in theirs.state_dict().items():
        assert weights[name].dtype == ("float64" if dtype == "float64" else "float32")
        np.testing.assert_array_equal(weights[name], tensor.double().numpy())
    ours = getattr(nn, kind)(3, 4, num_layers=2, bidirectional=True, rng=0)
    ours.load_state_dict(weights)
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype("float32")
    expected = theirs.float()(torch.tensor(x))[0].detach().numpy()
    np.testing.assert_allclose(ours(x)[0].numpy(), expected, atol=1e-5)
    with pytest.raises(ModelFileError, match=r"theirs.* was not written by xprnn: .*; load_weights reads the arrays"):
        read_tensors(tmp_path / "theirs.safetensors")


def test_all_dtypes_and_shapes_of_others(tmp_path):
    from safetensors.numpy import save_file

    arrays = {name: array for name, array in ARRAYS.items() if array.dtype.isnative}
    arrays |= {dtype: np.array([0, 1, 100], dtype) for dtype in ("int8", "int16", "int32", "int64", "uint8", "uint16")}
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, tmp_path / "f")
    found = load_weights(str(tmp_path / "f"))
    assert set(found) == set(arrays)
    for name, array in found.items():
        np.testing.assert_array_equal(array, arrays[name])
        assert array.dtype == arrays[name].dtype
        assert array.flags.writeable
    save_checkpoint(tmp_path / "own", model=nn.Linear(2, 2, rng=0))
    assert set(load_weights(tmp_path / "own")) == {"model.parameters.weight", "model.parameters.bias"}


def test_special_numbers_of_bfloat16(tmp_path):
    torch, save = pytest.importorskip("torch"), pytest.importorskip("safetensors.torch")
    x = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)  # every one there is
    save.save_file({"x": x}, tmp_path / "f")
    np.testing.assert_array_equal(load_weights(tmp_path / "f")["x"], x.float().numpy())


def test_weights_that_cannot_be_read(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "weights.safetensors"
    with pytest.raises(FileNotFoundError, match=r"load_weights: cannot read .*weights.safetensors: No such file"):
        load_weights(path)
    with pytest.raises(IsADirectoryError, match="load_weights: cannot read"):
        load_weights(tmp_path)
    save_file({"x": np.arange(6.0)}, path)
    content = path.read_bytes()
    for damaged in [content[:end] for end in range(0, len(content), 5)] + [
        content.replace(b"F64", b"F8_E4M3"),
        content.replace(b"F64", b"C64"),
        content.replace(b"[6]", b"[7]"),
        b"PK\3\4" + content,
        b"\x80\x02" + content,
    ]:
        path.write_bytes(damaged)
        with pytest.raises(ModelFileError, match=r"load_weights: .*weights.safetensors is truncated, corrupt or no"):
            load_weights(path)
