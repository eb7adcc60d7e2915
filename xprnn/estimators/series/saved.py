"""The file of a forecaster: what it holds, and what the ones of before held."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xprnn.estimators.estimator import TRAINING
from xprnn.estimators.series import saved_dates
from xprnn.estimators.series.frame import Scale, Series
from xprnn.estimators.series.kind import Kind
from xprnn.estimators.series.linear import Moments
from xprnn.estimators.series.member import Common
from xprnn.estimators.series.model import Model
from xprnn.estimators.series.plans import HARMONICS, MEMBERS, POWERS, Plan
from xprnn.estimators.series.transforms import Transform
from xprnn.storage import HostArrays, read_tensors

Host = np.ndarray[Any, Any]
VERSION = 2
METADATA = {"plans": list, "keys": list, "several": bool, "named": bool, "vector": bool, "gaps": bool}
ARRAYS = {
    "recent": 3,
    "recent.known": 3,
    "recent.past": 3,
    "recent.future": 3,
    "start": 1,
    "static": 2,
    "covariates": 2,
    "scales": 4,
    "moments": 1,
    "residuals": 4,
    "errors": 3,
    "errors.known": 3,
    "unit": 2,
}
ADDED = {"transforms": "none", "members": 1, "distribution": "errors"}
"""Settings that files of before had not, as they were then."""
BEFORE: dict[str, Any] = {
    "settings": (*TRAINING, "window", "horizon", "strategy", "periods", "batch_size", "patience"),
    "metadata": {"steps": int, "vector": bool},
    "arrays": {"recent": 2, "scaler.mean": 1, "scaler.std": 1},
}


@dataclass(frozen=True)
class Found:
    """What a file says, but for the networks."""

    plans: tuple[Plan, ...]
    scales: tuple[Scale, ...]
    common: Common
    moments: tuple[Moments, ...]
    recent: tuple[Series, ...]
    kind: Kind
    residuals: tuple[Host, ...]
    errors: Host
    unit: Host

    @property
    def columns(self) -> int:
        return self.recent[0].values.shape[1]

    @property
    def window(self) -> int:
        return len(self.recent[0])


def common_of(series: Sequence[Series], static: Host, periods: Sequence[float]) -> Common:
    """What members share, of the series that they are fitted to."""
    parts = [np.concatenate(rows) for rows in zip(*((s.future, s.past) for s in series), strict=True)]
    means = [part.mean(axis=0) for part in (*parts, static) if part.size]
    stds = [part.std(axis=0) for part in (*parts, static) if part.size]
    covariates = tuple(np.concatenate(found) if found else np.zeros(0) for found in (means, stds))
    gaps = any(bool(np.isnan(each.values).any()) for each in series)
    return Common(tuple(periods), covariates, static, gaps)  # type: ignore[arg-type]


def described(
    model: Model, common: Common, recent: Sequence[Series], kind: Kind
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arrays and the metadata of a file."""
    values = np.stack([each.values for each in recent])
    window = values.shape[1]
    rows = [[part if part.size else np.zeros((window, 0)) for part in (s.past, s.future)] for s in recent]
    arrays = {
        "recent": np.nan_to_num(values, nan=0.0),
        "recent.known": (~np.isnan(values)).astype(np.float64),
        "recent.past": np.stack([past for past, _ in rows]),
        "recent.future": np.stack([future for _, future in rows]),
        "start": np.array([float(each.start) for each in recent]),
        "static": common.static,
        "covariates": np.stack(common.covariates),
        "scales": np.stack([np.stack([m.scale.mean, m.scale.std, m.scale.floor]) for m in model.members]),
        "moments": np.concatenate([a.reshape(-1) for m in model.members for a in vars(m.moments).values()]).astype(
            float
        ),
        "residuals": np.stack(model.residuals),
        "errors": np.nan_to_num(model.errors, nan=0.0),
        "errors.known": (~np.isnan(model.errors)).astype(np.float64),
        "unit": model.unit,
    }
    if any(each.before is not None for each in recent):
        nothing = (np.full(values.shape[2], np.nan), np.ones(values.shape[2]))
        before, ago = (np.stack(parts) for parts in zip(*(each.before or nothing for each in recent), strict=True))
        arrays["recent.before"] = np.stack([np.nan_to_num(before, nan=0.0), ~np.isnan(before), ago], axis=1)
    keys = {"keys": list(kind.keys or ()), "several": kind.keys is not None, "named": kind.named, "vector": kind.vector}
    keys["columns"] = {name: list(names) for name, names in kind.names.items()}
    dates, zones = saved_dates.described(kind)
    plans = [m.plan.plain() for m in model.members]
    return arrays | dates, {"plans": plans, "gaps": common.gaps, **keys, **zones}


def restored(arrays: HostArrays, metadata: Mapping[str, Any], settings: Mapping[str, Any]) -> Found:
    """What a file says, looked over. Raises ValueError for what does not fit together."""
    count, window, columns = arrays["recent"].shape
    horizon, members = settings["horizon"], len(metadata["plans"])
    past, future = (arrays[f"recent.{name}"].shape[2] for name in ("past", "future"))
    many, ahead = arrays["residuals"].shape[1], arrays["errors"].shape[1]
    beside = future + past + arrays["static"].shape[1]
    for name, shape in {
        "recent.known": (count, window, columns),
        "recent.past": (count, window, past),
        "recent.future": (count, window, future),
        "start": (count,),
        "static": (count, arrays["static"].shape[1]),
        "covariates": (2, beside),
        "scales": (members, 3, count, columns),
        "residuals": (members, many, horizon, columns),
        "errors": (len(arrays["errors"]), ahead, columns),
        "errors.known": (len(arrays["errors"]), ahead, columns),
        "unit": (count, columns),
    }.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} has shape {arrays[name].shape}; expected {shape}")
    if not count or not columns or not many or window != (settings["window"] or window) or not window:
        raise ValueError(f"recent has shape {arrays['recent'].shape} and residuals {many} rows; expected one window")
    plans = tuple(_plan(given, window) for given in metadata["plans"])
    most = settings["members"] or MEMBERS
    if not 1 <= members <= most:
        raise ValueError(f"plans are {members}; expected 1 to {most}, one a member")
    start, scales = arrays["start"], arrays["scales"]
    if (start < 0).any() or (start != np.floor(start)).any() or (start > sys.maxsize // 4).any():
        raise ValueError(f"start has {start.tolist()}; expected numbers of steps")
    if settings["ahead"] > (known := start.max() + window):
        raise ValueError(f"horizon is {settings['ahead']}, but {known:g} steps are known; expected at most as many")
    if (scales[:, 1] < 0.0).any() or (scales[:, 2] <= 0.0).any() or (arrays["unit"] <= 0.0).any():
        raise ValueError("scales or unit have deviations below 0")
    if (arrays["covariates"][1:] < 0.0).any():
        raise ValueError("covariates has deviations below 0")
    common = Common(
        tuple(settings["periods"]),
        (arrays["covariates"][0], arrays["covariates"][1]),
        arrays["static"],
        metadata["gaps"],
    )
    values, errors = (_where_known(name, arrays) for name in ("recent", "errors"))
    parts = zip(values, arrays["recent.past"], arrays["recent.future"], start.tolist(), strict=True)
    recent = tuple(
        Series(rows, p, f, int(first), before)
        for (rows, p, f, first), before in zip(parts, _before(arrays, count, columns), strict=True)
    )
    kind = _kind(metadata, count, {"steps": columns, "past": past, "future": future})
    kind = saved_dates.restored(kind, arrays, metadata, count)
    each = tuple(Scale(*scale) for scale in scales)
    moments = _moments(arrays["moments"], plans, common, columns, horizon)
    return Found(plans, each, common, moments, recent, kind, tuple(arrays["residuals"]), errors, arrays["unit"])


def _before(arrays: HostArrays, count: int, columns: int) -> list[tuple[Host, Host] | None]:
    """What came before the missing values with which series begin (N, 3, F): values, whether there were, how long ago.

    Files lack it where nothing is missing there, and those of before 2026-12.
    """
    if "recent.before" not in arrays:
        return [None] * count
    before = arrays["recent.before"]
    if before.shape != (count, 3, columns):
        raise ValueError(f"recent.before has shape {before.shape}; expected {(count, 3, columns)}")
    value, known, ago = np.moveaxis(before, 1, 0)
    if not np.isin(known, (0.0, 1.0)).all() or (ago < 1.0).any() or (ago > sys.maxsize // 4).any():
        raise ValueError("recent.before has others than values, 0 or 1, and numbers of steps")
    return list(zip(np.where(known == 1.0, value, np.nan), np.floor(ago).astype(np.int64), strict=True))


def _where_known(name: str, arrays: HostArrays) -> Host:
    """Numbers, NaN where another array is 0. Raises ValueError for others than 0 and 1 there."""
    known = arrays[f"{name}.known"]
    if not np.isin(known, (0.0, 1.0)).all():
        raise ValueError(f"{name}.known has others than 0 and 1")
    return np.where(known == 1.0, arrays[name], np.nan)


def _moments(flat: Host, plans: Sequence[Plan], common: Common, columns: int, horizon: int) -> tuple[Moments, ...]:
    """Those of each plan, one after the other. Raises ValueError where they are not as many numbers."""
    inputs = [plan.lags * (columns if plan.joint else 1) + common.extras(plan, columns) for plan in plans]
    shapes = [shape for each in inputs for shape in Moments.shapes(columns, each, horizon)]
    sizes = [math.prod(shape) for shape in shapes]
    if len(flat) != sum(sizes):
        raise ValueError(f"moments has {len(flat)} numbers; expected {sum(sizes)}")
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    each = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
    return tuple(Moments(*each[k : k + 6]) for k in range(0, len(each), 6))


def _plan(given: Any, window: int) -> Plan:
    """A plan from its numbers. Raises ValueError."""
    if not isinstance(given, list) or len(given) != 6 or not all(type(number) in (int, float) for number in given):
        raise ValueError(f"a plan is {given!r}; expected six numbers")
    power, *whole = given
    differences, season, lags, joint, waves = whole
    fits = power in POWERS and differences in (0, 1) and joint in (0, 1) and 1 <= waves <= HARMONICS
    if not fits or not all(type(number) is int for number in whole) or min(season, lags) < 0:
        raise ValueError(f"a plan is {given!r}; expected a power, differences, a season, lags and waves")
    plan = Plan(Transform(float(power), differences, season), lags, bool(joint), waves)
    if plan.window > window:
        raise ValueError(f"a plan needs {plan.window} steps; expected at most {window}, the window")
    return plan


def _kind(metadata: Mapping[str, Any], count: int, widths: Mapping[str, int]) -> Kind:
    columns = widths["steps"]
    keys, several, named, vector = (metadata[name] for name in ("keys", "several", "named", "vector"))
    if len(keys) != (count if several else 0) or (not several and count != 1) or (vector and columns > 1):
        raise ValueError(f"keys are {len(keys)} of {count} series of {columns} columns, and vector is {vector}")
    if not all(type(key) in (int, str) for key in keys) or len(set(keys)) != len(keys):
        raise ValueError("keys are not names or whole numbers, each another")
    called = metadata.get("columns", {})  # which files of before 2026-12 lack
    if not isinstance(called, dict):
        raise ValueError(f"columns is a {type(called).__name__}; expected a dict of names")
    for name, names in called.items():
        if (
            not isinstance(names, list)
            or len(names) not in (0, widths.get(name, 0))
            or not all(isinstance(each, str) for each in names)
        ):
            raise ValueError(f"columns of {name} are {names!r}; expected {widths.get(name, 0)} names")
    called = {name: tuple(names) for name, names in called.items()}
    return Kind(tuple(keys) if several else None, named, vector, (), called)


def is_of_before(path: str | os.PathLike[str]) -> bool:
    """Whether a file is of version 1: of one series, a network without autoregression, on differences to the last step.

    Raises what :func:`read_tensors` does.
    """
    _, found = read_tensors(path)
    return found.get("kind") == "forecaster" and found.get("version") == 1


def brought_up(
    arrays: HostArrays, metadata: Mapping[str, Any]
) -> tuple[dict[str, Any], HostArrays, dict[str, Any], dict[str, Host]]:
    """The settings, arrays, metadata and weights of today for a file of version 1, which says the same.

    Persistence is an autoregression: the last step has weight 1. Nothing is known of its errors.
    """
    settings, recent = metadata["settings"] | ADDED, arrays["recent"]
    window, columns = recent.shape
    steps, horizon = metadata["steps"], settings["horizon"]
    for name in ("scaler.mean", "scaler.std"):
        if len(arrays[name]) != columns:
            raise ValueError(f"{name} has {len(arrays[name])} numbers; expected {columns}, one a column")
    if settings["window"] != window or not window <= steps <= sys.maxsize // 4:
        raise ValueError(f"recent has {window} rows of {steps} steps; expected one window")
    weights = {f"members.0.{n.removeprefix('network.')}": a for n, a in arrays.items() if n.startswith("network.")}
    extras = 2 * len(settings["periods"])
    dtype = settings["dtype"]
    said = len(weights["members.0.head.bias"])
    if said != horizon * columns:
        raise ValueError(f"head.bias has {said} numbers; expected {horizon * columns}")
    persistence = np.concatenate([np.tile(np.eye(columns), (horizon, 1)), np.zeros((said, extras))], axis=1)
    weights |= {"members.0.linear.weight": persistence.astype(dtype), "members.0.linear.bias": np.zeros(said, dtype)}
    inputs = 1 + extras
    moments = sum(math.prod(shape) for shape in Moments.shapes(columns, inputs, horizon))
    scale = np.stack([arrays["scaler.mean"], arrays["scaler.std"], np.ones(columns)])
    found = {
        "recent": recent[None],
        "recent.known": np.ones((1, window, columns)),
        "recent.past": np.zeros((1, window, 0)),
        "recent.future": np.zeros((1, window, 0)),
        "start": np.array([float(steps - window)]),
        "static": np.zeros((1, 0)),
        "covariates": np.zeros((2, 0)),
        "scales": scale[None, :, None],
        "moments": np.zeros(moments),
        "residuals": np.zeros((1, 1, horizon, columns)),
        "errors": np.zeros((0, horizon, columns)),
        "errors.known": np.zeros((0, horizon, columns)),
        "unit": np.ones((1, columns)),
    }
    kind = {"keys": [], "several": False, "named": False, "vector": metadata["vector"], "gaps": False}
    return settings, found, {"plans": [Plan(Transform(), 1).plain()], **kind}, weights
