"""What stands behind the Forecaster: how its arguments are checked, and its file."""

from __future__ import annotations

import math
import os
import sys
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import numpy as np

from xprnn.arguments import real_number, size
from xprnn.data.series import as_series, check_origins, rows_of_series
from xprnn.data.table_form import TableForm
from xprnn.data.tables import is_table
from xprnn.estimators.estimator import Estimator
from xprnn.estimators.model_file import model_file
from xprnn.estimators.series import saved
from xprnn.estimators.series.conformal import INSIDE
from xprnn.estimators.series.distributions import DISTRIBUTIONS
from xprnn.estimators.series.frame import Series
from xprnn.estimators.series.kind import Kind, covariates
from xprnn.estimators.series.member import Common, Member, sizes_of
from xprnn.estimators.series.model import Model
from xprnn.estimators.series.named import Names
from xprnn.estimators.series.network import ForecastNetwork, Members
from xprnn.estimators.series.panel import Panel, dates_of_rows
from xprnn.randomness import Rng
from xprnn.storage import HostArrays, ModelFileError

Host = np.ndarray[Any, Any]
Self = TypeVar("Self", bound="SeriesEstimator")
ABOVE_ONE = (math.nextafter(1.0, 2.0), sys.float_info.max)
LEAST_LEARNED = 2  # origins: one alone has no deviation to scale by


def periods_of(owner: str, name: str, periods: Any) -> list[float]:
    """Lengths of seasons. Raises ValueError."""
    if not isinstance(periods, (list, tuple)):
        raise ValueError(f"{owner}: {name} are {periods!r}; expected a list of lengths above 1 step")
    return [
        real_number(owner, f"{name}[{k}]", period, "a length above 1 step", *ABOVE_ONE)
        for k, period in enumerate(periods)
    ]


def joined(rows: Host, more: Host) -> Host:
    """Rows of covariates and those that follow; none where there are no covariates."""
    return np.concatenate([rows, more]) if rows.size else rows


class SeriesEstimator(Estimator):
    """A model of series, the ends of those that it goes on from, and how they were given."""

    KIND = "forecaster"
    VERSION = saved.VERSION
    METADATA: ClassVar = saved.METADATA
    ARRAYS: ClassVar = saved.ARRAYS

    _model: Model
    _common: Common
    _recent: tuple[Series, ...]
    _kind: Kind
    _names: Names | None = None

    @property
    def _options(self) -> dict[str, Any]:
        """Settings as learning has them: ``horizon`` steps are said at once, and errors known over ``ahead``."""
        ahead = self.settings["horizon"]
        return self.settings | {"horizon": ahead if self.settings["strategy"] == "direct" else 1, "ahead": ahead}

    def _by_name(self, owner: str, series: Any, past: Any, future: Any, one: bool = False) -> tuple[Any, Any, Any]:
        """The parts of a table whose columns are known by their names, as they were fitted; others as they are given.

        ``one`` of several series alone. Raises TypeError and ValueError.
        """
        if self._names is None or not is_table(series):
            return series, past, future
        for name, rows in (("past", past), ("future", future)):
            if rows is not None:
                raise TypeError(
                    f"{owner}: {name} was given; expected it in the table, whose columns were fitted by names"
                )
        return (self._names.of_one(series) if one else self._names).given(owner, series)

    def _check_columns(self, owner: str, values: Host) -> None:
        columns = self._fitted(self._network).columns
        if values.shape[1] != columns:
            raise ValueError(f"{owner}: the series has {values.shape[1]} columns; fitted on {columns}")

    def _require_counts(self, owner: str, kind: Kind, series: Sequence[Host]) -> None:
        """Raise ValueError, naming the series and the row, for others than counts where these are learned."""
        if not DISTRIBUTIONS[self.settings["distribution"]].counts:
            return
        for k, values in enumerate(series):
            wrong = np.argwhere(~np.isnan(values) & ((values < 0.0) | (values != np.floor(values))))
            for row, column in wrong[:1]:
                raise ValueError(
                    f"{kind.shown(owner, k)}: row {row}, column {column} is {values[row, column]:g}; expected a count, "
                    "0, 1, 2, ..., of which distribution='negative_binomial' is"
                )

    def _steps(self, owner: str, horizon: int | None) -> int:
        """How many steps ahead. Raises ValueError for more than the direct strategy can say."""
        options = self.settings
        horizon = size(owner, "horizon", options["horizon"] if horizon is None else horizon)
        if options["strategy"] == "direct" and horizon > options["horizon"]:
            raise ValueError(f"{owner}: horizon is {horizon}; expected 1 to {options['horizon']}")
        return horizon

    def _covariates(
        self,
        owner: str,
        past: Any,
        future: Any,
        steps: Sequence[int],
        ahead: Sequence[int],
        dates: Sequence[Any],
        kind: Kind | None = None,
    ) -> tuple[list[Host], list[Host]]:
        """Those of each series, as many columns as were fitted; ``kind``, how they come if not as the series did.

        ``dates`` of the steps, None where nobody knows them.
        """
        recent, kind = self._recent[0], self._kind if kind is None else kind
        columns = [part.shape[1] if part.size else 0 for part in (recent.past, recent.future)]
        return (
            covariates(owner, "past", past, kind, steps, columns[0], dates),
            covariates(owner, "future", future, kind, ahead, columns[1], dates),
        )

    def _joined(self, owner: str, steps: Any, past: Any, future: Any) -> tuple[list[Series], Kind]:
        """The ends of the fitted series with what came after them, and their kind then.

        Raises TypeError and ValueError.
        """
        self._fitted(self._network)
        kind = self._kind
        steps, past, future = self._by_name(owner, steps, past, future)
        known: list[Any] = []
        forms: list[Any] = []
        if isinstance(steps, Panel):
            kind.require_names(owner, "steps", steps)
            known = kind.split(owner, "steps", dict(zip(steps.keys, steps.dates, strict=True)))
            forms = kind.split(owner, "steps", dict(zip(steps.keys, steps.forms, strict=True)))
            steps = dict(zip(steps.keys, steps.values, strict=True))
        given: list[Host] = []
        dates: list[Any] = []
        for k, part in enumerate(kind.split(owner, "steps", steps)):
            given.append(rows_of_series(part, kind.shown(owner, k), gaps=True))
            self._check_columns(kind.shown("Forecaster", k), given[k])
            kind.require_names(kind.shown(owner, k), "steps", part)
            dates.append(known[k] if known else dates_of_rows(part, kind.shown(owner, k)))
            if not known and not kind.tables:
                forms.append(TableForm.of(part, kind.shown(owner, k)))
        self._require_counts(owner, kind, given)
        for k, (own, recent) in enumerate(zip(dates, self._recent, strict=True)):
            kind.require_next(kind.shown(owner, k), k, own, recent.start + len(recent))
        kind = kind.as_tables(forms, [recent.start + len(recent) for recent in self._recent])
        lengths = [len(rows) for rows in given]
        covered = zip(self._recent, given, *self._covariates(owner, past, future, lengths, lengths, dates), strict=True)
        series = [
            Series(np.concatenate([s.values, rows]), joined(s.past, known), joined(s.future, ahead), s.start, s.before)
            for s, rows, known, ahead in covered
        ]
        for k, each in enumerate(series):
            kind = kind.gone_on(k, each.start + len(each) - 1, dates[k])
        return series, kind

    def _ends_of(self, series: Sequence[Series]) -> tuple[Series, ...]:
        """The last window of each."""
        window = self._model.window
        return tuple(each.part(len(each) - window, len(each)) for each in series)

    def _ahead(self, owner: str, horizon: int | None, future: Any) -> tuple[int, list[Series]]:
        """How many steps, and the ends of the series with what is known of these."""
        self._fitted(self._network)
        future = future if self._names is None else self._names.ahead(owner, future)
        horizon, recent = self._steps(owner, horizon), self._recent
        columns = recent[0].future.shape[1] if recent[0].future.size else 0
        ahead = covariates(owner, "future", future, self._kind, [horizon] * len(recent), columns)
        for k, part in enumerate([] if future is None else self._kind.split(owner, "future", future)):
            shown = f"{self._kind.shown(owner, k)}: future"
            self._kind.require_next(shown, k, dates_of_rows(part, shown), recent[k].start + len(recent[k]), 6)
        return horizon, [replace(s, future=joined(s.future, rows)) for s, rows in zip(recent, ahead, strict=True)]

    def _places(
        self, owner: str, series: Any, origins: Any, horizon: int, past: Any, future: Any, key: Any
    ) -> tuple[list[Series], int, Host, int]:
        """The series with the one that is asked about at its place, that place, where in it, and how many steps ahead.

        Raises ValueError.
        """
        self._fitted(self._network)
        k = self._kind.place(owner, key)
        return self._placed(owner, *self._by_name(owner, series, past, future, one=True), origins, horizon, k)

    def _placed(
        self, owner: str, series: Any, past: Any, future: Any, origins: Any, horizon: int, k: int
    ) -> tuple[list[Series], int, Host, int]:
        """The same where nothing is called by names any more."""
        values, dates = as_series(series, owner, gaps=True), dates_of_rows(series, owner)
        self._check_columns("Forecaster", values)
        self._kind.require_names(owner, "steps", series)
        horizon, count = self._steps("Forecaster", horizon), [len(values)]
        one = replace(self._kind, keys=None)
        pasts, futures = self._covariates(owner, past, future, count, count, [dates], one)
        places = check_origins(values, origins, self._model.window)
        if futures[0].size and len(places) and places.max() + horizon > len(values):
            needed = f"one for each of {places.max() + horizon}"
            raise ValueError(f"{owner}: future has {len(values)} rows; expected {needed}")
        found = list(self._recent)
        found[k] = Series(values, pasts[0], futures[0], self._kind.start_of(k, dates))
        return found, k, places, horizon

    def _require_errors(self, owner: str, horizon: int) -> None:
        """Raise ValueError where nothing is known of errors so many steps ahead."""
        errors = self._model.errors
        if horizon > errors.shape[1] or not len(errors):
            known = (
                f"over at most {errors.shape[1]} steps" if len(errors) else "nowhere, as there is no validation part"
            )
            raise ValueError(f"{owner}: horizon is {horizon}; errors were measured {known}")

    def _ends(self, series: Sequence[Series], horizon: int) -> Host:
        """Forecasts (N, H, F) after the end of each series."""
        lengths = np.array([len(each) for each in series])
        return self._model.forecast(series, np.arange(len(series)), lengths, horizon)

    def _paths(self, owner: str, horizon: int | None, count: int, future: Any, rng: Rng) -> Host:
        horizon, series = self._ahead(owner, horizon, future)
        lengths = np.array([len(each) for each in series])
        return self._model.paths(series, np.arange(len(series)), lengths, horizon, count, rng)

    def _levels(self, quantiles: Any) -> list[float]:
        if not isinstance(quantiles, (list, tuple, np.ndarray)) or not len(quantiles):
            raise ValueError(f"Forecaster: quantiles are {quantiles!r}; expected a list of numbers between 0 and 1")
        names = [f"quantiles[{k}]" for k in range(len(quantiles))]
        return [
            real_number("Forecaster", name, level, "a number between 0 and 1", *INSIDE)
            for name, level in zip(names, quantiles, strict=True)
        ]

    def _cut(self, steps: int, window: int) -> int:
        """How many steps of a series are learned from first, while those after them decide.

        What is learned ends before what decides begins, also where a target is several steps long.
        """
        horizon, share = self._options["horizon"], self.settings["validation"]
        origins = steps - window - horizon + 1
        return steps - horizon + 1 - max(1, round(share * origins)) if share else steps

    def _learned(self, steps: int, window: int) -> int:
        """The origins that are learned from first."""
        return self._cut(steps, window) - window - self._options["horizon"] + 1

    def _require_steps(self, owner: str, steps: int) -> None:
        """Raise ValueError for a series that is too short."""
        options, window = self.settings, self.settings["window"] or 1
        if self._learned(steps, window) >= LEAST_LEARNED:
            return
        most = 1
        while self._learned(most, window) < LEAST_LEARNED:
            most *= 2
        least = bisect_left(range(most), LEAST_LEARNED, key=lambda length: self._learned(length, window))
        chosen = f"window={options['window']}, " if options["window"] else ""
        raise ValueError(
            f"{owner}: the series has {steps} steps; with {chosen}horizon={options['horizon']} and "
            f"validation={options['validation']:g} it needs at least {least}"
        )

    def _described(self) -> tuple[dict[str, Any], dict[str, Any]]:
        arrays, metadata = saved.described(self._model, self._common, self._recent, self._kind)
        return arrays, metadata | {"names": {} if self._names is None else self._names.plain()}

    def _restored(self, arrays: HostArrays, metadata: dict[str, Any], weights: Mapping[str, Host]) -> dict[str, Any]:
        options = self._options
        found = saved.restored(arrays, metadata, options)
        sizes = [sizes_of(plan, found.common, found.columns, len(found.recent), options) for plan in found.plans]

        def build() -> Members:
            members = Members([ForecastNetwork(each, options["dtype"], 0) for each in sizes])
            members.to(self._home())
            return members

        network = self._read_network(weights, Members.shapes(sizes), build)
        parts = zip(found.plans, found.scales, network.members, found.moments, strict=True)
        of = (found.window, found.common, DISTRIBUTIONS[options["distribution"]])
        members = tuple(Member(plan, scale, each, *of, sums) for plan, scale, each, sums in parts)
        model = Model(members, found.residuals, found.errors, found.unit)
        parts_of_fit = {"_network": network, "_model": model, "_common": found.common}
        names = Names.from_plain(metadata.get("names", {}))  # files of 2026-11 have none
        return parts_of_fit | {"_recent": found.recent, "_kind": found.kind, "_names": names}

    @classmethod
    def _load(cls: type[Self], path: str | os.PathLike[str], backend: str | None, **own: Any) -> Self:
        try:
            return super()._load(path, backend, **own)
        except ModelFileError:
            if not saved.is_of_before(path):
                raise
        with model_file(path, cls.KIND, backend=backend, **saved.BEFORE) as (arrays, metadata):
            settings, arrays, described, weights = saved.brought_up(arrays, metadata)
            model = cls(backend=backend, **settings)  # type: ignore[call-arg]
            model._become(**model._restored(arrays, described, weights))
        return model
