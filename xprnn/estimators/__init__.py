"""Objects that do a whole job: fit, predict, report."""

from xprnn.estimators.baselines import AutoRegression, Persistence, SeasonalNaive, SeriesForecaster
from xprnn.estimators.forecaster import Forecaster
from xprnn.estimators.rolling_origin import Backtest, backtest

__all__ = ["AutoRegression", "Backtest", "Forecaster", "Persistence", "SeasonalNaive", "SeriesForecaster", "backtest"]
