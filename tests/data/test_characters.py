"""Characters: there and back, from files in pieces, in streams whose columns go on."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xprnn import nn, ops
from xprnn.data import Alphabet, character_streams, characters, read_characters
from xprnn.estimators import CharacterModel

TEXT = "Whan that Aprille with his shoures soote\nthe droghte of March hath perced to the roote\n"


@given(st.text(min_size=1))
def test_there_and_back(text):
    alphabet = Alphabet(text)
    assert alphabet.characters == "".join(sorted(set(text)))
    ids = alphabet.encode(text)
    assert ids.tolist() == [alphabet.characters.index(c) for c in text]
    assert alphabet.decode(ids) == text


@pytest.mark.parametrize(("size", "dtype"), [(1, "uint8"), (256, "uint8"), (257, "uint16"), (65537, "uint32")])
def test_the_narrowest_dtype_that_holds_all(size, dtype):
    alphabet = Alphabet("".join(map(chr, range(0x10000, 0x10000 + size))))
    ids = alphabet.encode(alphabet.characters)
    assert ids.dtype == dtype
    np.testing.assert_array_equal(ids, np.arange(size))


def test_unknown_characters_and_numbers_are_named(monkeypatch):
    alphabet = Alphabet("abc")
    monkeypatch.setattr(characters, "PIECE", 2)
    for text, wrong in (("abcx", "'x' at 3"), ("~abc", "'~' at 0"), ("ab ", "' ' at 2")):
        with pytest.raises(ValueError, match=f"Alphabet.encode: character {wrong} is not among the 3 known"):
            alphabet.encode(text)
    assert alphabet.encode("").shape == (0,)
    for ids in ([0, 3], [-1]):
        with pytest.raises(ValueError, match=r"Alphabet.decode: numbers go from .* expected 0 to 2"):
            alphabet.decode(ids)
    assert alphabet.decode([]) == ""
    with pytest.raises(ValueError, match="Alphabet: there are no characters"):
        Alphabet("")
    for make in (lambda: Alphabet(b"abc"), lambda: alphabet.encode(b"abc")):
        with pytest.raises(TypeError, match="bytes; expected str"):
            make()


@pytest.mark.parametrize("piece", [1, 2, 3, 5, 1 << 20])
def test_files_in_pieces_of_any_size(piece, tmp_path, monkeypatch):
    monkeypatch.setattr(characters, "PIECE", piece)
    text = "año\nstraße €𝄞\r\nfin\r\rx"
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    expected = "año\nstraße €𝄞\nfin\n\nx"
    ids, alphabet = read_characters(path)
    assert alphabet.characters == "".join(sorted(set(expected)))
    assert alphabet.decode(ids) == expected
    again, same = read_characters(path, alphabet)
    assert same is alphabet
    np.testing.assert_array_equal(again, ids)
    with pytest.raises(ValueError, match=r"text: after \d+ characters: Alphabet.encode: character 'ñ'"):
        read_characters(path, Alphabet("ao\n"))


@pytest.mark.parametrize("piece", [1, 4, 1 << 20])
@pytest.mark.parametrize(("content", "at"), [(b"abc\xff", 3), (b"abcd\xe2\x82x", 4), (b"ab\xc3\xa4\xe2\x82", 4)])
def test_what_is_not_utf8_is_placed(content, at, piece, tmp_path, monkeypatch):
    monkeypatch.setattr(characters, "PIECE", piece)
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(ValueError, match=rf"text: not UTF-8 text \(.* at byte {at}\)"):
        read_characters(tmp_path / "text")


def test_numbers_of_a_large_file_are_mapped(tmp_path, monkeypatch):
    path, text = tmp_path / "text", "to be or not to be\né" * 50
    path.write_text(text, encoding="utf-8")
    held, _ = read_characters(path)
    monkeypatch.setattr(characters, "IN_MEMORY", 100)
    mapped, alphabet = read_characters(path)
    np.testing.assert_array_equal(mapped, held)
    assert (type(mapped), mapped.dtype) == (np.ndarray, held.dtype)
    assert isinstance(mapped.base.base, np.memmap) or isinstance(mapped.base, np.memmap)
    assert all(np.shares_memory(stream, mapped) for stream in character_streams(mapped, 4))
    assert alphabet.decode(mapped) == text


def test_files_that_are_empty_or_missing(tmp_path):
    for content in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "empty").write_bytes(content)
        for alphabet in (None, Alphabet("a")):
            with pytest.raises(ValueError, match="empty: the file is empty"):
                read_characters(tmp_path / "empty", alphabet)
    with pytest.raises(FileNotFoundError):
        read_characters(tmp_path / "missing")


def test_reading_holds_a_byte_a_character_and_a_piece(tmp_path):
    """What is held beside the numbers does not grow with the file."""
    path, beside = tmp_path / "text", []
    for repeats in (50_000, 200_000):
        path.write_text(TEXT * repeats)
        tracemalloc.start()
        ids, _ = read_characters(path)
        beside.append(tracemalloc.get_traced_memory()[1] - ids.nbytes)
        tracemalloc.stop()
        assert ids.nbytes == len(TEXT) * repeats
    assert beside[1] < 1.1 * beside[0]
    assert beside[1] < 40 * characters.PIECE


@pytest.mark.parametrize(("length", "batch"), [(2, 1), (10, 3), (11, 5), (100, 7), (86, 1)])
def test_columns_are_contiguous_and_targets_one_on(length, batch):
    ids = np.arange(length)
    x, y = character_streams(ids, batch)
    steps = (length - 1) // batch
    assert x.shape == y.shape == (steps, batch)
    for b in range(batch):
        np.testing.assert_array_equal(x[:, b], b * steps + np.arange(steps))
    np.testing.assert_array_equal(y, x + 1)
    assert np.shares_memory(x, ids)
    assert np.shares_memory(y, ids)


def test_streams_of_too_little():
    with pytest.raises(ValueError, match=r"ids has shape \(3,\); expected \(N,\) with N > 3"):
        character_streams(np.arange(3), 3)
    with pytest.raises(ValueError, match="batch is 0"):
        character_streams(np.arange(3), 0)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16"])
def test_narrow_numbers_train_an_embedding_as_wide_ones_do(dtype):
    """Row times width goes past 255: an index computed in the narrow dtype would land in a wrong row."""
    gradients = []
    for kind in (dtype, "int64"):
        table = nn.Embedding(100, 64, rng=0)
        ops.sum(ops.square(table(np.arange(100).astype(kind)))).backward()
        gradients.append(table.weight.grad.numpy())
    np.testing.assert_array_equal(*gradients)


def test_large_files_are_mapped_and_learned_from_as_small_ones(tmp_path, monkeypatch):
    path = tmp_path / "text"
    path.write_text("the cat sat on the mat. caf\u00e9 " * 8, encoding="utf-8")

    def fitted():
        model = CharacterModel(hidden=4, embedding=3, epochs=1, batch_size=4, chunk=8).fit(path)
        return model.network.head.weight.numpy()

    expected, ids = fitted(), read_characters(path)[0]
    monkeypatch.setattr(characters, "IN_MEMORY", 10)
    monkeypatch.setattr(characters, "RESIDENT", 64)
    monkeypatch.setattr(characters, "PIECE", 50)
    mapped = read_characters(path)[0]
    assert isinstance(mapped.base, np.memmap) or isinstance(mapped.base.base, np.memmap)
    np.testing.assert_array_equal(mapped, ids)
    np.testing.assert_array_equal(fitted(), expected)
