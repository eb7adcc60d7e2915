"""Every example runs in its short mode, prints what it found and leaves a picture."""

import itertools
import os
import re
import runpy
import struct
import subprocess
import sys
from pathlib import Path

import pytest

import xprnn
from xprnn import available_backends
from xprnn.train import evaluation, loop

pytest.importorskip("matplotlib")

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.py") if path.name != "common.py")

each_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)


def png_size(path):
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", content[16:24])


@pytest.fixture
def main(monkeypatch, tmp_path):
    """Runs an example as a script would be, from an empty folder, but in this process: another costs a second.

    Gives what it ended with.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "examples")

    def call(path, *arguments):
        monkeypatch.setattr(sys, "argv", [str(path), *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(path), run_name="__main__")
        return ended.value.code

    return call


@pytest.mark.slow
@each_example
def test_short_mode(path, main, tmp_path, capsys):
    assert not main(path, "--quick", "--output", str(tmp_path / "made"))
    printed = capsys.readouterr().out
    assert re.search(r"^-+(  -+)+$", printed, re.MULTILINE), f"no table in:\n{printed}"
    pictures = sorted((tmp_path / "made").glob("*.png"))
    assert pictures, "no picture was saved"
    for picture in pictures:
        assert min(png_size(picture)) >= 300
        assert picture.stat().st_size > 10_000, f"{picture.name} is nearly empty"
    assert not [entry for entry in tmp_path.iterdir() if entry.name != "made"], "it writes outside --output"


@pytest.mark.slow
@each_example
def test_beside_the_host(path, main, tmp_path, monkeypatch):
    """With --backend cupy, for which another library's second device stands in.

    Nothing of the host mixes with that device, and nothing beyond the array API's standard works there: what runs to
    its end has neither in it. Two batches of each epoch do, since the others go the same way. What is drawn has come to
    the host, and test_short_mode draws it.
    """
    strict = pytest.importorskip("array_api_strict")
    real = xprnn.backend.get_backend

    def get_backend(name, device=None):
        if name != "cupy":
            return real(name, device)
        return real("array_api_strict", device or strict.Device("device1"))

    for module in [module for name, module in sys.modules.items() if name.startswith("xprnn")]:
        if getattr(module, "get_backend", None) is real:
            monkeypatch.setattr(module, "get_backend", get_backend)
    drawn = loop.drawn
    for module in (loop, evaluation):
        monkeypatch.setattr(module, "drawn", lambda batches: itertools.islice(drawn(batches), 2))
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, path, dpi: path.touch())
    assert not main(path, "--quick", "--backend", "cupy", "--output", str(tmp_path))
    assert list(tmp_path.glob("*.png"))


@each_example
def test_options(path):
    """Each example is a command made by the decorator that gives all of them their options."""
    source = path.read_text(encoding="utf-8")
    assert re.search(r"^from common import .*\bexample\b", source, re.MULTILINE | re.DOTALL)
    assert re.search(r"^@example\n(@click\..*\n)*def main\(", source, re.MULTILINE)
    assert source.endswith('if __name__ == "__main__":\n    main()\n')


def test_help_of_a_script_in_a_process_of_its_own(tmp_path):
    python_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": python_path, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES[0]), "--help"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="utf-8", check=False,
    )  # fmt: skip
    for option in ("--quick", "--backend [numpy|cupy]", "--output"):
        assert option in done.stdout


@pytest.mark.skipif(not available_backends()["cupy"], reason="CuPy works here")
def test_a_backend_that_cannot_be_used_is_one_sentence(main, tmp_path, capsys):
    assert main(EXAMPLES[0], "--quick", "--backend", "cupy", "--output", str(tmp_path)) == 1
    told = capsys.readouterr().err
    assert told.startswith("Error: backend 'cupy' cannot be used")
    assert "Traceback" not in told


def test_each_example_is_listed():
    listed = re.findall(r"\]\((\w+)\.py\)", (ROOT / "examples" / "README.md").read_text(encoding="utf-8"))
    assert listed == sorted(path.stem for path in EXAMPLES)
