"""Estimators that several ranks fit together: one model, that of one rank to rounding."""

import pickle
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np
import pytest

from xprnn.distributed import in_threads
from xprnn.estimators import (
    AnomalyDetector,
    CharacterModel,
    Forecaster,
    SequenceClassifier,
    SequenceRegressor,
    SequenceTagger,
    TextClassifier,
    TextTagger,
)
from xprnn.train import Checkpoint

draws = np.random.default_rng(0)
rows = [draws.normal(size=(int(n), 2)) for n in draws.integers(4, 7, 24)]
labels = ["up" if row.sum() > 0 else "down" for row in rows]
words = [["good" if row[0, 0] > 0 else "bad", "film"] for row in rows]
small = {"hidden": 4, "epochs": 2, "dtype": "float64"}
quiet = {**small, "dropout": 0.0}  # ranks draw other masks

FITS = {
    "classifier": (SequenceClassifier(**quiet), (rows, labels), lambda e: e.predict_proba(rows)),
    "regressor": (SequenceRegressor(**quiet), (rows, [row.sum() for row in rows]), lambda e: e.predict(rows)),
    "tagger": (
        SequenceTagger(**quiet),
        (rows, [(row[:, 0] > 0).tolist() for row in rows]),
        lambda e: e.predict_proba(rows),
    ),
    "detector": (AnomalyDetector(**small), (rows,), lambda e: e.score_samples(rows)),
    "texts": (
        TextClassifier(**quiet, min_count=1, word_dropout=0.0),
        ([" ".join(each) for each in words], labels),
        lambda e: e.predict_proba(["good film"]),
    ),
    "tokens": (
        TextTagger(**quiet, min_count=1, word_dropout=0.0),
        (words, [["X", "Y"]] * len(words)),
        lambda e: e.predict_proba(words),
    ),
    "characters": (
        CharacterModel(**small, batch_size=5, chunk=8),
        ("the quick brown fox jumps over the lazy dog " * 8,),
        lambda e: e.bits_per_character("the lazy fox"),
    ),
    "forecaster": (
        Forecaster(**small, window=6, members=2),
        (np.sin(np.arange(80.0)) + 0.1 * draws.normal(size=80),),
        lambda e: e.predict(4),
    ),
}


def flat(answer):
    return np.concatenate([np.ravel(part) for part in answer]) if isinstance(answer, list) else np.ravel(answer)


@pytest.mark.parametrize("name", FITS)
def test_ranks_fit_one_estimator(name):
    estimator, data, ask = FITS[name]
    settings = {key: value for key, value in estimator.settings.items() if key != "seed"}

    def fitted(ranks=None):
        return type(estimator)(**settings, seed=0 if ranks is None else ranks.rank).fit(*data, communicator=ranks)

    alone = fitted()
    found = in_threads(fitted, 2)
    asked = [flat(ask(each)) for each in (*found, alone)]
    assert asked[0].tobytes() == asked[1].tobytes()
    np.testing.assert_allclose(asked[0], asked[2], rtol=1e-6)  # a temperature is looked for to 1e-8
    assert [each.training["loss"] for each in found] == [found[0].training["loss"]] * 2
    assert found[0].training["loss"] == pytest.approx(alone.training["loss"], rel=1e-9)


def test_what_cannot_be_shared():
    for estimator, data, _ in FITS.values():
        with pytest.raises(TypeError, match=rf"{type(estimator).__name__}.fit: communicator is a int; expected one of"):
            estimator.fit(*data, communicator=3)
    with pytest.raises(
        ValueError, match="CharacterModel: batch_size is 1; expected at least 2, a stream for each rank"
    ):
        in_threads(lambda ranks: CharacterModel(**small, batch_size=1).fit("to be or not " * 9, communicator=ranks), 2)


def test_a_checkpoint_is_gone_on_from(tmp_path):
    def fitted(epochs, *callbacks, ranks=None):
        model = SequenceClassifier(hidden=4, epochs=epochs, dropout=0.5)
        return model.fit(rows, labels, callbacks=callbacks, communicator=ranks).predict_proba(rows).tobytes()

    path = Checkpoint(tmp_path / "run.safetensors", resume=True)
    fitted(1, path)
    assert fitted(3, path) == fitted(3)
    assert fitted(3, path) == fitted(3)  # nothing is left to do
    shared = Checkpoint(tmp_path / "shared.safetensors", resume=True)
    in_threads(lambda ranks: fitted(1, shared, ranks=ranks), 2)
    resumed = in_threads(lambda ranks: fitted(3, shared, ranks=ranks), 2)
    assert resumed == in_threads(lambda ranks: fitted(3, ranks=ranks), 2)
    with pytest.raises(ValueError, match="Forecaster.fit: a Checkpoint that resumes is of one training; expected none"):
        Forecaster().fit(np.arange(50.0), callbacks=[path])


class Sends(Executor):
    """Does work as another process would, on copies of it."""

    def submit(self, function, /, *arguments):
        future = Future()
        function, arguments = pickle.loads(pickle.dumps((function, arguments)))
        future.set_result(pickle.loads(pickle.dumps(function(*arguments))))
        return future


@pytest.mark.parametrize("executor", [Sends(), ThreadPoolExecutor(2)], ids=["sent", "threads"])
def test_members_are_learned_side_by_side(executor):
    estimator, data, ask = FITS["forecaster"]
    alone = type(estimator)(**estimator.settings).fit(*data)
    found = type(estimator)(**estimator.settings).fit(*data, executor=executor)
    assert ask(found).tobytes() == ask(alone).tobytes()
    assert [{**epoch, "seconds": 0} for epoch in found.training.epochs] == [
        {**epoch, "seconds": 0} for epoch in alone.training.epochs
    ]


def test_members_go_one_way_or_the_other():
    forecaster = FITS["forecaster"][0]
    with pytest.raises(TypeError, match="Forecaster.fit: executor is a int; expected a concurrent.futures.Executor"):
        forecaster.fit(np.arange(60.0), executor=2)
    with pytest.raises(ValueError, match="Forecaster.fit: executor and communicator are both given; expected at most"):
        in_threads(lambda ranks: forecaster.fit(np.arange(60.0), executor=Sends(), communicator=ranks), 2)
