"""All processes of this job."""

from __future__ import annotations

import logging
import sys

from xprnn.arguments import one_of
from xprnn.backend import default_backend
from xprnn.distributed.alone import Alone
from xprnn.distributed.mpi import MPI, launched
from xprnn.distributed.nccl import NCCL, use_own_device, why_not
from xprnn.train.communicator import Communicator
from xprnn.train.wire import WIRES

logger = logging.getLogger("xprnn")


def world(*, wire: str = "float32") -> Communicator:
    """The communicator of all processes of this job: ``fit(..., communicator=world())``.

    The same script runs alone, as ``python train.py``, and shared, as ``mpiexec -n 4 python train.py``. Alone it is an
    :class:`Alone`; started by mpiexec or srun an :class:`MPI` or, where the default backend is CuPy's, an
    :class:`NCCL`, with one GPU for each process of a machine.

    With ``wire="bfloat16"`` float32 gradients travel as bfloat16, half the bytes: each rank adds up its share of them
    in float32. What is rounded away is kept and sent with the next step's, but in no checkpoint: a resumed run begins
    without it, and is the same to that rounding only. NCCL does not do so, which raises ValueError.

    Raises ImportError where several processes were started, and mpi4py is not there to join them: each would train a
    model of its own, and write over the others' files.
    """
    one_of("world", "wire", wire, WIRES)
    if launched() == 1 and "mpi4py.MPI" not in sys.modules:
        return Alone()
    ranks = MPI(wire)
    if default_backend().name != "cupy":
        return ranks
    missing = ranks.gather(why_not())
    if not any(missing):
        if wire != "float32":
            raise ValueError(f"world: wire is {wire!r}, but NCCL would add up in it too; expected 'float32' on GPUs")
        return NCCL()
    if ranks.rank == 0:
        rank = next(k for k, why in enumerate(missing) if why)
        logger.warning("world: rank %d has no NCCL (%s): gradients go through the host's memory", rank, missing[rank])
    use_own_device(ranks)
    return ranks
