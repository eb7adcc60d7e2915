"""Data: batches of arrays, and time series from arrays and CSV files."""

from xprnn.data.arrow import ArrowRows
from xprnn.data.batching import Batches
from xprnn.data.bucketing import Buckets
from xprnn.data.calendar import Calendar
from xprnn.data.characters import Alphabet, character_streams, read_characters
from xprnn.data.csv_series import CsvSeries, read_csv
from xprnn.data.drawn import Drawn
from xprnn.data.lanes import Lanes
from xprnn.data.memory_tasks import (
    adding_problem,
    copy_memory,
    first_element_recall,
    memoryless_copy_loss,
    sum_sign,
)
from xprnn.data.padding import lengths_to_mask, pad_sequences, unpad
from xprnn.data.portions import Divided
from xprnn.data.series import StandardScaler, harmonics, windows
from xprnn.data.streamed import Ragged, Streamed
from xprnn.data.text_file import TextTable, read_lines, read_table
from xprnn.data.text_stream import TextFile
from xprnn.data.timing import spike_delays, timed_spikes
from xprnn.data.tokenizer import split_characters, split_words
from xprnn.data.vocabulary import Vocabulary
from xprnn.data.word_vectors import WordVectors, read_word_vectors

__all__ = [
    "Alphabet",
    "ArrowRows",
    "Batches",
    "Buckets",
    "Calendar",
    "CsvSeries",
    "Divided",
    "Drawn",
    "Lanes",
    "Ragged",
    "StandardScaler",
    "Streamed",
    "TextFile",
    "TextTable",
    "Vocabulary",
    "WordVectors",
    "adding_problem",
    "character_streams",
    "copy_memory",
    "first_element_recall",
    "harmonics",
    "lengths_to_mask",
    "memoryless_copy_loss",
    "pad_sequences",
    "read_characters",
    "read_csv",
    "read_lines",
    "read_table",
    "read_word_vectors",
    "unpad",
    "split_characters",
    "split_words",
    "spike_delays",
    "sum_sign",
    "timed_spikes",
    "windows",
]
