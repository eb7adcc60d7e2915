"""Data: batches of arrays, and time series from arrays and CSV files. All is imported when first asked for."""

from typing import TYPE_CHECKING

from xprnn.later import later

if TYPE_CHECKING:
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

__getattr__, __dir__ = later(
    __name__,
    {
        "arrow": "ArrowRows",
        "batching": "Batches",
        "bucketing": "Buckets",
        "calendar": "Calendar",
        "characters": "Alphabet character_streams read_characters",
        "csv_series": "CsvSeries read_csv",
        "drawn": "Drawn",
        "lanes": "Lanes",
        "memory_tasks": "adding_problem copy_memory first_element_recall memoryless_copy_loss sum_sign",
        "padding": "lengths_to_mask pad_sequences unpad",
        "portions": "Divided",
        "series": "StandardScaler harmonics windows",
        "streamed": "Ragged Streamed",
        "text_file": "TextTable read_lines read_table",
        "text_stream": "TextFile",
        "timing": "spike_delays timed_spikes",
        "tokenizer": "split_characters split_words",
        "vocabulary": "Vocabulary",
        "word_vectors": "WordVectors read_word_vectors",
    },
)
