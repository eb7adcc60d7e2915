"""ONNX: layers of ours as models that ONNX Runtime and others run. Needs the package onnx, and that alone."""

from xprnn.interop.onnx.exporting import save, to_model

__all__ = ["save", "to_model"]
