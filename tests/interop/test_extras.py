"""What is asked of a library that is not there."""

import sys

import numpy as np
import pytest

from xprnn import nn
from xprnn.interop import casadi, extras, onnx, torch


@pytest.mark.parametrize(
    ("library", "call", "owner"),
    [
        ("torch", lambda: torch.LSTM, "xprnn.interop.torch.LSTM"),
        ("torch", lambda: torch.from_module(None), "from_module"),
        ("torch", lambda: torch.to_module(nn.Linear(1, 1)), "to_module"),
        ("onnx", lambda: onnx.to_model(nn.Linear(1, 1)), "xprnn.interop.onnx"),
        ("onnx", lambda: onnx.from_model(None), "from_model"),
        ("onnx", lambda: onnx.load("model.onnx"), "load"),
        ("casadi", lambda: casadi.step(nn.Linear(1, 1)), "casadi.step"),
    ],
)
def test_it_is_named_with_the_extra_to_install(library, call, owner, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)  # importing it raises ModuleNotFoundError
    with pytest.raises(
        ImportError, match=rf"{owner} needs {library}, which is not installed: pip install 'xprnn\[{library}\]'"
    ):
        call()


def test_one_that_is_broken_says_why(monkeypatch):
    def broken(name):
        raise ImportError("no such symbol")

    monkeypatch.setattr(extras.importlib, "import_module", broken)
    with pytest.raises(ImportError, match=r"f needs numpy, which does not import \(no such symbol\)"):
        extras.needed("numpy", "f")


def test_other_names_are_no_attributes():
    with pytest.raises(AttributeError, match="no attribute 'Linear'"):
        torch.Linear  # noqa: B018 - reading it raises
    assert np is extras.needed("numpy", "f")
