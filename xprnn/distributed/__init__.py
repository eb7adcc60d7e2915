"""Past one thread and one machine: independent work for any executor."""

from xprnn.distributed.work import each

__all__ = ["each"]
