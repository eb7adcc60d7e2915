"""PyTorch: its modules to layers of ours and back, its files, and modules of its own that run in our kernels.

``LSTM``, ``GRU`` and ``RNN`` are ``torch.nn.LSTM``, ``torch.nn.GRU`` and ``torch.nn.RNN`` but for who computes: the
same signature, parameters, state_dict and errors, packed sequences too. On the CPU arrays are shared and not copied; on
CUDA they go to CuPy by DLPack, which no GPU has run yet. Beyond PyTorch they take ``lengths`` and ``reset``. Gradients
of any order pass. ``proj_size`` is computed without kernels. Autocast works, and torch.compile goes round them, so that
``fullgraph`` is refused. Half precision of the parameters, torch.func's transforms, TorchScript and exporters are not
supported: each raises. ``Sequential`` is ``torch.nn.Sequential`` that hands on the first of a tuple, as
ours does.
"""

from __future__ import annotations

from typing import Any

from xprnn.interop.extras import needed
from xprnn.interop.torch.files import load
from xprnn.interop.torch.from_torch import from_module
from xprnn.interop.torch.to_torch import to_module

MODULES = ("GRU", "LSTM", "RNN", "Sequential")

__all__ = ["GRU", "LSTM", "RNN", "Sequential", "from_module", "load", "to_module"]


def __getattr__(name: str) -> Any:
    """The modules, which PyTorch must be there for."""
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    needed("torch", f"xprnn.interop.torch.{name}")
    from xprnn.interop.torch import layers

    return getattr(layers, name)
