"""From texts to tokens: words, or characters."""

from __future__ import annotations

import functools
import re
import unicodedata

from xprnn.arguments import true_or_false

CLITIC = r"(n't|'(?:s|ve|re|d|ll|m))?"
PARTED = re.compile(rf"(.+?){CLITIC}{CLITIC}", re.IGNORECASE)
EMOTICON = r"(?<![\w:;=])[:;=][-o^']?[()\[\]DdPp/|*](?!\w)"
NUMBER = r"\d+(?:[.,]\d+)*(?![^\W_])"
# Scripts that put no spaces between words: each sign of theirs is a token.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
SILENT = ("P", "Z", "C", "Sm", "Sk")  # Unicode categories of signs that say nothing on their own
BLOCK = 128  # characters that are looked at together
IGNORED = {ord(c): None for c in "\ufe0e\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"}  # how emoji look


def split_words(text: str, *, lower: bool = True) -> list[str]:
    """The words of a text in any script, and every other sign that can be seen, as tokens in their order.

    >>> split_words("It's fun, and it isn't long... 3.5 stars :)")
    ['it', "'s", 'fun', ',', 'and', 'it', 'is', "n't", 'long', '...', '3.5', 'stars', ':)']

    n't, 's, 've, 're, 'd, 'll and 'm become tokens of their own, so that a negation is the same token after every verb
    (as Kim 2014, arXiv 1408.5882, has it); numbers and emoticons stay whole, hyphens part words. Composed forms (NFC);
    ’ is '. Chinese characters and kana are tokens one by one; Thai, Lao and Khmer, which put no spaces either, need a
    tokenizer of their own. Raises TypeError for what is no str.
    """
    text = _checked("split_words", text)
    lower = true_or_false("split_words", "lower", lower)
    text = unicodedata.normalize("NFC", text.lower() if lower else text).replace("\u2019", "'")
    blocks: list[int] = []
    if not text.isascii():
        text = text.translate(IGNORED)
        blocks = sorted({ord(c) // BLOCK for c in set(text) if unicodedata.category(c).startswith("M")})
    tokens: list[str] = []
    for token in _pattern(*blocks).findall(text):
        tokens += _parted(token) if "'" in token and len(token) > 2 else [token]
    return tokens


def split_characters(text: str) -> list[str]:
    """The characters of a text, spaces too, nothing changed: joined they are the text. TypeError for what is no str."""
    return list(_checked("split_characters", text))


def is_word(token: str) -> bool:
    """Whether a token says something on its own: not a space, a single punctuation mark or operator, or an ellipsis."""
    return token.strip(".") != "" and (len(token) > 1 or not unicodedata.category(token).startswith(SILENT))


@functools.lru_cache
def _pattern(*blocks: int) -> re.Pattern[str]:
    """What a token is, for texts with combining marks of these blocks: ``re`` does not count them as parts of words."""
    characters = (chr(n) for block in blocks for n in range(block * BLOCK, (block + 1) * BLOCK))
    marks = "".join(c for c in characters if unicodedata.category(c).startswith("M"))
    letter = rf"(?:[^\W_{UNSPACED}]|[{marks}])" if marks else rf"[^\W_{UNSPACED}]"
    word = rf"{letter}+(?:'{letter}+)*"
    unspaced = rf"[{UNSPACED}]" + (rf"[{marks}]*" if marks else "")
    return re.compile(rf"{EMOTICON}|{NUMBER}|{unspaced}|{word}|\.\.\.+|[^\s\x00-\x1f\x7f-\x9f\u200b-\u200f\ufeff]")


def _parted(word: str) -> list[str]:
    """A word and its clitics, of which "couldn't've" has two."""
    found = PARTED.fullmatch(word)
    return [part for part in found.groups() if part] if found else [word]


def _checked(owner: str, text: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{owner}: text is a {type(text).__name__}; expected a str")
    return text
