"""Writes keras.zip with Keras 3.15: KERAS_BACKEND=torch python make_keras.py. The tests need no Keras."""

import io
import json
import sys
import tempfile
import zipfile
from pathlib import Path

import keras
import numpy as np
from keras import layers as k

keras.utils.set_random_seed(0)
MODELS = {
    "words": [
        k.Input((None,), dtype="int32"),
        k.Embedding(7, 3, mask_zero=True),
        k.Bidirectional(k.LSTM(2, return_sequences=True)),
        k.LayerNormalization(),
        k.Dropout(0.5),
        k.GRU(3, return_sequences=True, reset_after=False),
        k.Bidirectional(k.SimpleRNN(2, activation="relu"), merge_mode="sum"),
        k.Dense(3, activation="softmax"),
    ],
    "signal": [
        k.Input((None, 2)),
        k.LSTM(3, return_sequences=True),
        k.LSTM(4, return_sequences=True, use_bias=False),
        k.TimeDistributed(k.Dense(3, activation="tanh")),
        k.GRU(3, return_sequences=True),
        k.Activation("sigmoid"),
        k.TimeDistributed(k.Dense(1, use_bias=False)),
    ],
    "last": [
        k.Input((None, 2)),
        k.Masking(0.5),
        k.Bidirectional(k.GRU(2, return_sequences=True), merge_mode="ave"),
        k.Bidirectional(k.LSTM(2), merge_mode="concat"),
        k.LayerNormalization(center=False, epsilon=0.1),
        k.Dense(2, activation="relu"),
    ],
    "masked": [
        k.Input((None,), dtype="int32"),
        k.Embedding(7, 2, mask_zero=True),
        k.Bidirectional(k.GRU(2, return_sequences=True), merge_mode="mul"),
        k.SimpleRNN(2, return_sequences=True),
        k.Bidirectional(k.LSTM(2, return_sequences=True)),
    ],
}


def functional(layers):
    x = first = layers[0]
    for layer in layers[1:]:
        x = layer(x)
    return keras.Model(first, x)


def inputs(name, draws):
    if name in ("words", "masked"):
        return np.array([[1, 2, 3, 0, 0], [4, 0, 5, 6, 0], [0, 0, 0, 0, 0], [6, 5, 4, 3, 2]], "int32")
    x = draws.uniform(-1, 1, (3, 6, 2)).astype("float32")
    if name == "last":
        x[0, 3:], x[1, :2] = 0.5, 0.5
    return x


def main(target):
    draws, files = np.random.default_rng(0), {}
    with tempfile.TemporaryDirectory() as folder:
        for name, layers in MODELS.items():
            model = functional(layers) if name == "last" else keras.Sequential(layers)
            for layer in model.layers:
                layer.set_weights([draws.uniform(-0.9, 0.9, w.shape).astype("float32") for w in layer.get_weights()])
            x = inputs(name, draws)
            y = keras.ops.convert_to_numpy(model(x))
            files[f"{name}.json"] = json.dumps({"x": x.tolist(), "y": y.tolist()}).encode()
            for ending in (".keras", ".h5", ".weights.h5"):
                path = Path(folder) / f"{name}{ending}"
                model.save_weights(path) if "weights" in ending else model.save(path)
                files[path.name] = path.read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    target.write_bytes(packed.getvalue())


if __name__ == "__main__":
    main(Path(*sys.argv[1:]) if sys.argv[1:] else Path(__file__).parent / "keras.zip")
