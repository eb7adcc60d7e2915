"""Layers."""

from xprnn.nn import init
from xprnn.nn.attention import AdditiveAttention, Attention, DotAttention, GeneralAttention, Memory
from xprnn.nn.attention_weights import masked_softmax
from xprnn.nn.chrono import chrono_init
from xprnn.nn.decoding import Hypothesis, beam_search, greedy, sample
from xprnn.nn.dropout import Dropout
from xprnn.nn.embedding import Embedding
from xprnn.nn.encoder_decoder import Decoder, Encoder
from xprnn.nn.layer_norm import LayerNorm
from xprnn.nn.linear import Linear
from xprnn.nn.module import Module
from xprnn.nn.multihead import MultiheadAttention
from xprnn.nn.pooling import AttentionPooling, LastPooling, MaxPooling, MeanPooling
from xprnn.nn.positions import LearnedPositions, SinusoidalPositions
from xprnn.nn.recurrent import GRU, LSTM, RNN
from xprnn.nn.recurrent_cell import CellModule, GRUCell, LSTMCell, RNNCell
from xprnn.nn.recurrent_layer import RecurrentLayer
from xprnn.nn.seq2seq import Seq2Seq
from xprnn.nn.sequential import Sequential
from xprnn.nn.step_layer import Recurrent, StepCell
from xprnn.nn.stream import Stream
from xprnn.nn.transformer import TransformerEncoder, TransformerEncoderLayer

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AdditiveAttention",
    "Attention",
    "AttentionPooling",
    "DotAttention",
    "GeneralAttention",
    "Hypothesis",
    "Memory",
    "CellModule",
    "Decoder",
    "Dropout",
    "Embedding",
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
    "RNNCell",
    "Recurrent",
    "RecurrentLayer",
    "Seq2Seq",
    "Sequential",
    "SinusoidalPositions",
    "StepCell",
    "Stream",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "beam_search",
    "chrono_init",
    "greedy",
    "init",
    "masked_softmax",
    "sample",
]
