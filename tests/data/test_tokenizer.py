"""Words as a sentiment model needs them: negations, clitics, scripts of any kind, signs that mean something."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xprnn.data import split_characters, split_words
from xprnn.data.tokenizer import is_word


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("It's not bad, isn't it?", "it 's not bad , is n't it ?"),
        (
            "don't can't won't you've we're she'd they'll I'm",
            "do n't ca n't wo n't you 've we 're she 'd they 'll i 'm",
        ),
        ("couldn't've", "could n't 've"),
        ("Don\u2019t stop", "do n't stop"),  # the typographic apostrophe
        ("O'Brien's rock'n'roll", "o'brien 's rock'n'roll"),
        ("aujourd'hui l\u2019homme", "aujourd'hui l'homme"),
        ("the boys' 'quoted' word", "the boys ' ' quoted ' word"),
        ("rock-and-roll", "rock - and - roll"),
        ("3.5 stars of 10,000!!", "3.5 stars of 10,000 ! !"),
        ("2nd 1980s 9/10", "2nd 1980s 9 / 10"),
        ("well... no . . .", "well ... no . . ."),
        ("great :) awful :-( hm ;) :D", "great :) awful :-( hm ;) :d"),
        ("at 10:30 (so)", "at 10 : 30 ( so )"),
        ("🎬 good👍🏽!", "🎬 good 👍 !"),
        ("_very_ good", "_ very _ good"),
        ("n't", "n't"),
        ("nt not cannot", "nt not cannot"),
        ("GROSSARTIG großartig ÉTÉ", "grossartig großartig été"),
        ("हिन्दी में", "हिन्दी में"),  # vowel signs are no letters, and yet belong to the word
        ("не плохо", "не плохо"),
        ("很好看", "很 好 看"),
        ("かわいい映画", "か わ い い 映 画"),
        ("좋은 영화", "좋은 영화"),
        ("شاهدت الفيلم", "شاهدت الفيلم"),
        ("cafe\u0301", "caf\u00e9"),  # composed
        ("\u0130stanbul", "i\u0307stanbul"),  # lower case brings a mark of its own
        ("a\x00b\tc\u200bd\n", "a b c d"),
        ("", ""),
        (" \t\n\u3000", ""),
    ],
)
def test_words(text, tokens):
    assert split_words(text) == tokens.split()


def test_case_may_be_kept():
    assert split_words("It ISN'T New York", lower=False) == ["It", "IS", "N'T", "New", "York"]


@given(st.text())
def test_lower_case_changes_no_borders(text):
    assert split_words(text) == split_words(text.lower(), lower=False)


@given(st.text())
def test_any_text_gives_tokens_without_spaces_and_loses_no_letter(text):
    tokens = split_words(text, lower=False)
    assert all(token and not any(c.isspace() for c in token) for token in tokens)
    letters = [c for c in unicodedata.normalize("NFC", text) if c.isalnum()]
    assert [c for token in tokens for c in token if c.isalnum()] == letters


@given(st.text(), st.text())
def test_words_of_lines_are_words_of_each(a, b):
    assert split_words(a + "\n" + b) == split_words(a) + split_words(b)


def test_characters():
    assert split_characters("Ab c!") == ["A", "b", " ", "c", "!"]
    assert "".join(split_characters("日本 e\u0301")) == "日本 e\u0301"
    assert split_characters("") == []


def test_which_tokens_are_evidence():
    assert all(map(is_word, ["good", "n't", "3.5", ":)", "👍", "好", "के", "$"]))
    assert not any(map(is_word, [".", "...", "!", "'", "(", "-", " ", "—", "¿", "+", "|", "^", ""]))


@pytest.mark.parametrize("split", [split_words, split_characters])
def test_a_text_must_be_a_str(split):
    with pytest.raises(TypeError, match="text is a bytes; expected a str"):
        split(b"abc")


@pytest.mark.parametrize("text", ["a'" * 50_000, "n't" * 30_000, ":" * 100_000, "1," * 50_000, "\u0301" * 100_000])
def test_long_odd_texts_take_linear_time(text):
    """In quadratic time this would not end today."""
    assert "".join(split_words(10 * text)) == 10 * text.replace("\u2019", "'")
