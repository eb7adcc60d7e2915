"""Every argument of every estimator is checked where it is given, and named."""

import inspect
import json
import math

import numpy as np
import pytest
from helpers import exported

from xprnn import estimators, nn
from xprnn.estimators import (
    AnomalyDetector,
    AutoRegression,
    CharacterModel,
    Forecaster,
    NaiveBayes,
    Persistence,
    SeasonalNaive,
    SequenceClassifier,
    SequenceRegressor,
    SequenceTagger,
    TextClassifier,
    TextTagger,
    backtest,
    split_texts,
)
from xprnn.estimators.cells import cells, refused
from xprnn.estimators.estimator import Estimator

NO_NUMBERS = ["7", b"7", None, True, np.True_, [7], {}, np.ones(2), 7j, object(), math.nan, math.inf, -math.inf, -1]
COUNTS = [*NO_NUMBERS, 7.0, 2.5, 365.25, np.float32(7), 0]  # seeds may be 0
OPTIONAL_COUNTS = [bad for bad in COUNTS if bad is not None]
SIZES = [*NO_NUMBERS, 0, 0.0, 10**400]
SHARES = [*NO_NUMBERS, 1, 1.0, 1.5, 10**400]
CHANCES = [*NO_NUMBERS, 1.5]
WORDS = ["", "LSTM", None, 3, ["lstm"], {}, np.array(["lstm"]), math.nan]
DTYPES = ["float16", np.float32, ["float32"], np.array(["float32", "float64"]), np.dtype("int32"), None, 32]
FLAGS = ["no", 1, None, [], np.ones(2)]

BAD = {
    Forecaster: {
        **dict.fromkeys(["hidden", "layers", "epochs", "batch_size", "patience"], COUNTS),
        **dict.fromkeys(["learning_rate", "clip_norm"], SIZES),
        "horizon": COUNTS,
        **dict.fromkeys(["window", "members"], OPTIONAL_COUNTS),
        "transforms": WORDS,
        "distribution": WORDS,
        "validation": SHARES,
        "seed": COUNTS[:-1],
        "random_state": [bad for bad in COUNTS[:-1] if bad is not None],
        "cell": WORDS,
        "strategy": WORDS,
        "periods": [7, "77", None, {7}, 7.0, *([bad] for bad in [*NO_NUMBERS, 1, 1.0, 10**400])],
        "progress": FLAGS,
        "dtype": DTYPES,
    },
    CharacterModel: {
        **dict.fromkeys(["hidden", "layers", "embedding", "chunk", "batch_size", "epochs"], COUNTS),
        **dict.fromkeys(["learning_rate", "clip_norm"], SIZES),
        "dropout": CHANCES,
        "validation": SHARES,
        "seed": COUNTS[:-1],
        "random_state": [bad for bad in COUNTS[:-1] if bad is not None],
        "cell": WORDS,
        "progress": FLAGS,
        "dtype": DTYPES,
    },
    TextClassifier: {
        **dict.fromkeys(["hidden", "layers", "epochs", "patience", "min_count"], COUNTS),
        **dict.fromkeys(["embedding", "max_vocabulary", "batch_size"], OPTIONAL_COUNTS),
        **dict.fromkeys(["learning_rate", "clip_norm"], SIZES),
        **dict.fromkeys(["dropout", "word_dropout"], CHANCES),
        "count_ratios": [*NO_NUMBERS, 10**400],
        "validation": SHARES,
        "seed": COUNTS[:-1],
        "random_state": [bad for bad in COUNTS[:-1] if bad is not None],
        "cell": WORDS,
        "pooling": WORDS,
        "tokenizer": WORDS,
        "monitor": WORDS,
        "class_weight": ["even", 3, [1], {0: -1.0}],
        "calibrate": FLAGS,
        "bidirectional": FLAGS,
        "progress": FLAGS,
        "dtype": DTYPES,
    },
    SequenceClassifier: {
        "class_weight": ["even", 3, [1], {0: -1.0}],
        "bidirectional": FLAGS,
        "calibrate": FLAGS,
        "monitor": WORDS,
        "pooling": WORDS,
        "dropout": CHANCES,
        "steps": OPTIONAL_COUNTS,
        "batch_size": OPTIONAL_COUNTS,
        "patience": COUNTS,
    },
    SequenceRegressor: {"loss": WORDS, "monitor": WORDS},
    SequenceTagger: {"monitor": WORDS},
    AnomalyDetector: {"contamination": [*NO_NUMBERS, 0, 0.6], "kind": WORDS},
    TextTagger: {"monitor": WORDS, "word_dropout": CHANCES, "class_weight": ["even", 3], "min_count": COUNTS},
    SeasonalNaive: {"period": COUNTS},
    AutoRegression: {"order": COUNTS},
    NaiveBayes: {"pairs": FLAGS},
}


@pytest.mark.parametrize(
    ("estimator", "name"), [(kind, name) for kind, names in BAD.items() for name in names], ids=lambda x: str(x)[-25:]
)
def test_bad_arguments_are_named(estimator, name):
    for bad in BAD[estimator][name]:
        with pytest.raises((ValueError, TypeError)) as error:
            estimator(**{name: bad})
        said = str(error.value)
        assert said.startswith(f"{estimator.__name__}: {name}"), (bad, said)
        assert "expected" in said, (bad, said)


WITH_NETWORKS = exported(estimators, Estimator)


def test_every_estimator_is_asked():
    missing = {*WITH_NETWORKS} - BAD.keys()
    assert not missing, "give these an entry in BAD, with what their own arguments may not be"


@pytest.mark.parametrize("estimator", WITH_NETWORKS)
def test_a_setting_stands_in_signature_docstring_and_table(estimator):
    arguments = inspect.signature(estimator).parameters
    assert arguments.keys() == estimator.SETTINGS.keys() | {"backend", "progress", "random_state"}
    described = inspect.getdoc(estimator).partition("Parameters")[2].splitlines()
    named = {name for line in described if not line.startswith(" ") for name in line.split(", ")}
    assert arguments.keys() <= named
    assert estimator().settings.keys() == estimator.SETTINGS.keys()


@pytest.mark.parametrize("estimator", WITH_NETWORKS)
def test_numbers_of_numpy_are_numbers(estimator):
    settings = estimator(hidden=np.int32(4), learning_rate=np.float32(0.5), validation=np.float64(0.2)).settings
    assert [type(settings[name]) for name in ("hidden", "learning_rate", "validation")] == [int, float, float]
    assert json.dumps(estimator(dtype=np.dtype("float64")).settings)  # which are written to files


Y = np.sin(np.arange(40.0))


@pytest.mark.parametrize("forecaster", [Persistence(), SeasonalNaive(7), AutoRegression(2)], ids=lambda f: f.name)
def test_forecasts_check_origins_horizon_and_columns(forecaster):
    forecaster.fit(Y)
    assert forecaster.forecast(Y, [30], 2).shape == (1, 2, 1)
    assert forecaster.forecast(list(Y), np.array([30, 40], np.uint8), np.int64(2)).shape == (2, 2, 1)
    assert forecaster.forecast(Y, [], 2).shape == (0, 2, 1)
    for bad in COUNTS:
        with pytest.raises(ValueError, match="horizon is"):
            forecaster.forecast(Y, [30], bad)
    for bad in (30, [30.0], ["30"], [True], [[30]], None, [math.nan], 30.5):
        with pytest.raises((ValueError, TypeError), match="origins"):
            forecaster.forecast(Y, bad, 1)
    for bad in (["a"] * 40, np.full(40, math.nan), np.zeros((2, 2, 2)), None):
        with pytest.raises((ValueError, TypeError), match=type(forecaster).__name__):
            forecaster.forecast(bad, [2], 1)
        with pytest.raises((ValueError, TypeError), match=type(forecaster).__name__):
            forecaster.fit(bad)


def test_autoregression_knows_how_many_columns_it_was_fitted_on():
    with pytest.raises(ValueError, match=r"AR\(2\): the series has 2 columns; fitted on 1"):
        AutoRegression(2).fit(Y).forecast(np.zeros((9, 2)), [5], 1)


@pytest.mark.parametrize("bad", [30, [30.0], ["30"], [True], [[30]], None, [math.nan]], ids=str)
def test_forecaster_checks_origins(bad):
    forecaster = Forecaster(window=4, hidden=2, epochs=1).fit(Y)
    with pytest.raises((ValueError, TypeError), match="origins"):
        forecaster.forecast(Y, bad, 1)


def test_a_backtest_checks_before_anything_is_fitted():
    class Proud(Persistence):
        def fit(self, series):
            pytest.fail("fitted before the arguments were checked")

    for bad in [*COUNTS, 41]:
        with pytest.raises(ValueError, match="backtest: horizon is"):
            backtest([Proud()], Y, horizon=bad)
    for bad in [*NO_NUMBERS, 0, 0.0, 1.5, 40, 10**400, 1e300]:
        with pytest.raises(ValueError, match=r"backtest: test is"):
            backtest([Proud()], Y, test=bad)
    for bad in (Proud(), [], None, "persistence", [Proud], [Proud(), None], [7]):
        with pytest.raises((ValueError, TypeError), match="backtest: "):
            backtest(bad, Y)


def test_scores_check_the_column():
    result = backtest([Persistence()], Y)
    for bad in (1, -1, 1.0, "y", True):
        with pytest.raises(ValueError, match=r"Backtest.scores: column is"):
            result.scores(bad)


def test_split_texts_checks_the_share():
    for bad in SHARES:
        with pytest.raises(ValueError, match="split_texts: test is"):
            split_texts(["a", "b"], [0, 1], bad)


def test_a_prompt_is_a_text():
    model = CharacterModel(hidden=4, embedding=2, epochs=1, batch_size=2, chunk=4).fit("abab" * 20)
    for bad in (5, b"ab", ["a", "b"]):
        with pytest.raises(TypeError, match=r"CharacterModel\.sample: prompt is a"):
            model.sample(3, prompt=bad)


@pytest.mark.parametrize("kind", WITH_NETWORKS, ids=lambda kind: kind.__name__)
def test_every_cell_is_named(kind):
    unnamed = [name for name in cells() if f'"{name}"' not in kind.__doc__]
    assert not unnamed, f"name these in the docstring of {kind.__name__}, where it says what cell may be"


def test_every_layer_that_fits_is_a_cell_and_others_say_why_not():
    kinds = (getattr(nn, name) for name in nn.__all__)
    layers = {k.__name__.lower() for k in kinds if isinstance(k, type) and issubclass(k, nn.RecurrentLayer)}
    assert layers - {"recurrentlayer"} - cells().keys() == {"cfc", "ltc", "grud", "echostate"} == refused().keys()
    message = "SequenceClassifier: cell is 'cfc', but nn.CfC has no num_layers, which estimators ask for"
    with pytest.raises(ValueError, match=message):
        SequenceClassifier("cfc").fit(np.zeros((4, 3, 2)), [0, 1, 0, 1])
