"""A plugin of pytest, ``-p gpu_no_pool``: arrays have memory of their own, so that a checker sees where each ends."""

import cupy

cupy.cuda.set_allocator(None)
