"""The pointwise kernels, compiled for devices that need not be there: no float64 where float32 was asked, no spills."""

import importlib.util
import re
import subprocess
import sys

import pytest

pytest.importorskip("numba")
if importlib.util.find_spec("numba_cuda") is None:
    pytest.skip("numba-cuda is not installed: pip install 'xprnn[cuda13]'", allow_module_level=True)

from numba import config
from xprnn.kernels.cuda import launch

if config.ENABLE_CUDASIM:
    pytest.skip("the simulator compiles nothing", allow_module_level=True)

NAMES = [f"{cell}_{way}" for cell in ("elman", "lstm", "gru") for way in ("forward", "backward")]
each_kernel = pytest.mark.parametrize("name", NAMES)
each_device = pytest.mark.parametrize("capability", [(8, 0), (9, 0)], ids=["sm_80", "sm_90"])


def compiled(name, dtype, capability):
    try:
        return launch.ptx(name, dtype, capability)
    except Exception as error:
        if "nvvm" in str(error).lower() or "nvrtc" in str(error).lower():
            pytest.skip(f"NVIDIA's compilers are not installed: {error}")
        raise


@each_device
@each_kernel
def test_float32_stays_float32(name, capability):
    text = compiled(name, "float32", capability)
    assert ".f32" in text
    assert ".f64" not in text
    assert ".f64" in compiled(name, "float64", capability)


@each_device
@each_kernel
def test_an_older_driver_takes_it(name, capability):
    """Whatever the age of the compiler; test_nothing_spills shows that nothing newer is in the text."""
    assert re.findall(r"\.version (\S+)", compiled(name, "float32", capability)) == ["8.0"]


@each_kernel
def test_arguments_are_addresses_and_whole_numbers(name):
    text = compiled(name, "float32", (9, 0))
    assert len(re.findall(r"\.visible\s+\.entry", text)) == 1
    declared = re.findall(r"\.param\s+\.(?:\.?align \d+ )?(\w+)", text.split("{")[0])
    assert declared == ["u64"] * (len(launch.array_parameters(name)) + 4)


def test_what_is_kept_on_disk_is_compiled_once(monkeypatch, tmp_path):
    compiled("gru_forward", "float32", (9, 0))
    monkeypatch.setattr(launch, "_folder", lambda: tmp_path)
    path = launch._kept("gru_forward", "float32", (9, 0))
    monkeypatch.setattr(launch, "ptx", None)
    assert launch._kept("gru_forward", "float32", (9, 0)) == path
    assert path.read_text().count(".entry") == 1
    assert list(tmp_path.iterdir()) == [path]


def test_numpy_without_row_stack():
    """As NumPy 2.5 is. In a process of its own, since numba-cuda asks for the name only once."""
    compiled("gru_forward", "float32", (9, 0))
    code = """
import numpy
vars(numpy).pop("row_stack", None)
import xprnn
from xprnn.kernels.cuda import launch
print(".entry" in launch.ptx("gru_forward", "float32", (9, 0)), "row_stack" in vars(numpy))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "True False\n", done.stderr


def test_a_folder_that_cannot_be_written_is_not_needed(monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/dev/null/nowhere")
    folder = launch._folder.__wrapped__()
    assert folder.is_dir()
    assert "nowhere" not in str(folder)


@each_device
@each_kernel
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_spills(name, dtype, capability):
    """Assembled for the device by NVIDIA's linker, which reads the newest PTX, as a driver would."""
    link = pytest.importorskip("cuda.bindings.nvjitlink")
    text = compiled(name, dtype, capability).encode()
    options = [f"-arch=sm_{capability[0]}{capability[1]}", "-verbose", "-Xptxas=-v"]
    try:
        handle = link.create(len(options), options)
    except Exception as error:
        pytest.skip(f"nvJitLink cannot be used: {error}")
    link.add_data(handle, link.InputType.PTX, text, len(text), name)
    link.complete(handle)
    log = bytearray(link.get_info_log_size(handle))
    link.get_info_log(handle, log)
    words = log.decode()
    assert re.search(r"Used (\d+) registers", words), words
    assert "0 bytes spill stores, 0 bytes spill loads" in words
    assert link.get_linked_cubin_size(handle) > 0
    assert int(re.search(r"Used (\d+) registers", words).group(1)) <= 128
