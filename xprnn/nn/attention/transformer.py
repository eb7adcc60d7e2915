"""The encoder of the Transformer (Vaswani et al. 2017, arXiv 1706.03762)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from xprnn import ops
from xprnn.arguments import each_true_or_false, float_dtype, input_tensor, one_of, size
from xprnn.backend import Array, backend_of, shared_namespace
from xprnn.nn.attention.multihead import MultiheadAttention
from xprnn.nn.attention.weights import allowed
from xprnn.nn.dropout import Dropout
from xprnn.nn.form import Form
from xprnn.nn.layer_norm import LayerNorm
from xprnn.nn.linear import Linear
from xprnn.nn.module import Module
from xprnn.randomness import Rng, generator
from xprnn.tensor import Tensor

ACTIVATIONS = {"relu": ops.relu, "gelu": ops.gelu}


class EncoderBase(Module):
    """Base of the layer and the stack: forms of x and masks. A subclass encodes a time-major batch in ``encode``."""

    d_model: int
    nhead: int
    batch_first: bool
    dtype: str
    _fixed = frozenset({"d_model", "nhead", "dtype"})

    @abstractmethod
    def encode(self, x: Tensor, mask: Array | None) -> Tensor:
        """For x (T, B, E), and a mask, True where to look, that is broadcast to (B, N, T, T): y (T, B, E)."""

    def forward(
        self, x: Any, *, lengths: Any = None, mask: Any = None, attention_mask: Any = None, causal: bool = False
    ) -> Tensor:
        """Encode a batch of sequences, or one.

        Parameters
        ----------
        x
            Array or Tensor (T, B, E), or (B, T, E) with ``batch_first``, or (T, E) without a batch.
        lengths
            (B,) integers from 0 to T. Past a sequence's end y is exactly zero, and x, NaN included, changes nothing.
        mask
            (T, B) booleans, in x's order of axes. Steps where it is False are not there, likewise.
        attention_mask
            (T, T), (B, T, T) or (B, N, T, T) booleans: which step (first) may look at which (last). One that may
            look at none gets nothing from the attention but its bias.
        causal
            No step may look at a later one.

        Raises
        ------
        TypeError, ValueError
            Wrong types, shapes, dtypes or libraries, with the argument's name.
        """
        owner = type(self).__name__
        x = input_tensor(owner, "x", x, self.dtype)
        form = Form.of(owner, "x", x, self.d_model, self.batch_first)
        _, parameter = next(self.named_parameters())
        shared_namespace(owner, ("x", "its parameters"), x.data, parameter.data)
        came, x = x, form.inward(x)
        known = form.control(owner, "x", came, x, lengths=lengths, mask=mask)
        real = known.advance  # (T, B, 1), True at steps that are there
        x = x if real is None else ops.where(real, x, 0.0)
        steps, batch = x.shape[:2]
        y = self.encode(x, allowed(owner, x.data, (batch, self.nhead, steps, steps), real, attention_mask, causal))
        return form.outward(y if real is None else ops.where(real, y, 0.0))


class TransformerEncoderLayer(EncoderBase):
    """Self-attention, then two linear maps with f between them; around each a residual connection and a norm.

    Post-norm, as first published:  h = LN1(x + Attn(x)),  y = LN2(h + F(h)),  F(h) = W2 f(W1 h + b1) + b2.
    Pre-norm (Xiong et al. 2020, arXiv 2002.04745):  h = x + Attn(LN1(x)),  y = h + F(LN2(h)).

    ==============  ================================================================================================
    x, y            (T, B, E), or (B, T, E) with ``batch_first``, or (T, E) without a batch
    parameters      self_attn.* of :class:`MultiheadAttention`; linear1.weight (F, E), linear2.weight (E, F), norm1.*,
                    norm2.* (E), with biases; names as in PyTorch, whose state_dict loads
    ==============  ================================================================================================

    Parameters
    ----------
    d_model, nhead, dim_feedforward
        E, the number of heads, which must divide it, and F.
    dropout
        Probability of a zero while training: in the attention's weights, after f, and of both branches.
    activation
        f, "relu" or "gelu".
    norm_first
        Pre-norm instead of post-norm. Trains without a warm-up of the learning rate.
    bias
        Whether linear maps, attention and norms have biases.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        dtype: str = "float32",
        rng: Rng = None,
    ) -> None:
        owner = "TransformerEncoderLayer"
        self.d_model = E = size(owner, "d_model", d_model)
        self.nhead = size(owner, "nhead", nhead)
        hidden = size(owner, "dim_feedforward", dim_feedforward)
        self.activation = one_of(owner, "activation", activation, ACTIVATIONS)
        bias, self.batch_first, self.norm_first = each_true_or_false(
            owner, bias=bias, batch_first=batch_first, norm_first=norm_first
        )
        self.dtype = float_dtype(owner, dtype)
        draws = generator(rng)
        self.self_attn = MultiheadAttention(E, nhead, dropout, bias, dtype=dtype, rng=draws)
        self.linear1 = Linear(E, hidden, bias, dtype=dtype, rng=draws)
        self.linear2 = Linear(hidden, E, bias, dtype=dtype, rng=draws)
        self.norm1 = LayerNorm(E, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(E, layer_norm_eps, bias=bias, dtype=dtype)
        self.dropout = Dropout(dropout, rng=draws)
        self._settings: dict[str, Any] = {"layer_norm_eps": layer_norm_eps, "bias": bias, "dtype": dtype}

    def encode(self, x: Tensor, mask: Array | None) -> Tensor:
        def attend(h: Tensor) -> Tensor:
            return self.dropout(self.self_attn.attend(h, h, h, mask)[0])

        def feed(h: Tensor) -> Tensor:
            return self.dropout(self.linear2(self.dropout(ACTIVATIONS[self.activation](self.linear1(h)))))

        if self.norm_first:
            x = x + attend(self.norm1(x))
            return x + feed(self.norm2(x))
        x = self.norm1(x + attend(x))
        return self.norm2(x + feed(x))

    def another(self) -> TransformerEncoderLayer:
        """A layer with the same settings beside this one, its weights drawn on from the same generator."""
        layer = TransformerEncoderLayer(
            self.d_model, self.nhead, self.linear1.out_features, self.dropout.p, self.activation,
            batch_first=self.batch_first, norm_first=self.norm_first, rng=self.dropout.rng, **self._settings,
        )  # fmt: skip
        layer.to(backend_of(self.linear1.weight.data)).train(self.training)
        return layer

    def describe(self) -> str:
        return f"{self.d_model}, {self.nhead}, norm_first={self.norm_first}"


class TransformerEncoder(EncoderBase):
    """A stack of :class:`TransformerEncoderLayer`, and a norm of what the last one gives, if there is one.

    Shapes, calling and errors as there; parameters layers.0.*, layers.1.*, ..., norm.*.

    Parameters
    ----------
    encoder_layer
        The first layer. The others are made with its settings and start with weights of their own. (In PyTorch all
        start with the same ones.)
    num_layers
        How many layers there are in all.
    norm
        A module for the end, such as ``LayerNorm(d_model)``: pre-norm layers need it, since nothing else bounds
        the sum of their branches.
    """

    def __init__(self, encoder_layer: TransformerEncoderLayer, num_layers: int, norm: Module | None = None) -> None:
        owner = "TransformerEncoder"
        if not isinstance(encoder_layer, TransformerEncoderLayer):
            raise TypeError(
                f"{owner}: encoder_layer is a {type(encoder_layer).__name__}; expected a TransformerEncoderLayer"
            )
        if norm is not None and not isinstance(norm, Module):
            raise TypeError(f"{owner}: norm is a {type(norm).__name__}; expected a Module, such as LayerNorm, or None")
        others = size(owner, "num_layers", num_layers) - 1
        self.layers = [encoder_layer, *(encoder_layer.another() for _ in range(others))]
        self.norm = norm
        self.d_model, self.nhead = encoder_layer.d_model, encoder_layer.nhead
        self.batch_first, self.dtype = encoder_layer.batch_first, encoder_layer.dtype

    def encode(self, x: Tensor, mask: Array | None) -> Tensor:
        for layer in self.layers:
            x = layer.encode(x, mask)
        return x if self.norm is None else self.norm(x)
