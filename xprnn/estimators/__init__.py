"""Objects that do a whole job: fit, predict, report."""

from xprnn.estimators.baselines import AutoRegression, Persistence, SeasonalNaive, SeriesForecaster
from xprnn.estimators.char_lm import CharacterModel
from xprnn.estimators.forecaster import Forecaster
from xprnn.estimators.naive_bayes import NaiveBayes
from xprnn.estimators.rolling_origin import Backtest, backtest
from xprnn.estimators.text_classifier import TextClassifier
from xprnn.estimators.text_explanation import Explanation
from xprnn.estimators.text_input import split_texts
from xprnn.estimators.text_plot import draw_explanations

__all__ = [
    "AutoRegression",
    "Backtest",
    "CharacterModel",
    "Explanation",
    "Forecaster",
    "NaiveBayes",
    "Persistence",
    "SeasonalNaive",
    "SeriesForecaster",
    "TextClassifier",
    "backtest",
    "draw_explanations",
    "split_texts",
]
