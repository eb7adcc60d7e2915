"""Forecasters that several test files ask."""

import numpy as np

from xprnn.estimators import Persistence


class Mean(Persistence):
    """Says the mean of what it was fitted on."""

    name = "mean"

    def fit(self, series):
        self.mean = series.mean(axis=0)
        return self

    def forecast(self, series, origins, horizon):
        return np.broadcast_to(self.mean, (len(origins), horizon, series.shape[1]))
