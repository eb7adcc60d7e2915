"""All processes of this job."""

from __future__ import annotations

import logging
import sys

from xprnn.backend import default_backend
from xprnn.distributed.alone import Alone
from xprnn.distributed.mpi import MPI, launched
from xprnn.distributed.nccl import NCCL, use_own_device, why_not
from xprnn.train.communicator import Communicator

logger = logging.getLogger("xprnn")


def world() -> Communicator:
    """The communicator of all processes of this job: ``fit(..., communicator=world())``.

    The same script runs alone, as ``python train.py``, and shared, as ``mpiexec -n 4 python train.py``. Alone it is an
    :class:`Alone`; started by mpiexec or srun an :class:`MPI` or, where the default backend is CuPy's, an
    :class:`NCCL`, with one GPU for each process of a machine.

    Raises ImportError where several processes were started, and mpi4py is not there to join them: each would train a
    model of its own, and write over the others' files.
    """
    if launched() == 1 and "mpi4py.MPI" not in sys.modules:
        return Alone()
    ranks = MPI()
    if default_backend().name != "cupy":
        return ranks
    missing = ranks.gather(why_not())
    if not any(missing):
        return NCCL()
    if ranks.rank == 0:
        rank = next(k for k, why in enumerate(missing) if why)
        logger.warning("world: rank %d has no NCCL (%s): gradients go through the host's memory", rank, missing[rank])
    use_own_device(ranks)
    return ranks
