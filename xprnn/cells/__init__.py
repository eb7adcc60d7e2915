"""The specification: one file per cell, its equations forward and backward in plain array code.

Cells that few programs need are imported when first asked for.
"""

from typing import TYPE_CHECKING

from xprnn.cells.activations import Activation
from xprnn.cells.cell import Cell, PointwiseCell, State, Weights
from xprnn.cells.elman import Elman
from xprnn.cells.gru import GRU
from xprnn.cells.gru_reset_before import ResetBeforeGRU
from xprnn.cells.indrnn import IndRNN
from xprnn.cells.lstm import LSTM
from xprnn.cells.lstm_peephole import PeepholeLSTM
from xprnn.cells.projected import Projected
from xprnn.later import later

if TYPE_CHECKING:
    from xprnn.cells.cfc import CfC
    from xprnn.cells.composed import ComposedCell, ManyStepCell
    from xprnn.cells.diagonal import DiagonalCell
    from xprnn.cells.echo_state import EchoState
    from xprnn.cells.general_elman import GeneralElman
    from xprnn.cells.general_gru import GeneralGRU, GeneralResetBeforeGRU
    from xprnn.cells.general_lstm import GeneralLSTM
    from xprnn.cells.gru_d import GRUD
    from xprnn.cells.layer_norm_gru import LayerNormGRU
    from xprnn.cells.layer_norm_lstm import LayerNormLSTM
    from xprnn.cells.leaky import CTRNN, Antisymmetric, GatedAntisymmetric
    from xprnn.cells.linear import LinearCell
    from xprnn.cells.lmu import LMU
    from xprnn.cells.lru import LRU
    from xprnn.cells.lstm_peephole_full import FullPeepholeLSTM
    from xprnn.cells.ltc import LTC
    from xprnn.cells.mgu import MGU
    from xprnn.cells.mingru import MinGRU
    from xprnn.cells.minlstm import MinLSTM
    from xprnn.cells.mlstm import MLSTM
    from xprnn.cells.qrnn import QRNN
    from xprnn.cells.s5 import S5
    from xprnn.cells.slstm import SLSTM
    from xprnn.cells.sru import SRU
    from xprnn.cells.timed import TimedCell

__all__ = [
    "CTRNN",
    "GRU",
    "GRUD",
    "LMU",
    "LRU",
    "LSTM",
    "LTC",
    "MGU",
    "MLSTM",
    "QRNN",
    "S5",
    "SLSTM",
    "SRU",
    "Activation",
    "Antisymmetric",
    "Cell",
    "CfC",
    "ComposedCell",
    "DiagonalCell",
    "EchoState",
    "Elman",
    "FullPeepholeLSTM",
    "GatedAntisymmetric",
    "GeneralElman",
    "GeneralGRU",
    "GeneralLSTM",
    "GeneralResetBeforeGRU",
    "IndRNN",
    "LayerNormGRU",
    "LayerNormLSTM",
    "LinearCell",
    "ManyStepCell",
    "MinGRU",
    "MinLSTM",
    "PeepholeLSTM",
    "PointwiseCell",
    "Projected",
    "ResetBeforeGRU",
    "State",
    "TimedCell",
    "Weights",
]

__getattr__, __dir__ = later(
    __name__,
    {
        "cfc": "CfC",
        "composed": "ComposedCell ManyStepCell",
        "diagonal": "DiagonalCell",
        "echo_state": "EchoState",
        "general_elman": "GeneralElman",
        "general_gru": "GeneralGRU GeneralResetBeforeGRU",
        "general_lstm": "GeneralLSTM",
        "gru_d": "GRUD",
        "layer_norm_gru": "LayerNormGRU",
        "layer_norm_lstm": "LayerNormLSTM",
        "leaky": "Antisymmetric CTRNN GatedAntisymmetric",
        "linear": "LinearCell",
        "lmu": "LMU",
        "lru": "LRU",
        "lstm_peephole_full": "FullPeepholeLSTM",
        "ltc": "LTC",
        "mgu": "MGU",
        "mingru": "MinGRU",
        "minlstm": "MinLSTM",
        "mlstm": "MLSTM",
        "qrnn": "QRNN",
        "s5": "S5",
        "slstm": "SLSTM",
        "sru": "SRU",
        "timed": "TimedCell",
    },
)
