"""Data: batches of arrays, and time series from arrays and CSV files."""

from xprnn.data.batching import Batches
from xprnn.data.calendar import Calendar
from xprnn.data.csv_series import CsvSeries, read_csv
from xprnn.data.series import StandardScaler, harmonics, windows

__all__ = ["Batches", "Calendar", "CsvSeries", "StandardScaler", "harmonics", "read_csv", "windows"]
