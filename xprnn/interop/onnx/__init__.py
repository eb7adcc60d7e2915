"""ONNX: layers of ours as models that ONNX Runtime and others run, and models as modules. Needs the package onnx."""

from xprnn.interop.onnx.exporting import save, to_model
from xprnn.interop.onnx.importing import Model, from_model, load

__all__ = ["Model", "from_model", "load", "save", "to_model"]
