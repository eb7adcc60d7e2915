"""Wheel, editable install and bare checkout all offer xprnn.kernels, and none of them a top-level kernels."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import xprnn

ROOT = Path(xprnn.__file__).parents[1]
WHAT = """
import importlib.util, pathlib, sys
import xprnn, xprnn.kernels, xprnn.nn
assert "numba" not in sys.modules
print(importlib.util.find_spec("kernels"), xprnn.kernels.__name__, xprnn.__version__, xprnn.kernels.__file__)
"""

if not (ROOT / "pyproject.toml").exists():
    pytest.skip("these tests run in a checkout", allow_module_level=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what goes into a release, so that building leaves nothing behind in the checkout."""
    copy = tmp_path_factory.mktemp("source") / "checkout"
    copy.mkdir()
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
    for package in ("xprnn", "kernels"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def run(*command, cwd, **env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "XPRNN"))}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=clean | env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def needs_build_tools():
    pytest.importorskip("setuptools", minversion="77", reason="building offline needs setuptools 77 or newer")


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    needs_build_tools()
    pytest.importorskip("build")
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--skip-dependency-check", "-o", out, cwd=source)
    return next(out.glob("*.whl"))


def environment(path):
    """A fresh virtual environment that sees this one's packages, but not what is installed here as editable."""
    venv.create(path, with_pip=False, symlinks=True)
    python = path / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=path).strip())
    paths = dict.fromkeys(sysconfig.get_paths()[k] for k in ("purelib", "platlib"))
    (packages / "outer.pth").write_text("\n".join(paths) + "\n")
    return python


def install(python, *what, cwd):
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed"]
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, *what, cwd=cwd)


def test_every_package_on_disk_is_listed_and_so_in_the_wheel(wheel):
    def modules(folder, name):
        files = [p.relative_to(folder) for p in folder.rglob("*.py") if "__pycache__" not in p.parts]
        return {f"{name}/{file.as_posix()}" for file in files}

    on_disk = modules(ROOT / "xprnn", "xprnn") | modules(ROOT / "kernels", "xprnn/kernels")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = archive.read(next(n for n in archive.namelist() if n.endswith("/METADATA"))).decode()
        licenses = [name for name in archive.namelist() if name.endswith("/LICENSE")]
    assert {name for name in names if name.endswith(".py")} == on_disk
    assert {name.split("/")[0] for name in names} == {"xprnn"}
    assert "xprnn/py.typed" in names
    assert licenses
    assert re.search(r"^Version: (.+)$", metadata, re.M).group(1) == xprnn.__version__


def test_wheel_installs_kernels_inside_the_package(wheel, tmp_path):
    python = environment(tmp_path / "venv")
    install(python, wheel, cwd=tmp_path)
    spec, name, version, place = run(python, "-c", WHAT, cwd=tmp_path).split()
    assert (spec, name, version) == ("None", "xprnn.kernels", xprnn.__version__)
    assert Path(place).is_relative_to(tmp_path / "venv")


def test_editable_install_finds_kernels_in_the_checkout(source, tmp_path):
    needs_build_tools()
    checkout = shutil.copytree(source, tmp_path / "checkout")
    python = environment(tmp_path / "venv")
    install(python, "-e", checkout, cwd=tmp_path)
    spec, name, version, place = run(python, "-c", WHAT, cwd=tmp_path).split()
    assert (spec, name, version) == ("None", "xprnn.kernels", xprnn.__version__)
    assert Path(place).is_relative_to(checkout)


def test_bare_checkout_finds_kernels_beside_the_package(source, tmp_path):
    python = environment(tmp_path / "venv")
    output = run(python, "-c", WHAT, cwd=tmp_path, PYTHONPATH=str(source))
    assert output.split()[-3:] == ["xprnn.kernels", xprnn.__version__, str(source / "kernels" / "__init__.py")]
