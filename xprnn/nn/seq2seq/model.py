"""Seq2Seq: an encoder and a decoder, trained together (Sutskever et al. 2014, arXiv 1409.3215; Cho et al. 2014)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from xprnn import ops
from xprnn.arguments import probability, size, true_or_false, whole_number
from xprnn.backend import backend_of
from xprnn.grad_mode import is_grad_enabled, no_grad, set_grad_enabled
from xprnn.nn.attention.scores import Memory
from xprnn.nn.linear import Linear
from xprnn.nn.module import Module
from xprnn.nn.recurrent.sequence_layer import outer_state
from xprnn.nn.seq2seq.asking import Step
from xprnn.nn.seq2seq.encoder_decoder import Decoder, Encoder
from xprnn.nn.seq2seq.search import Hypothesis, beam_search, greedy, sample
from xprnn.randomness import Rng, generator
from xprnn.tensor import Tensor


class Seq2Seq(Module):
    """A target sequence from a source sequence.

    >>> outputs = model(source, target, source_lengths, target_lengths)                # doctest: +SKIP
    >>> loss = cross_entropy(outputs, target, mask=lengths_to_mask(target_lengths))    # doctest: +SKIP
    >>> [hypothesis.tokens for hypothesis in model.greedy(source, source_lengths)]     # doctest: +SKIP

    The encoder's final state starts the decoder: as it is where both have the same layers, sizes and one direction,
    else through a bridge, h = tanh(W_h h_e + b_h) and c = W_c c_e + b_c, where h_e (L_e*D*H_e,) and h (L*H,) hold all
    layers and directions of a sequence one after another, in the order of the state.

    Parameters
    ----------
    encoder, decoder
        Of one dtype, with cells whose states have the same parts.
    start, end
        Tokens that stand before and after each target. For a decoder of real numbers None: it starts from zeros.
    max_length
        The most steps of a target, its end token included, in training and in decoding.
    rng
        Seed or NumPy generator, for the bridge and for the draws of teacher forcing.

    ``ratio`` is the share of steps at which the decoder is fed the target in training mode, where a call gives none;
    :class:`xprnn.train.TeacherForcing` changes it from batch to batch.
    """

    ratio: float = 1.0

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        *,
        start: int | None = None,
        end: int | None = None,
        max_length: int = 100,
        rng: Rng = None,
    ) -> None:
        _check_pair(encoder, decoder)
        if decoder.embedding is not None:
            for name, token in (("start", start), ("end", end)):
                if whole_number("Seq2Seq", name, token, 0) >= decoder.output_size:
                    last = decoder.output_size - 1
                    raise ValueError(f"Seq2Seq: {name} is {token}, outside the vocabulary; expected 0 to {last}")
        elif start is not None or end is not None:
            raise ValueError(
                f"Seq2Seq: start is {start} and end is {end}; the decoder writes real numbers: expected None for both"
            )
        self.encoder, self.decoder, self.start, self.end = encoder, decoder, start, end
        self.max_length = size("Seq2Seq", "max_length", max_length)
        self.rng = generator(rng)
        self.bridge: list[Linear] = []  # one for each part of the state; none where it is not needed
        shapes = [(part.rnn.directions, part.num_layers, part.hidden_size) for part in (encoder, decoder)]
        if shapes[0] != shapes[1]:
            inputs, outputs = (math.prod(shape) for shape in shapes)
            self.bridge = [Linear(inputs, outputs, dtype=decoder.dtype, rng=self.rng) for _ in decoder.rnn.state_names]

    def forward(
        self,
        source: Any,
        target: Any,
        source_lengths: Any = None,
        target_lengths: Any = None,
        *,
        ratio: float | None = None,
        return_weights: bool = False,
    ) -> Any:
        """The decoder's outputs beside a target: step t sees target[t - 1], or its own output in its place.

        What the decoder is fed is settled first; then all target steps are one call of the decoder. With ratio 1 all
        inputs are known. Else, where one is not, the decoder runs up to it to find out; a choice of tokens has no
        gradient and is not recorded. Dropout is drawn anew for either. Bengio et al. 2015, arXiv 1506.03099.

        Parameters
        ----------
        source
            (S, B) tokens or (S, B, I).
        target
            (L, B) tokens with the end token as the last of each, and no start token; or (L, B, O) real numbers.
        source_lengths, target_lengths
            (B,) from 0 to S and L. What stands past an end changes nothing before it; outputs past the end of a target
            mean nothing: give the loss a mask.
        ratio
            The probability, for each step and sequence, of being fed the target. Default: 1 in evaluation mode,
            ``self.ratio`` in training mode.

        Returns
        -------
        Logits (L, B, C), or outputs (L, B, O). With ``return_weights`` also the attention weights (B, L, S), or None.

        Raises
        ------
        TypeError, ValueError
            Wrong types and shapes, tokens outside the vocabulary, a target longer than ``max_length``.
        """
        return_weights = true_or_false("Seq2Seq", "return_weights", return_weights)
        given = self._given(target, ops.value(target_lengths))
        state, memory = self.encode(source, source_lengths)
        if _batch(state) != given.shape[1]:
            raise ValueError(f"Seq2Seq: source has {_batch(state)} sequences and target {given.shape[1]}")
        if ratio is None:
            ratio = self.ratio if self.training else 1.0
        fed = self._fed(given, probability("Seq2Seq", "ratio", ratio), state, memory)
        outputs, _, weights = self.decoder(fed, state, memory, check=False)
        return (outputs, weights) if return_weights else outputs

    def encode(self, source: Any, lengths: Any = None) -> tuple[Any, Memory | None]:
        """The decoder's first state, and what it may look at."""
        outputs, state = self.encoder(source, lengths)
        parts = state if isinstance(state, tuple) else (state,)
        if self.bridge:
            h, *others = (self._cross(part, linear) for part, linear in zip(parts, self.bridge, strict=True))
            parts = (ops.tanh(h), *others)
        return outer_state(parts), self.decoder.prepare(outputs, lengths)

    def free_run(self, source: Any, steps: int, lengths: Any = None) -> Tensor:
        """The outputs (steps, B, C or O) of a decoder that is fed only its own: ``forward`` with ratio 0."""
        steps = size("Seq2Seq", "steps", steps, 0)
        state, memory = self.encode(source, lengths)
        start = self.decoder.start_step(_batch(state), self.start)
        given = ops.concat([start] * max(steps, 1), axis=0)[:steps]  # only the first of them is looked at
        return self.decoder(self._fed(given, 0.0, state, memory), state, memory, check=False)[0]

    def greedy(self, source: Any, lengths: Any = None, *, max_length: int | None = None) -> list[Hypothesis]:
        """The most probable token at each step, for each source, in evaluation mode: :func:`xprnn.nn.greedy`."""
        with self.mode(training=False), no_grad():
            step, settings = self._search(source, lengths, max_length)
            return greedy(step, **settings)

    def sample(
        self,
        source: Any,
        lengths: Any = None,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        max_length: int | None = None,
        rng: Rng = None,
    ) -> list[Hypothesis]:
        """Tokens drawn at each step, for each source, in evaluation mode: :func:`xprnn.nn.sample`."""
        with self.mode(training=False), no_grad():
            step, settings = self._search(source, lengths, max_length)
            return sample(step, temperature=temperature, top_k=top_k, top_p=top_p, rng=rng, **settings)

    def beam_search(
        self,
        source: Any,
        lengths: Any = None,
        *,
        width: int = 5,
        length_penalty: float = 0.0,
        n_best: int = 1,
        max_length: int | None = None,
    ) -> list[list[Hypothesis]]:
        """The best targets of each source, in evaluation mode: :func:`xprnn.nn.beam_search`."""
        with self.mode(training=False), no_grad():
            step, settings = self._search(source, lengths, max_length)
            return beam_search(step, width=width, length_penalty=length_penalty, n_best=n_best, **settings)

    def _search(self, source: Any, lengths: Any, max_length: int | None) -> tuple[Step, dict[str, Any]]:
        """What greedy, sample and beam search need."""
        if self.decoder.embedding is None:
            raise TypeError("Seq2Seq: the decoder writes real numbers, which cannot be searched: use free_run")
        state, memory = self.encode(source, lengths)
        home = backend_of(self.decoder.readout.weight.data)

        def step(tokens: Any, state: Any) -> tuple[Tensor, Any]:
            steps = Tensor(home.asarray(tokens[None, :]))
            outputs, state, _ = self.decoder(steps, state, memory, check=False)
            return ops.log_softmax(outputs[0]), state

        limit = self.max_length if max_length is None else max_length
        return step, {
            "state": state, "batch": _batch(state), "start": self.start, "end": self.end, "max_length": limit
        }  # fmt: skip

    def _given(self, target: Any, lengths: Any) -> Tensor:
        """What the decoder is fed where it is fed the target: the start, and all of the target but its last step."""
        target = self.decoder.checked("Seq2Seq", "target", target, lengths)
        if target.shape[0] > self.max_length:
            raise ValueError(
                f"Seq2Seq: target has {target.shape[0]} steps; expected at most max_length = {self.max_length}"
            )
        start = self.decoder.start_step(target.shape[1], self.start)
        return ops.concat([start, target], axis=0)[:-1]

    def _fed(self, given: Tensor, ratio: float, state: Any, memory: Memory | None) -> Tensor:
        """What the decoder is fed: at each step the target or, where the dice say so, its own last output."""
        length, batch = given.shape[:2]
        if ratio == 1.0 or length < 2:
            return given
        # Free running leaves nothing to chance: to look at it must not change the draws of a training.
        forced = self.rng.random((length, batch)) < ratio if ratio > 0.0 else np.full((length, batch), False)
        forced[0] = True
        # Between two cuts everything is forced: one call of the decoder.
        cuts = [0, *np.flatnonzero(~forced.all(axis=1)).tolist(), length]
        home, pieces, output = backend_of(given.data), list[Tensor](), given
        with set_grad_enabled(is_grad_enabled() and self.decoder.embedding is None):
            for a, b in pairwise(cuts):
                piece = given[a:b]
                if a > 0:
                    first = self.decoder.feedback(output)
                    if forced[a].any():
                        flags = home.asarray(forced[a].reshape(1, batch, *[1] * (given.ndim - 2)))
                        first = ops.where(flags, piece[:1], first)
                    piece = first if b == a + 1 else ops.concat([first, piece[1:]], axis=0)
                pieces.append(piece)
                if b < length:
                    outputs, state, _ = self.decoder(piece, state, memory, check=False)
                    output = outputs[-1:]
            return ops.concat(pieces, axis=0)

    def _cross(self, part: Tensor, linear: Linear) -> Tensor:
        """A part of the encoder's state (L_e*D, B, H_e) as the decoder's (L, B, H), before the tanh."""
        batch = part.shape[1]
        rows = ops.reshape(ops.permute_dims(part, (1, 0, 2)), (batch, linear.in_features))
        crossed = ops.reshape(linear(rows), (batch, self.decoder.num_layers, self.decoder.hidden_size))
        return ops.permute_dims(crossed, (1, 0, 2))


def _check_pair(encoder: Any, decoder: Any) -> None:
    for name, part, kind in (("encoder", encoder, Encoder), ("decoder", decoder, Decoder)):
        if not isinstance(part, kind):
            raise TypeError(f"Seq2Seq: {name} is a {type(part).__name__}; expected nn.{kind.__name__}")
    for name, of in (
        ("dtype", lambda part: part.dtype),
        ("parts of the state", lambda part: len(part.rnn.state_names)),
    ):
        if of(encoder) != of(decoder):
            raise ValueError(f"Seq2Seq: encoder and decoder differ in {name}: {of(encoder)} and {of(decoder)}")
    if decoder.attention is not None and decoder.memory_size != encoder.output_size:
        raise ValueError(
            f"Seq2Seq: decoder has memory_size {decoder.memory_size}; expected {encoder.output_size}, "
            "the encoder's output_size"
        )


def _batch(state: Any) -> int:
    return int((state[0] if isinstance(state, tuple) else state).shape[1])
