"""CharacterModel: fit a recurrent network to a text, measure how well it knows another, and let it write."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from xprnn.arguments import probability, several, size, whole_number
from xprnn.backend import Array
from xprnn.data.characters import Alphabet, read_characters
from xprnn.data.lanes import Lanes
from xprnn.estimators.cells import Shapes, layer_of, recurrent_shapes
from xprnn.estimators.estimator import TRAINING, Estimator
from xprnn.estimators.parameters import Role
from xprnn.grad_mode import no_grad
from xprnn.nn import Dropout, Embedding, Linear, Module
from xprnn.nn.seq2seq.sampling import Sampler
from xprnn.randomness import Rng, generator
from xprnn.tensor import Tensor
from xprnn.train import (
    Adam,
    Callback,
    Carried,
    Chunk,
    Cosine,
    Run,
    Schedule,
    cross_entropy,
    evaluate,
    fit,
)
from xprnn.train.communicator import Communicator

Host = np.ndarray[Any, Any]
SCORED_AT_ONCE = 512  # steps of a text that is scored; bounds memory, changes no result


class CharacterModel(Estimator):
    """The probability of each character of a text, given all characters before it.

    logits = W h[t] + b, with h from a recurrent layer over embedded characters, learned by truncated backpropagation
    through time: the text is read as ``batch_size`` streams side by side, ``chunk`` characters at a time. The state
    goes on from chunk to chunk and gradients reach back to a chunk's beginning, so that memory does not depend on the
    length of the text, but for one byte a character; those of more than a gigabyte lie in a temporary file.

    >>> model = CharacterModel(epochs=8).fit(Path("tinyshakespeare.txt"))  # doctest: +SKIP
    >>> model.bits_per_character("To be, or not to be")  # doctest: +SKIP
    >>> print(model.sample(500, prompt="ROMEO:", temperature=0.8, rng=0))  # doctest: +SKIP

    Parameters
    ----------
    cell
        "gru", "lstm", "rnn", "indrnn", "gru_reset_before", "lstm_peephole", "lstm_peephole_full",
        "gru_layer_norm", "lstm_layer_norm", "mgu", "slstm", "ctrnn", "antisymmetricrnn", "mingru", "minlstm",
        "qrnn", "sru", "lmu", "mlstm", "lru" or "s5".
    hidden, layers, embedding
        Hidden units of each layer; layers; the length of a character's vector.
    dropout
        Probability of a zero, while training, after each layer.
    chunk, batch_size
        Steps between two updates, and how far gradients reach back; streams side by side.
    epochs, learning_rate, clip_norm
        Passes over the text with Adam; the rate falls to 0 as half a cosine over all updates. Gradients are clipped to
        this global norm.
    validation
        The share of the text, at its end, that training does not see: its loss is recorded after each epoch.
    seed, random_state
        Same seed, same numbers. ``random_state``, where given, counts instead: a seed, or a generator to draw it.
    dtype, backend
        Of the network; default: where ``use_backend`` says.
    progress
        Whether ``fit`` shows a progress bar.

    Raises ValueError or TypeError for arguments out of range.
    """

    SETTINGS = TRAINING | {
        "embedding": size,
        "dropout": probability,
        "chunk": whole_number,
        "batch_size": whole_number,
    }
    KIND = "character model"
    METADATA: ClassVar = {"characters": str}
    PREFIX = ""
    ROLE = Role(reads=("string",))

    def __init__(
        self,
        cell: str = "gru",
        *,
        hidden: int = 256,
        layers: int = 1,
        embedding: int = 64,
        dropout: float = 0.0,
        chunk: int = 64,
        batch_size: int = 32,
        epochs: int = 4,
        learning_rate: float = 4e-3,
        clip_norm: float = 1.0,
        validation: float = 0.1,
        seed: int = 0,
        random_state: Any = None,
        dtype: str = "float32",
        backend: str | None = None,
        progress: bool = False,
    ) -> None:
        super().__init__(locals())
        self.alphabet: Alphabet | None = None

    def fit(
        self, text: str | Path, *, callbacks: Sequence[Callback] = (), communicator: Communicator | None = None
    ) -> CharacterModel:
        """Learn from a text, or from the UTF-8 file at a Path, which is read in pieces. Returns itself.

        ``communicator`` is that of several processes which make the same call with the same data, as
        :func:`xprnn.distributed.world` gives it: they train one model together.

        Raises ValueError for a text that is too short for one step of all streams, OSError for a file that cannot be
        read, and FloatingPointError if training diverges; a model that was fitted before is then as it was.
        """
        new = self._unfitted(communicator)
        options = new.settings
        ids, alphabet = self._read(text, None)
        held_out = max(1, round(options["validation"] * len(ids))) if options["validation"] else 0
        least = options["batch_size"] + 1
        if min(len(ids) - held_out, held_out or least) < least:
            parts = f"{len(ids) - held_out} characters to learn from and {held_out} for validation"
            raise ValueError(f"CharacterModel: the text has {parts}; expected at least {least}, one above batch_size")
        if communicator is not None and options["batch_size"] < communicator.size:
            raise ValueError(
                f"CharacterModel: batch_size is {options['batch_size']}; expected at least {communicator.size}, a "
                "stream for each rank"
            )
        draws = generator(options["seed"])
        network = new._build(alphabet, draws)
        train, validate = ids[: len(ids) - held_out], ids[len(ids) - held_out :]
        passes = [
            _passes(network, part, options["batch_size"], options["chunk"]) for part in (train, validate) if len(part)
        ]
        optimizer = Adam(network.parameters(), lr=options["learning_rate"])
        schedule = Cosine(optimizer, total=len(passes[0]) * options["epochs"])
        history = fit(
            network,
            passes[0],
            _loss,
            optimizer,
            epochs=options["epochs"],
            validation=passes[1] if held_out else None,
            clip_norm=options["clip_norm"],
            callbacks=[_EachUpdate(schedule), *several("CharacterModel", "callbacks", callbacks)],
            progress=self.progress,
            communicator=communicator,
        )
        network.eval()
        self._become(**vars(new) | {"_network": network, "_training": history, "alphabet": alphabet})
        return self

    def bits_per_character(self, text: str | Path) -> float:
        """The mean of -log2 p(character | all before it) over a text, or a UTF-8 file, but for its first character.

        Raises ValueError for characters that the fitted text does not have, and for fewer than two of them.
        """
        network, alphabet = self._fitted(self._network), self._fitted(self.alphabet)
        ids, _ = self._read(text, alphabet)
        if len(ids) < 2:
            raise ValueError(f"CharacterModel: the text has {len(ids)} characters; expected at least two")
        passes = _passes(network, ids, 1, SCORED_AT_ONCE)
        return evaluate(network, passes, _loss) / math.log(2.0)

    def sample(
        self,
        length: int,
        *,
        prompt: str | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        rng: Rng = None,
    ) -> str:
        """Let the model write: ``length`` characters that follow a prompt, without the prompt.

        Default prompt: a newline or, where the fitted text had none, the first of its characters by code point. Each
        character is drawn from softmax(logits / temperature): below 1 more sure of itself, above 1 more daring; 0 takes
        the likeliest. ``top_k`` draws from the k likeliest only, ``top_p`` from the fewest that have together at least
        this probability: :class:`xprnn.nn.seq2seq.sampling.Sampler`. The same rng gives the same text.

        Raises ValueError for an empty prompt, one with characters that the fitted text does not have, and numbers out
        of range; TypeError for a prompt that is no str.
        """
        owner, network, alphabet = "CharacterModel.sample", self._fitted(self._network), self._fitted(self.alphabet)
        length = size(owner, "length", length, 0)
        sampler = Sampler(owner, temperature, top_k, top_p, rng)
        if prompt is None:
            prompt = "\n" if "\n" in alphabet.characters else alphabet.characters[0]
        if not isinstance(prompt, str):
            raise TypeError(f"{owner}: prompt is a {type(prompt).__name__}; expected str")
        if not prompt:
            raise ValueError(f"{owner}: the prompt is empty; expected at least one character to go on from")
        stream, written = network.recurrent.stream(), []
        with no_grad():
            *before, last = alphabet.encode(prompt).tolist()
            for k in before:
                stream.step(network.table.weight.data[k : k + 1, :])
            for _ in range(length):
                h = stream.step(network.table.weight.data[last : last + 1, :])
                last = int(sampler.draw(network.head(h).numpy())[0])
                written.append(last)
        return alphabet.decode(written)

    def _described(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {"characters": self._fitted(self.alphabet).characters}

    def _restored(
        self, arrays: Mapping[str, Host], metadata: dict[str, Any], weights: Mapping[str, Host]
    ) -> dict[str, Any]:
        alphabet = Alphabet(metadata["characters"])
        if alphabet.characters != metadata["characters"]:
            raise ValueError("characters are not in the order of their numbers, each once")
        sizes = {name: self.settings[name] for name in ("cell", "embedding", "hidden", "layers")}
        shapes = CharacterNetwork.shapes(len(alphabet), **sizes)
        return {"alphabet": alphabet, "_network": self._read_network(weights, shapes, lambda: self._build(alphabet, 0))}

    def _build(self, alphabet: Alphabet, rng: Rng) -> CharacterNetwork:
        network = CharacterNetwork(len(alphabet), self.settings, rng)
        network.to(self._home())
        return network

    @staticmethod
    def _read(text: str | Path, alphabet: Alphabet | None) -> tuple[Host, Alphabet]:
        if isinstance(text, os.PathLike):
            return read_characters(text, alphabet)
        if not isinstance(text, str):
            raise TypeError(f"CharacterModel: text is a {type(text).__name__}; expected str, or the Path of a file")
        if alphabet is None:
            alphabet = Alphabet(text)
        return alphabet.encode(text), alphabet


class CharacterNetwork(Module):
    """Embedding, recurrent layers, and a Linear layer for the logits: ``head(network(x, state)[0])``."""

    def __init__(self, characters: int, options: dict[str, Any], rng: Rng) -> None:
        draws, dtype = generator(rng), options["dtype"]
        hidden, layers, between = options["hidden"], options["layers"], options["dropout"] * (options["layers"] > 1)
        forget = {"forget_bias": 1.0} if options["cell"] == "lstm" else {}
        # The numbers come from an Alphabet, which has checked them.
        self.table = Embedding(characters, options["embedding"], check=False, dtype=dtype, rng=draws)
        self.recurrent = layer_of(options["cell"])(
            options["embedding"], hidden, layers, dropout=between, dtype=dtype, rng=draws, **forget
        )
        self.dropout = Dropout(options["dropout"], rng=draws)
        self.head = Linear(hidden, characters, dtype=dtype, rng=draws)

    @staticmethod
    def shapes(characters: int, cell: str, embedding: int, hidden: int, layers: int) -> Shapes:
        """The parameters of such a network, without building it."""
        yield "table.weight", (characters, embedding)
        yield from recurrent_shapes("recurrent.", cell, embedding, hidden, layers)
        yield from (("head.weight", (characters, hidden)), ("head.bias", (characters,)))

    def forward(self, x: Any, state: Any = None) -> tuple[Tensor, Any]:
        """Numbers x (T, B) to outputs (T, B, H), and the state to go on from."""
        output, state = self.recurrent(self.table(x), state)
        return self.dropout(output), state


def _passes(network: CharacterNetwork, ids: Host, batch_size: int, chunk: int) -> Carried:
    """A text as batches of ``fit``, each ``iter()`` one pass: (targets (k, B), chunk)."""
    return Carried(network, Lanes(ids, batch_size=batch_size, chunk=chunk, ahead=1))


class _EachUpdate(Callback):
    """Steps a schedule after each update, not after each epoch: a text is worth few epochs, but many updates."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.state_dict, self.load_state_dict = schedule.state_dict, schedule.load_state_dict

    def on_batch_end(self, run: Run) -> None:
        self.schedule.step()


def _loss(network: Any, batch: tuple[Array, Chunk]) -> Tensor:
    """The mean cross-entropy of a chunk, in nats a character."""
    targets, chunk = batch
    return cross_entropy(network.head(chunk.output), targets)
