"""Objects that do a whole job: fit, predict, report. Each is imported when first asked for."""

from typing import TYPE_CHECKING

from xprnn.later import later

if TYPE_CHECKING:
    from xprnn.estimators.sequences.classifier import SequenceClassifier
    from xprnn.estimators.sequences.detector import AnomalyDetector
    from xprnn.estimators.sequences.long_table import LongTable, long_table
    from xprnn.estimators.sequences.regressor import SequenceRegressor
    from xprnn.estimators.sequences.tagger import SequenceTagger
    from xprnn.estimators.series.backtest import Backtest, backtest
    from xprnn.estimators.series.baselines import (
        AutoRegression,
        Borrowed,
        Drift,
        Persistence,
        SeasonalNaive,
        SeriesForecaster,
    )
    from xprnn.estimators.series.forecaster import Forecaster
    from xprnn.estimators.series.panel import Panel
    from xprnn.estimators.series.panel_backtest import PanelBacktest, backtest_panel
    from xprnn.estimators.text.character_model import CharacterModel
    from xprnn.estimators.text.classifier import TextClassifier
    from xprnn.estimators.text.explanation import Explanation
    from xprnn.estimators.text.input import split_texts
    from xprnn.estimators.text.naive_bayes import NaiveBayes
    from xprnn.estimators.text.plot import draw_explanations
    from xprnn.estimators.text.spans import span_f1
    from xprnn.estimators.text.tagger import TextTagger

__all__ = [
    "AnomalyDetector",
    "AutoRegression",
    "Backtest",
    "Borrowed",
    "CharacterModel",
    "Drift",
    "Explanation",
    "Forecaster",
    "LongTable",
    "NaiveBayes",
    "Panel",
    "PanelBacktest",
    "Persistence",
    "SeasonalNaive",
    "SequenceClassifier",
    "SequenceRegressor",
    "SequenceTagger",
    "SeriesForecaster",
    "TextClassifier",
    "TextTagger",
    "backtest",
    "backtest_panel",
    "draw_explanations",
    "long_table",
    "span_f1",
    "split_texts",
]

__getattr__, __dir__ = later(
    __name__,
    {
        "sequences.classifier": "SequenceClassifier",
        "sequences.detector": "AnomalyDetector",
        "sequences.long_table": "LongTable long_table",
        "sequences.regressor": "SequenceRegressor",
        "sequences.tagger": "SequenceTagger",
        "series.backtest": "Backtest backtest",
        "series.baselines": "AutoRegression Borrowed Drift Persistence SeasonalNaive SeriesForecaster",
        "series.forecaster": "Forecaster",
        "series.panel": "Panel",
        "series.panel_backtest": "PanelBacktest backtest_panel",
        "text.character_model": "CharacterModel",
        "text.classifier": "TextClassifier",
        "text.explanation": "Explanation",
        "text.input": "split_texts",
        "text.naive_bayes": "NaiveBayes",
        "text.plot": "draw_explanations",
        "text.spans": "span_f1",
        "text.tagger": "TextTagger",
    },
)
