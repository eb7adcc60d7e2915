"""An amplifier learned by ear, and written for plugins: as a .nam file, as RTNeural's JSON, and as one file of C.

The amplifier is made up, of what makes valve amplifiers hard: a tanh whose working point is pushed aside by how loud it
has lately been (25 ms), and a low-pass behind it. It is nonlinear and it remembers. An LSTM with 16 units hears dry
guitar and what came out. The measure is the error-to-signal ratio on notes that it never heard: the energy of the
error by that of the sound. The files are read back, the C is compiled, and all of them play the same.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import COLOURS, example, plot, save, table

import xprnn
from xprnn import nn, ops
from xprnn.data import Batches
from xprnn.interop import c, nam, rtneural
from xprnn.train import Adam, Cosine, fit

RATE, HIDDEN, SETTLE = 16_000, 16, 64  # samples a second; units; samples at whose errors training does not look
Array = np.ndarray


def guitar(count: int, samples: int, rng: int) -> Array:
    """Dry notes (T, B, 1): a few plucks each, of overtones that die away, high ones sooner, of any loudness."""
    draws, t = np.random.default_rng(rng), np.arange(samples)[:, None] / RATE
    sound = np.zeros((samples, count))
    for _ in range(3):
        start, pitch = draws.uniform(0, 0.7 * samples / RATE, count), 82.0 * 2 ** draws.uniform(0, 2.5, count)
        since = np.maximum(t - start, 0.0)
        for k in range(1, 9):
            fading = draws.uniform(0.1, 0.5, count) / k * np.exp(-3.0 * k * since)
            sound += fading * np.sin(2 * np.pi * k * pitch * since)
    return (sound / np.abs(sound).max() * 10 ** draws.uniform(-1.0, 0.0, count))[..., None].astype(np.float32)


def amplifier(x: Array, drive: float = 15.0, sag: float = 10.0) -> Array:
    """What comes out for x (T, B, 1), from silence on."""
    slow, dark = np.exp(-1 / (0.025 * RATE)), np.exp(-2 * np.pi * 2500 / RATE)
    loudness = low = np.zeros(x.shape[1:])
    y = np.empty_like(x)
    for t, now in enumerate(x.astype(np.float64)):
        loudness = slow * loudness + (1 - slow) * np.abs(now)
        aside = 0.2 + sag * loudness
        low = dark * low + (1 - dark) * (np.tanh(drive * now - aside) + np.tanh(aside))
        y[t] = low
    return y


def error_to_signal(y: Array, target: Array) -> float:
    return float(np.sum((y - target) ** 2, dtype=np.float64) / np.sum(target**2, dtype=np.float64))


def in_c(source: Path, x: Array) -> Array | None:
    """What the file of C makes of x (T, 1); None where nothing compiles it."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "amplifier.so"
        subprocess.run([compiler, "-std=c99", "-O2", "-shared", "-fPIC", source, "-o", library], check=True)
        functions, state, y = ctypes.CDLL(str(library)), ctypes.create_string_buffer(8 * HIDDEN), np.empty_like(x)
        functions.amplifier_init(state)
        functions.amplifier_block(state, *(a.ctypes.data_as(ctypes.c_void_p) for a in (x, y)), len(x))
        return y


def learn(quick: bool) -> tuple[nn.LSTM, nn.Linear, list[float]]:
    """The layers, trained, and the error-to-signal ratio of the training batches after each epoch."""
    count, samples, epochs = (32, 128, 1) if quick else (512, 768, 60)
    dry = guitar(count, samples, rng=0)
    home = xprnn.default_backend()
    model = nn.Sequential(nn.LSTM(1, HIDDEN, forget_bias=1.0, rng=0), nn.Linear(HIDDEN, 1, rng=0))
    optimizer = Adam(model.parameters(), lr=1e-2)

    def loss(model: nn.Module, batch: tuple) -> xprnn.Tensor:
        x, target = batch
        heard = target[SETTLE:, ...]
        return ops.sum(ops.square(model(x)[SETTLE:] - heard)) / ops.sum(ops.square(heard))

    history = fit(
        model,
        Batches(home.asarray(dry), home.asarray(amplifier(dry)), batch_size=16, shuffle=True, axis=1, rng=1),
        loss,
        optimizer,
        epochs=epochs,
        clip_norm=1.0,
        schedule=Cosine(optimizer, total=epochs),
        progress=False,
    )
    lstm, head = model.to("numpy")
    return lstm, head, history["loss"]


@example
def main(quick: bool, output: Path) -> None:
    """Learn an amplifier, write it in three formats, and play those."""
    lstm, head, losses = learn(quick)
    output.mkdir(parents=True, exist_ok=True)
    dry = guitar(8, RATE // (64 if quick else 4), rng=99).swapaxes(0, 1).reshape(-1, 1)  # one after the other
    wet = amplifier(dry)
    with xprnn.use_backend("numpy"):
        played = lstm.stream(batch=None, head=head).block(dry)
        capture = nam.Capture(lstm, head, sample_rate=RATE, metadata={"name": "made up", "gear_type": "amp"})
        files = {kind: output / f"amplifier.{kind}" for kind in ("nam", "json", "c")}
        nam.save(capture, files["nam"])
        rtneural.save(capture.model, files["json"])
        c.export(capture, files["c"], name="amplifier")
        ways: dict[str, tuple[str, Callable[[], Array | None]]] = {
            "nam": ("the .nam file", lambda: nam.load(files["nam"]).stream().block(dry)),
            "json": ("RTNeural's JSON", lambda: rtneural.load(files["json"])(dry).numpy()),
            "c": ("C, compiled", lambda: in_c(files["c"], dry)),
        }
        gain = float(np.sum(dry * wet) / np.sum(dry * dry))
        rows = [["a gain alone", "-", error_to_signal(gain * dry, wet), "-"]]
        rows.append(["xprnn, streamed", "-", error_to_signal(played, wet), "-"])
        for kind, (name, play) in ways.items():
            y = play()
            size = f"{files[kind].stat().st_size / 1000:.1f} kB"
            if y is None:
                rows.append([f"{name} (no compiler here)", size, "-", "-"])
            else:
                rows.append([name, size, error_to_signal(y, wet), f"{np.abs(y - played).max():.1e}"])
    table(rows, ("played by", "size", "error to signal", "differs by"))

    figure, (above, below) = plot(2, 1, size=(10, 6.5))
    loudest = int(np.argmax(np.abs(wet[: -RATE // 50])))
    shown = slice(loudest, loudest + RATE // 50)
    at = np.arange(len(dry))[shown] / RATE
    for y, label, colour in ((dry, "dry", COLOURS[7]), (wet, "amplifier", COLOURS[1]), (played, "LSTM", COLOURS[0])):
        above.plot(at, y[shown, 0], label=label, color=colour, linewidth=3 if label == "amplifier" else 1.3)
    above.set(title="Notes that it never heard", xlabel="second")
    below.semilogy(np.arange(1, len(losses) + 1), losses, color=COLOURS[0])
    below.set(title="Error to signal while training", xlabel="epoch")
    for axes in (above, below):
        axes.grid(alpha=0.25)
    above.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
    save(figure, output, "amplifier")


if __name__ == "__main__":
    main()
