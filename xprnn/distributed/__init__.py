"""Past one process and one machine: training shared among ranks, and independent work for any executor."""

from typing import TYPE_CHECKING

from xprnn.distributed.alone import Alone
from xprnn.distributed.work import each
from xprnn.later import later
from xprnn.train.communicator import Communicator
from xprnn.train.same_bits import SameBits

if TYPE_CHECKING:
    from xprnn.distributed.blocks import predict_blocks
    from xprnn.distributed.mpi import MPI
    from xprnn.distributed.nccl import NCCL
    from xprnn.distributed.processes import world
    from xprnn.distributed.threads import RankError, in_threads

__all__ = [
    "MPI",
    "NCCL",
    "Alone",
    "Communicator",
    "RankError",
    "SameBits",
    "each",
    "in_threads",
    "predict_blocks",
    "world",
]

__getattr__, __dir__ = later(
    __name__,
    {
        "blocks": "predict_blocks",
        "mpi": "MPI",
        "nccl": "NCCL",
        "processes": "world",
        "threads": "RankError in_threads",
    },
)
