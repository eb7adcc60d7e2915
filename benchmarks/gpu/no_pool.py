"""A plugin of pytest, ``-p benchmarks.gpu.no_pool``: arrays have memory of their own, so a checker sees their ends."""

import cupy

cupy.cuda.set_allocator(None)
