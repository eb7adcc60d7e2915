"""Arrays in blocks: the bits of the whole array, when they are asked for."""

import numpy as np
import pytest

from xprnn import nn, no_grad
from xprnn.distributed import predict_blocks
from xprnn.estimators import SequenceClassifier, SequenceTagger

da = pytest.importorskip("dask.array", reason="needs dask")
x = np.random.default_rng(0).normal(size=(11, 6, 2)).astype("float32")  # rows, steps, columns
CUTS = ((4, 1, 6), 6, 2)


def test_layers():
    with no_grad():
        first, last = nn.LSTM(2, 5, batch_first=True, rng=0), nn.GRU(2, 5, rng=0)
        for layer, whole, cuts, rows in (
            (first, x, CUTS, 0),
            (last, np.moveaxis(x, 1, 0).copy(), (6, (4, 1, 6), 2), 1),
        ):
            layer.train()
            said = predict_blocks(layer, da.from_array(whole, chunks=cuts))
            expected = layer(whole)[0].data
            assert (said.shape, said.dtype, said.chunks[rows]) == (expected.shape, expected.dtype, (4, 1, 6))
            assert said.compute().tobytes() == expected.tobytes()
            assert layer.training


@pytest.mark.parametrize("outputs", [1, 3])
def test_one_answer_for_a_row_that_comes_second(outputs):
    """(T, B, F) to (B, K): of one row (1, 1), which says nothing of where rows are."""
    model = nn.Sequential(nn.GRU(2, 5, rng=0), nn.LastPooling(), nn.Linear(5, outputs, rng=1))
    steps = np.moveaxis(x, 1, 0).copy()
    said = predict_blocks(model, da.from_array(steps, chunks=(6, (4, 1, 6), 2)))
    assert (said.shape, said.chunks[0]) == ((11, outputs), (4, 1, 6))
    with no_grad():
        np.testing.assert_allclose(said.compute(), model(steps).data, rtol=1e-5)


@pytest.fixture(scope="module")
def fitted():
    labels = ["up" if row.sum() > 0 else "down" for row in x]
    steps = [(row[:, 0] > 0).tolist() for row in x]
    small = {"hidden": 4, "epochs": 1}
    return SequenceClassifier(**small).fit(x, labels), SequenceTagger(**small).fit(x, steps)


def test_estimators(fitted):
    classifier, tagger = fitted
    blocks = da.from_array(x, chunks=CUTS)
    for predict in (classifier.predict, classifier.predict_proba, tagger.predict, tagger.predict_proba):
        said, expected = predict_blocks(predict, blocks), np.asarray(predict(x))
        assert (said.shape, said.dtype, said.chunks[0]) == (expected.shape, expected.dtype, (4, 1, 6))
        found = said.compute()
        assert found.tobytes() == expected.tobytes()


def test_nothing_is_computed_before_it_is_asked_for():
    seen = []

    def rows(block):
        seen.append(len(block))
        return block.sum(axis=(1, 2))

    lazy = da.from_array(x, chunks=CUTS).map_blocks(lambda block: seen.append("read") or block, meta=x[:0])
    said = predict_blocks(rows, lazy)
    assert seen == [1]  # a row of zeros
    np.testing.assert_array_equal(said[:4].compute(), x[:4].sum(axis=(1, 2)))
    assert seen == [1, "read", 4]  # one of three blocks


def test_what_cannot_be_done_by_blocks():
    with pytest.raises(
        TypeError, match="predict_blocks: x is a ndarray; expected an array in blocks, as of dask.array"
    ):
        predict_blocks(len, x)
    cut = da.from_array(x, chunks=(11, 3, 2))
    with pytest.raises(
        ValueError, match=r"x is cut along axis 1 into 2 blocks; .* rows, along axis 0: x.rechunk\(\{1: -1\}\)"
    ):
        predict_blocks(nn.LSTM(2, 5, batch_first=True), cut)
    with pytest.raises(ValueError, match="x is cut along axis 0 into 2 blocks; expected whole ones, .* along axis 1"):
        predict_blocks(nn.Sequential(nn.LSTM(2, 5), nn.Linear(5, 1)), da.from_array(x, chunks=(6, 6, 2)))
    with pytest.raises(ValueError, match=r"x has shape \(11, 6, 2\); expected rows along axis 3"):
        predict_blocks(np.sin, da.from_array(x), axis=3)
    with pytest.raises(ValueError, match=r"of one row the function gives shape \(\); expected one row"):
        predict_blocks(np.sum, da.from_array(x))
    for said in ([1.0], None, 1.0):
        with pytest.raises(TypeError, match=f"the function gives a {type(said).__name__}; expected an array"):
            predict_blocks(lambda block, said=said: said, da.from_array(x))
    with pytest.raises(ValueError, match=r"block of shape \([46], 6, 2\) the .* \(1, 6, 2\); expected [46] rows"):
        predict_blocks(lambda block: block[:1], da.from_array(x, chunks=CUTS)).compute()
