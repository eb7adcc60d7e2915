"""Every module that ``xprnn.nn`` exports, made once at least: recurrent layers by what it exports, others by hand."""

from functools import partial

from helpers import exported

from xprnn import nn, ops

I, H = 3, 4  # noqa: E741


class Half(nn.Module):
    """A user's step."""

    state_sizes = (H,)

    def __init__(self):
        self.inner = nn.Linear(I, H, rng=0)

    def step(self, x, state):
        return (0.5 * state[0] + ops.tanh(self.inner(x)),)


class Doubled(nn.GRU):
    """A GRU with a forward of its own."""

    def forward(self, *args, **kwargs):
        y, state = super().forward(*args, **kwargs)
        return 2.0 * y, state


def behind(*modules):
    """Modules behind an LSTM, where they have something to do."""
    return lambda: nn.Sequential(nn.LSTM(I, H, rng=0), *(module() for module in modules))


LAYERS = {
    "RNN": lambda: nn.RNN(I, H, 2, rng=0),
    "RNN, relu": lambda: nn.RNN(I, H, nonlinearity="relu", rng=0),
    "RNN, both directions": lambda: nn.RNN(I, H, bidirectional=True, rng=0),
    "LSTM": lambda: nn.LSTM(I, H, 2, rng=0),
    "LSTM, both directions": lambda: nn.LSTM(I, H, 2, bidirectional=True, rng=0),
    "LSTM, in reverse": lambda: nn.LSTM(I, H, reverse=True, rng=0),
    "LSTM, peepholes": lambda: nn.LSTM(I, H, peephole="diagonal", rng=0),
    "LSTM, full peepholes": lambda: nn.LSTM(I, H, peephole="full", rng=0),
    "LSTM, projected": lambda: nn.LSTM(I, H, proj_size=2, rng=0),
    "LSTM, coupled gates": lambda: nn.LSTM(I, H, coupled=True, rng=0),
    "LSTM, other activations": lambda: nn.LSTM(I, H, activation="softsign", rng=0),
    "LSTM, clipped": lambda: nn.LSTM(I, H, clip=3.0, rng=0),
    "LSTM, layer normalisation": lambda: nn.LSTM(I, H, layer_norm=True, rng=0),
    "LSTM, zoneout": lambda: nn.LSTM(I, H, zoneout=0.3, rng=0),
    "GRU": lambda: nn.GRU(I, H, 2, rng=0),
    "GRU, both directions": lambda: nn.GRU(I, H, 2, bidirectional=True, rng=0),
    "GRU, in reverse": lambda: nn.GRU(I, H, reverse=True, rng=0),
    "GRU, reset before": lambda: nn.GRU(I, H, reset_after=False, rng=0),
    "GRU, other activations": lambda: nn.GRU(I, H, activation="softsign", rng=0),
    "GRU, layer normalisation": lambda: nn.GRU(I, H, layer_norm=True, rng=0),
    "GRU, zoneout": lambda: nn.GRU(I, H, zoneout=0.3, rng=0),
    "GRU, with a forward of its own": lambda: Doubled(I, H, rng=0),
    "EchoStateNetwork": lambda: nn.EchoStateNetwork(I, H, 1, rng=0),
    "Recurrent": lambda: nn.Recurrent(Half()),
    "TCN": lambda: nn.TCN(I, [H], rng=0),
    "CausalConv": lambda: nn.CausalConv(I, H, 2, rng=0),
    "QuantizedRecurrent": lambda: nn.quantize(nn.LSTM(I, H, rng=0)),
    "QuantizedLinear": lambda: nn.quantize(nn.Sequential(nn.GRU(I, H, rng=0), nn.Linear(H, 2, rng=1))),
    "Linear": behind(lambda: nn.Linear(H, 2, rng=1)),
    "Tanh": behind(nn.Tanh),
    "Sigmoid": behind(nn.Sigmoid),
    "ReLU": behind(nn.ReLU),
    "Softmax": behind(nn.Softmax),
    "Dropout": behind(nn.Dropout),
    "LayerNorm": behind(lambda: nn.LayerNorm(H)),
    "MultiheadAttention": behind(lambda: nn.MultiheadAttention(H, 2, rng=1)),
    "TransformerEncoderLayer": behind(lambda: nn.TransformerEncoderLayer(H, 2, 5, rng=1)),
    "TransformerEncoder": behind(lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(H, 2, 5, rng=1), 2)),
    "Embedding": lambda: nn.Sequential(nn.Embedding(9, I, rng=1), nn.GRU(I, H, rng=0)),
    "LastPooling": behind(nn.LastPooling),
    "MeanPooling": behind(nn.MeanPooling),
    "MaxPooling": behind(nn.MaxPooling),
    "AttentionPooling": behind(lambda: nn.AttentionPooling(H, rng=1)),
    "SinusoidalPositions": behind(lambda: nn.SinusoidalPositions(H)),
    "LearnedPositions": behind(lambda: nn.LearnedPositions(9, H, rng=1)),
    "Encoder": lambda: nn.Encoder(I, H, rng=0),
    "Decoder": lambda: nn.Decoder(I, H, attention="dot", memory_size=H, rng=0),
    "Seq2Seq": lambda: nn.Seq2Seq(nn.Encoder(I, H, rng=0), nn.Decoder(I, H, rng=0), rng=0),
    "DotAttention": nn.DotAttention,
    "GeneralAttention": lambda: nn.GeneralAttention(I, H, rng=0),
    "AdditiveAttention": lambda: nn.AdditiveAttention(I, H, 2, rng=0),
}
for kind in exported(nn, nn.RecurrentLayer, nn.CellModule):
    LAYERS.setdefault(kind.__name__, partial(kind, I, H, rng=0))
BASES = (nn.Attention, nn.CellModule, nn.Module, nn.RecurrentLayer, nn.Sequential)  # LSTM and the like stand for them
