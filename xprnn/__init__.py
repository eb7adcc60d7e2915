"""Recurrent neural networks for NumPy and CuPy arrays."""

from pathlib import Path as _Path
from typing import TYPE_CHECKING

# In a bare checkout kernels/ lies beside xprnn/, not inside it; installed, it is the subpackage xprnn.kernels.
if not (_Path(__file__).parent / "kernels").exists():
    __path__.append(str(_Path(__file__).parents[1]))

from xprnn import nn, ops
from xprnn.backend import (
    available_backends,
    default_backend,
    namespace,
    synchronize,
    to_backend,
    to_numpy,
    use_backend,
)
from xprnn.engine.dispatch import explain, use_kernels
from xprnn.grad_mode import no_grad
from xprnn.later import later
from xprnn.randomness import use_seed
from xprnn.settings import use_precision
from xprnn.tape import grad
from xprnn.tensor import Parameter, Tensor
from xprnn.witness import debug

if TYPE_CHECKING:
    from xprnn.nn.per_sample import per_sample_grad

__version__ = "0.1.0"

__all__ = [
    "Parameter",
    "Tensor",
    "available_backends",
    "debug",
    "default_backend",
    "explain",
    "grad",
    "namespace",
    "nn",
    "no_grad",
    "ops",
    "per_sample_grad",
    "synchronize",
    "to_backend",
    "to_numpy",
    "use_backend",
    "use_kernels",
    "use_precision",
    "use_seed",
]

__getattr__, __dir__ = later(__name__, {"nn.per_sample": "per_sample_grad"})
