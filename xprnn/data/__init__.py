"""Data: batches."""

from xprnn.data.batching import Batches

__all__ = ["Batches"]
