"""Encoder and decoder: recurrent layers that read one sequence and write another, of tokens or of real numbers."""

from __future__ import annotations

from typing import Any

from xprnn import ops
from xprnn.arguments import float_dtype, input_tensor, one_of, size, true_or_false
from xprnn.backend import Array, backend_of, dtype_name, namespace
from xprnn.engine.control import Control
from xprnn.indices import as_int64
from xprnn.nn.attention.scores import Attention, Memory, named_attention
from xprnn.nn.dropout import Dropout
from xprnn.nn.embedding import Embedding
from xprnn.nn.linear import Linear
from xprnn.nn.module import Module
from xprnn.nn.recurrent.layers import LAYERS
from xprnn.postponed import within
from xprnn.randomness import Rng, generator
from xprnn.tensor import Tensor


class Reader(Module):
    """What encoder and decoder have in common: steps come in, are embedded, and go through recurrent layers.

    A step is a token, a number from 0 to input_size - 1, where there is an ``embedding_dim``; else a vector of
    input_size real numbers.
    """

    _fixed = frozenset({"num_layers", "hidden_size", "input_size", "output_size", "dtype"})

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        embedding_dim: int | None,
        cell: str,
        bidirectional: bool,
        dropout: float,
        dtype: str,
        rng: Rng,
    ) -> None:
        owner, draws = type(self).__name__, generator(rng)
        layers = LAYERS[one_of(owner, "cell", cell, LAYERS)]
        self.num_layers = size(owner, "num_layers", num_layers)
        self.hidden_size = size(owner, "hidden_size", hidden_size)
        self.input_size = features = size(owner, "input_size", input_size)
        self.dtype = float_dtype(owner, dtype)
        self.embedding = None
        if embedding_dim is not None:
            features = size(owner, "embedding_dim", embedding_dim)
            self.embedding = Embedding(input_size, features, check=False, dtype=dtype, rng=draws)  # checked() has
        self.dropout = Dropout(dropout, rng=draws)
        self.rnn = layers(
            features,
            hidden_size,
            num_layers,
            dropout=dropout if num_layers > 1 else 0.0,
            bidirectional=true_or_false(owner, "bidirectional", bidirectional),
            dtype=dtype,
            rng=draws,
        )

    def checked(self, owner: str, name: str, x: Any, lengths: Any = None) -> Tensor:
        """Tokens (T, B) or vectors (T, B, I), with zeros for what stands past the end, which is not looked at.

        Raises TypeError for another dtype, ValueError for another shape or a token outside the vocabulary.
        """
        if self.embedding is None:
            x = input_tensor(owner, name, x, self.dtype)
            if x.ndim != 3 or x.shape[-1] != self.input_size:
                raise ValueError(f"{owner}: {name} has shape {x.shape}; expected (T, B, {self.input_size})")
            inside = Control.build(f"{owner}: {name}", x.data, lengths).inside
            return x if inside is None else ops.where(inside, x, 0.0)
        x = input_tensor(owner, name, x)
        if not dtype_name(x.data).startswith(("int", "uint")):
            raise TypeError(f"{owner}: {name} has dtype {dtype_name(x.data)}; expected integers, the numbers of tokens")
        if x.ndim != 2:
            raise ValueError(f"{owner}: {name} has shape {x.shape}; expected (T, B)")
        xp, tokens = namespace(x.data), as_int64(x.data)  # beside the decoder's own ones
        inside = Control.build(f"{owner}: {name}", tokens, lengths).inside
        if inside is not None:
            tokens = xp.where(xp.squeeze(inside, axis=-1), tokens, xp.zeros_like(tokens))

        def outside(number: int) -> ValueError:
            last = self.input_size - 1
            return ValueError(f"{owner}: {name} contains {number}, outside the vocabulary; expected 0 to {last}")

        return Tensor(within(tokens, self.input_size, outside))

    def embed(self, x: Tensor) -> Tensor:
        """Checked steps (T, B) or (T, B, I) as what the recurrent layers take."""
        return self.dropout(x if self.embedding is None else self.embedding(x))

    def describe(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


class Encoder(Reader):
    """Recurrent layers that read a source; ``outputs, state = encoder(source, lengths)``.

    source (S, B) tokens or, without ``embedding_dim``, (S, B, I) real numbers; lengths (B,) from 0 to S; outputs
    (S, B, D*H), exactly zero past the end; state as the layer gives it, after the last step of each source.

    Parameters
    ----------
    input_size
        The size of the vocabulary, or the length I of the vectors.
    embedding_dim
        The length of the vectors that stand for tokens; None for real numbers.
    cell
        "LSTM", "GRU" or "RNN".
    dropout
        Probability of a zero in what comes into the layers, embedded tokens or vectors, and between them, in training.

    Raises TypeError and ValueError for wrong types and shapes, and for tokens outside the vocabulary.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        embedding_dim: int | None = None,
        cell: str = "LSTM",
        bidirectional: bool = False,
        dropout: float = 0.0,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, embedding_dim, cell, bidirectional, dropout, dtype, rng)
        self.output_size = self.rnn.directions * self.hidden_size

    def forward(self, source: Any, lengths: Any = None) -> tuple[Tensor, Any]:
        lengths = ops.value(lengths)
        return self.rnn(self.embed(self.checked("Encoder", "source", source, lengths)), lengths=lengths)


class Decoder(Reader):
    """Recurrent layers that write a target, looking at the source where there is attention.

    h_t = layers(y_{t-1}, h_{t-1});  c_t = attention(h_t);  a_t = tanh(W_c [c_t; h_t] + b_c);  o_t = W_o a_t + b_o,
    and without attention a_t = h_t. The layers do not see c_t (Luong et al. 2015, arXiv 1508.04025), so that any
    number of known steps is one call of them and one of the attention.

    Parameters
    ----------
    output_size
        The size of the vocabulary, or the length O of the vectors: of what comes in and goes out.
    attention
        None, an :class:`Attention`, or "dot", "scaled_dot", "general" or "additive".
    memory_size
        The length of what is looked at, the encoder's ``output_size``. Needed for attention; without it nothing is
        looked at, and a length changes nothing, so that it may be given whatever ``attention`` is.

    The other parameters and errors are those of :class:`Encoder`; ``dropout`` is also for what goes into W_o.
    """

    _fixed = Reader._fixed | {"memory_size"}

    def __init__(
        self,
        output_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        embedding_dim: int | None = None,
        cell: str = "LSTM",
        attention: Attention | str | None = None,
        memory_size: int | None = None,
        dropout: float = 0.0,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        draws = generator(rng)
        size("Decoder", "output_size", output_size)
        super().__init__(output_size, hidden_size, num_layers, embedding_dim, cell, False, dropout, dtype, draws)
        self.output_size = self.input_size
        self.attention: Attention | None = None
        if attention is not None or memory_size is not None:
            values = size("Decoder", "memory_size", memory_size)
        if attention is not None:
            if isinstance(attention, str):
                attention = named_attention("Decoder", attention, hidden_size, values, dtype=dtype, rng=draws)
            elif not isinstance(attention, Attention):
                raise TypeError(
                    f"Decoder: attention is a {type(attention).__name__}; expected an Attention or its name"
                )
            for name, needed in (("query_size", hidden_size), ("key_size", values), ("dtype", dtype)):
                if (has := getattr(attention, name)) not in (None, needed):
                    raise ValueError(f"Decoder: attention has {name} {has!r}; expected {needed!r}")
            self.attention, self.memory_size = attention, values
            self.combination = Linear(values + hidden_size, hidden_size, dtype=dtype, rng=draws)
        self.readout = Linear(hidden_size, output_size, dtype=dtype, rng=draws)

    def prepare(self, outputs: Tensor, lengths: Any = None) -> Memory | None:
        """The encoder's outputs (S, B, V) made ready to be looked at, once for each source."""
        return None if self.attention is None else self.attention.prepare(outputs, lengths=lengths)

    def forward(
        self, x: Any, state: Any, memory: Memory | None = None, *, check: bool = True
    ) -> tuple[Tensor, Any, Tensor | None]:
        """Outputs (L, N, O), the next state, and attention weights (B, L k, S) or None, of steps x (L, N) or (L, N, O).

        N = k B: of k hypotheses for each of B sources, row j B + b looks at source b. ``check=False`` trusts x.
        """
        steps = self.checked("Decoder", "x", x) if true_or_false("Decoder", "check", check) else x
        hidden, state = self.rnn(self.embed(steps), state)
        weights = None
        if self.attention is not None:
            if not isinstance(memory, Memory):
                came = "None" if memory is None else f"a {type(memory).__name__}"
                raise TypeError(f"Decoder: memory is {came}; expected what prepare() made of the encoder's outputs")
            (length, rows, size), (batch, _, width) = hidden.shape, memory.values.shape
            if batch == 0 < rows or rows % max(batch, 1):
                raise ValueError(f"Decoder: x has {rows} sequences and memory {batch}; expected a multiple of them")
            if rows == batch:
                context, weights = self.attention(hidden, memory)
            else:  # the hypotheses of a source are so many queries of it
                context, weights = self.attention(ops.reshape(hidden, (-1, batch, size)), memory)
                context = ops.reshape(context, (length, rows, width))
            hidden = ops.tanh(self.combination(ops.concat([context, hidden], axis=-1)))
        return self.readout(self.dropout(hidden)), state, weights

    def start_step(self, batch: int, start: int | None) -> Array:
        """What comes in before anything was written: the start token (1, B), or zeros (1, B, O)."""
        home = backend_of(self.readout.weight.data)
        if self.embedding is None:
            return home.zeros((1, batch, self.output_size), self.dtype)
        return home.zeros((1, batch), "int64") + start

    def feedback(self, output: Tensor) -> Tensor:
        """What comes in after an output (L, B, O): its most probable tokens (L, B), or itself."""
        if self.embedding is None:
            return output
        return Tensor(namespace(output.data).argmax(output.data, axis=-1))
