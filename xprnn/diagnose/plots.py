"""The pictures of a diagnosis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

# Okabe and Ito's colours, told apart by colour-blind readers; line styles tell further ones apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000")
STYLES = ("-", "--", ":", "-.")


class Flow(Protocol):
    """What is drawn of a :class:`xprnn.diagnose.GradientFlow`."""

    @property
    def layers(self) -> Sequence[str]: ...
    @property
    def gradient_norms(self) -> Any: ...


class Shares(Protocol):
    """What is drawn of a :class:`xprnn.diagnose.Saturation`."""

    @property
    def gates(self) -> Sequence[str]: ...
    @property
    def low(self) -> Any: ...
    @property
    def high(self) -> Any: ...
    @property
    def tolerance(self) -> float: ...


def draw_flow(flow: Flow, ax: Any = None) -> Any:
    """|dL/dh_t| against t, a line for each layer; norms of 0 and infinity have no place on the logarithmic axis."""
    ax = _axes((9.0, 5.0)) if ax is None else ax
    for k, name in enumerate(flow.layers):
        norms = flow.gradient_norms[:, k]
        shown = np.where((norms > 0) & np.isfinite(norms), norms, np.nan)
        style = STYLES[k // len(COLOURS) % len(STYLES)]
        marker = "o" if np.isfinite(shown).sum() < 2 else None  # a single point makes no line
        ax.plot(shown, color=COLOURS[k % len(COLOURS)], linestyle=style, marker=marker, linewidth=1.8, label=name)
    ax.set_yscale("log")
    ax.set_xlabel("step t")
    ax.set_ylabel("|dL/dh_t|")
    ax.set_title("Gradient of the loss in the hidden state of each step")
    ax.grid(alpha=0.25)
    ax.legend(frameon=False)
    return ax


def draw_saturation(saturation: Shares, ax: Any = None) -> Any:
    """A map: a pair of rows for each gate, above its lower limit and below its upper one; time goes to the right."""
    count = len(saturation.gates)
    ax = _axes((9.0, 1.5 + 0.45 * count)) if ax is None else ax
    rows = np.stack([saturation.low, saturation.high], axis=-1).reshape(len(saturation.low), 2 * count).T
    image = ax.imshow(100.0 * rows, aspect="auto", interpolation="nearest", cmap="cividis", vmin=0.0, vmax=100.0)
    labels = [f"{name} {end}" for name in saturation.gates for end in ("low", "high")]
    ax.set_yticks(range(2 * count), labels)
    for k in range(1, count):
        ax.axhline(2 * k - 0.5, color="white", linewidth=1.5)
    ax.set_xlabel("step t")
    ax.set_title(f"Share of units within {saturation.tolerance:g} of a limit")
    ax.figure.colorbar(image, ax=ax, label="% of units")
    return ax


def _axes(size: tuple[float, float]) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"drawing needs matplotlib ({error}): pip install 'xprnn[plot]'") from None
    return Figure(figsize=size, layout="constrained").subplots()
