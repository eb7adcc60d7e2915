"""Tokenizers of the library ``tokenizers``: parts of words, as they were learned elsewhere."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

MARKS = "#\u0120\u2581"  # what says where a word begins or goes on: WordPiece, byte-level BPE, SentencePiece
UNKNOWN = ""  # what stands for a part that the tokenizer does not know


class Subwords:
    """The tokens of texts as a tokenizer gives them, told by its JSON: without special tokens, padding or an end.

    Raises ImportError, saying which extra to install, where ``tokenizers`` is missing; ValueError for another text.
    """

    def __init__(self, told: str) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise ImportError(f"subwords need tokenizers ({error}): pip install 'xprnn[text]'") from None
        try:
            self._tokenizer = Tokenizer.from_str(told)
            model = json.loads(told)["model"]
        except Exception as error:  # the library raises Exception itself
            raise ValueError(f"not the JSON of a tokenizer: {error}") from None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        unknown = model.get("unk_token")
        self._unknown = model.get("unk_id") if unknown is None else self._tokenizer.token_to_id(unknown)
        self.told = told

    def __call__(self, text: str) -> list[str]:
        """The tokens of a text."""
        found = self._tokenizer.encode(text, add_special_tokens=False)
        return [UNKNOWN if n == self._unknown else token for n, token in zip(found.ids, found.tokens, strict=True)]

    def __reduce__(self) -> tuple[Any, ...]:
        return Subwords, (self.told,)


def json_of(tokenizer: Any) -> str | None:
    """The JSON of a tokenizer, which is itself, its file's path, or that text; None for what is none of them.

    Raises OSError for a file that cannot be read, ValueError for one that holds something else.
    """
    if hasattr(tokenizer, "to_str") and hasattr(tokenizer, "encode"):
        return str(tokenizer.to_str())
    if isinstance(tokenizer, os.PathLike) or (isinstance(tokenizer, str) and tokenizer.endswith(".json")):
        try:
            return Path(tokenizer).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{os.fspath(tokenizer)}: not text in UTF-8 ({error.reason} at byte {error.start})"
            ) from None
    return tokenizer if isinstance(tokenizer, str) and tokenizer.startswith("{") else None
