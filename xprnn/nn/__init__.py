"""Layers. All but the plain ones are imported when first asked for."""

from typing import TYPE_CHECKING

from xprnn.later import later
from xprnn.nn import init
from xprnn.nn.dropout import Dropout
from xprnn.nn.linear import Linear
from xprnn.nn.module import Module
from xprnn.nn.recurrent.layers import GRU, LSTM, RNN, IndRNN
from xprnn.nn.recurrent.stacked import RecurrentLayer

if TYPE_CHECKING:
    from xprnn.nn.activations import ReLU, Sigmoid, Softmax, Tanh
    from xprnn.nn.attention.multihead import MultiheadAttention
    from xprnn.nn.attention.scores import AdditiveAttention, Attention, DotAttention, GeneralAttention, Memory
    from xprnn.nn.attention.transformer import TransformerEncoder, TransformerEncoderLayer
    from xprnn.nn.attention.weights import masked_softmax
    from xprnn.nn.embedding import Embedding
    from xprnn.nn.layer_norm import LayerNorm
    from xprnn.nn.pooling import AttentionPooling, LastPooling, MaxPooling, MeanPooling
    from xprnn.nn.positions import LearnedPositions, SinusoidalPositions
    from xprnn.nn.quantized.linear import QuantizedLinear
    from xprnn.nn.quantized.quantize import quantize
    from xprnn.nn.quantized.recurrent import QuantizedRecurrent
    from xprnn.nn.quantized.report import Quantization
    from xprnn.nn.recurrent.chrono import chrono_init
    from xprnn.nn.recurrent.diagonal_layers import LRU, S5
    from xprnn.nn.recurrent.echo_state import EchoState, EchoStateNetwork
    from xprnn.nn.recurrent.gappy_layers import GRUD
    from xprnn.nn.recurrent.gated_layers import MGU, SLSTM
    from xprnn.nn.recurrent.leaky_layers import CTRNN, AntisymmetricRNN
    from xprnn.nn.recurrent.linear_layers import QRNN, SRU, MinGRU, MinLSTM
    from xprnn.nn.recurrent.memory_layers import LMU, MLSTM
    from xprnn.nn.recurrent.own_step import Recurrent, StepCell
    from xprnn.nn.recurrent.single_steps import CellModule, GRUCell, LSTMCell, RNNCell
    from xprnn.nn.recurrent.stream import Stream
    from xprnn.nn.recurrent.timed_layers import LTC, CfC
    from xprnn.nn.recurrent.wiring import ncp_wiring
    from xprnn.nn.seq2seq.encoder_decoder import Decoder, Encoder
    from xprnn.nn.seq2seq.model import Seq2Seq
    from xprnn.nn.seq2seq.search import Hypothesis, beam_search, greedy, sample
    from xprnn.nn.sequential import Sequential
    from xprnn.nn.tcn import TCN, CausalConv, TCNStream

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
    "RNN",
    "S5",
    "SLSTM",
    "SRU",
    "TCN",
    "AdditiveAttention",
    "AntisymmetricRNN",
    "Attention",
    "AttentionPooling",
    "DotAttention",
    "GeneralAttention",
    "Hypothesis",
    "IndRNN",
    "Memory",
    "MinGRU",
    "MinLSTM",
    "CausalConv",
    "CellModule",
    "CfC",
    "Decoder",
    "Dropout",
    "Embedding",
    "EchoState",
    "EchoStateNetwork",
    "Encoder",
    "GRUCell",
    "LSTMCell",
    "LastPooling",
    "LayerNorm",
    "LearnedPositions",
    "Linear",
    "MaxPooling",
    "MeanPooling",
    "Module",
    "MultiheadAttention",
    "Quantization",
    "QuantizedLinear",
    "QuantizedRecurrent",
    "RNNCell",
    "ReLU",
    "Recurrent",
    "RecurrentLayer",
    "Seq2Seq",
    "Sequential",
    "Sigmoid",
    "SinusoidalPositions",
    "Softmax",
    "StepCell",
    "Stream",
    "TCNStream",
    "Tanh",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "beam_search",
    "chrono_init",
    "greedy",
    "init",
    "masked_softmax",
    "ncp_wiring",
    "quantize",
    "sample",
]

# Where the names above that are not imported yet stand.
LATER = {
    "activations": "ReLU Sigmoid Softmax Tanh",
    "attention.multihead": "MultiheadAttention",
    "attention.scores": "AdditiveAttention Attention DotAttention GeneralAttention Memory",
    "attention.transformer": "TransformerEncoder TransformerEncoderLayer",
    "attention.weights": "masked_softmax",
    "embedding": "Embedding",
    "layer_norm": "LayerNorm",
    "pooling": "AttentionPooling LastPooling MaxPooling MeanPooling",
    "positions": "LearnedPositions SinusoidalPositions",
    "quantized.linear": "QuantizedLinear",
    "quantized.quantize": "quantize",
    "quantized.recurrent": "QuantizedRecurrent",
    "quantized.report": "Quantization",
    "recurrent.chrono": "chrono_init",
    "recurrent.diagonal_layers": "LRU S5",
    "recurrent.echo_state": "EchoState EchoStateNetwork",
    "recurrent.gappy_layers": "GRUD",
    "recurrent.gated_layers": "MGU SLSTM",
    "recurrent.leaky_layers": "AntisymmetricRNN CTRNN",
    "recurrent.linear_layers": "MinGRU MinLSTM QRNN SRU",
    "recurrent.memory_layers": "LMU MLSTM",
    "recurrent.own_step": "Recurrent StepCell",
    "recurrent.single_steps": "CellModule GRUCell LSTMCell RNNCell",
    "recurrent.stream": "Stream",
    "recurrent.timed_layers": "CfC LTC",
    "recurrent.wiring": "ncp_wiring",
    "seq2seq.encoder_decoder": "Decoder Encoder",
    "seq2seq.model": "Seq2Seq",
    "seq2seq.search": "Hypothesis beam_search greedy sample",
    "sequential": "Sequential",
    "tcn": "CausalConv TCN TCNStream",
}
__getattr__, __dir__ = later(__name__, LATER)
