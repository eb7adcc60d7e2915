"""Files of tensors and checkpoints that were written before the first release are read, and training goes on."""

from pathlib import Path

import numpy as np
import pytest
from helpers import assert_close

from xprnn import nn
from xprnn.train import Adam, fit, mse, read_tensors

SAVED = Path(__file__).parent / "saved"


def test_tensors():
    arrays, metadata = read_tensors(SAVED / "tensors.safetensors")
    expected = {
        "half": np.array([0.5, -2.0], dtype="float16"),
        "single": np.arange(3, dtype="float32"),
        "double": np.array(0.1),
        "bool": np.array([[True, False]]),
        "int8": np.array([-3], dtype="int8"),
        "uint64": np.array([2**63], dtype="uint64"),
        "empty": np.zeros((0, 5)),
    }
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)
    assert metadata == {"text": "ä", "list": [1, None, 0.25, True], "nan": {"deep": []}}


def test_fit_goes_on_from_a_checkpoint():
    """Two of four epochs, with dropout: the random generator goes on too."""
    model = nn.Sequential(nn.Dropout(0.5, rng=7), nn.Linear(3, 2, rng=7))
    batches = list(np.linspace(-1, 1, 24, dtype="float32").reshape(4, 2, 3))

    def loss(model, batch):
        return mse(model(batch), np.zeros((2, 2), dtype="float32"))

    history = fit(
        model,
        batches,
        loss,
        Adam(model.parameters(), lr=0.01),
        epochs=4,
        progress=False,
        resume=SAVED / "fit.safetensors",
    )
    expected, metadata = read_tensors(SAVED / "fit_goes_on.safetensors")
    assert list(history["loss"]) == pytest.approx(metadata["loss"], rel=1e-5)
    for name, array in model.state_dict().items():
        assert_close(array, expected[name], 1e-5)
