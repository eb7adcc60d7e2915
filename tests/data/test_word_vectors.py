"""Word vectors from GloVe's and word2vec's text files."""

import numpy as np
import pytest

from xprnn.data import Vocabulary
from xprnn.data.word_vectors import WordVectors, read_word_vectors

GLOVE = "the 0.1 -0.2 3e-1\nn't 1 2 3\n. . . 4 5 6\ncaf\u00e9 7 8 9\n"


@pytest.fixture
def glove(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text(GLOVE, encoding="utf-8")
    return path


def test_glove(glove):
    found = read_word_vectors(glove)
    assert found.tokens == ("the", "n't", ". . .", "caf\u00e9")
    np.testing.assert_allclose(found.vectors, [[0.1, -0.2, 0.3], [1, 2, 3], [4, 5, 6], [7, 8, 9]], rtol=1e-6)
    assert found.vectors.dtype == np.float32


def test_word2vec_has_a_first_line_of_sizes(glove, tmp_path):
    path = tmp_path / "w2v.txt"
    path.write_text("4 3\n" + GLOVE.replace("\n", " \n"), encoding="utf-8")  # and a space at the end of each line
    np.testing.assert_array_equal(read_word_vectors(path).vectors, read_word_vectors(glove).vectors)
    assert read_word_vectors(path).tokens == read_word_vectors(glove).tokens


def test_only_some(glove):
    found = read_word_vectors(glove, only=["caf\u00e9", "zebra"])
    assert found.tokens == ("caf\u00e9",)
    assert read_word_vectors(glove, only=[]).vectors.shape == (0, 3)
    assert read_word_vectors(glove, only=["\ud800", "the"]).tokens == ("the",)  # half a sign, as cut tweets have it


def test_vectors_are_one_for_each_token():
    for vectors in (np.zeros(3), np.zeros((1, 3)), np.zeros((2, 3, 1))):
        with pytest.raises(ValueError, match=r"WordVectors: vectors has shape .*; expected \(N, D\), N = 2 tokens"):
            WordVectors(("a", "b"), vectors)


def test_the_first_of_two_counts_and_other_bytes_are_passed_over(tmp_path):
    path = tmp_path / "v"
    path.write_bytes(b"a 1 2\na 3 4\n\xff\xfe 5 6\n\nb 7 8")
    found = read_word_vectors(path)
    assert found.tokens == ("a", "b")
    assert found.vectors.tolist() == [[1, 2], [7, 8]]


def test_table(glove):
    vocabulary = Vocabulary.build([["the", "zebra", "caf\u00e9"]], specials=("pad", "unknown"))
    vectors = read_word_vectors(glove)
    weight, found = vectors.table(vocabulary, rng=0)
    assert weight.shape == (5, 3)
    ids = {token: vocabulary.encode([token])[0] for token in ("the", "zebra", "caf\u00e9")}
    assert found.tolist() == [k in (ids["the"], ids["caf\u00e9"]) for k in range(5)]
    np.testing.assert_array_equal(weight[ids["caf\u00e9"]], [7, 8, 9])
    np.testing.assert_array_equal(weight[vocabulary.pad_id], 0)
    assert (weight[[vocabulary.unknown_id, ids["zebra"]]] != 0).all()
    again, _ = vectors.table(vocabulary, rng=0)
    np.testing.assert_array_equal(weight, again)
    assert vectors.table(vocabulary, dtype="float64")[0].dtype == np.float64


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there are no vectors in this file"),
        (b"2 3\n", "there are no vectors"),
        (b"word\n", "line 1: expected a token and its numbers"),
        (b"a 1 2\nb 3\n", "line 2 has 1 numbers; expected 2, as in the lines before"),
        (b"a 1 2\nb 3 x\n", "line 2: could not convert"),
        (b"a 1 2\nb 3 nan\n", "line 2: expected finite numbers"),
        (b"a 1 2\nb 3 1e39\n", "line 2: expected finite numbers"),
    ],
)
def test_broken_files(tmp_path, content, message):
    (tmp_path / "v").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_word_vectors(tmp_path / "v")


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_word_vectors(tmp_path / "none")


@pytest.mark.parametrize("tokens", [(), ("zebra",)])
def test_table_of_no_known_word(tokens):
    vectors = WordVectors(tokens, np.full((len(tokens), 3), 0.1, np.float32))
    with pytest.raises(ValueError, match="WordVectors.table: 0 of 2 words are known"):
        vectors.table(Vocabulary(["the", "cat"], ["pad", "unknown"]))


def binary(tokens, vectors, end=b"\n"):
    rows = [token + b" " + vector.astype("<f4").tobytes() + end for token, vector in zip(tokens, vectors, strict=True)]
    return b"%d %d\n" % vectors.shape + b"".join(rows)


@pytest.mark.parametrize("end", [b"\n", b""])
@pytest.mark.parametrize("size", [1, 3, 300])
def test_binary_of_word2vec(tmp_path, end, size):
    vectors, path = np.random.default_rng(0).normal(size=(5, size)).astype(np.float32), tmp_path / "v.bin"
    path.write_bytes(binary([b"the", "caf\u00e9".encode(), b"New_York", b"\xff\xfe", b"the"], vectors, end))
    found = read_word_vectors(path)
    assert found.tokens == ("the", "caf\u00e9", "New_York")
    np.testing.assert_array_equal(found.vectors, vectors[:3])
    assert read_word_vectors(path, only=["New_York", "zebra"]).vectors.tolist() == vectors[2:3].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda whole: whole[:-9], "word 3 of 3 is cut off, or has not 4 numbers as line 1 says"),
        (lambda whole: whole[:8], "line 2|word 1|no vectors"),
        (lambda whole: whole.replace(b"3 4", b"2 4", 1), "there is more behind the 2 words of 4 numbers"),
        (lambda whole: whole.replace(b"3 4", b"0 4", 1), "line 1 says 0 words of 4 numbers"),
        (lambda whole: whole.replace(b"3 4", b"9999999999 4", 1), "word 4 of 9999999999 is cut off"),
        (lambda whole: whole[:-5] + b"\0\0\xc0\x7f\n", "word 3 of 3: expected finite numbers"),
    ],
)
def test_binary_that_is_damaged(tmp_path, change, message):
    path = tmp_path / "v.bin"
    path.write_bytes(change(binary([b"a", b"b", b"c"], np.random.default_rng(0).normal(size=(3, 4)))))
    with pytest.raises(ValueError, match=f"v.bin: .*({message})"):
        read_word_vectors(path)


def test_text_behind_two_sizes_stays_text(tmp_path):
    """Also where a long word is cut within a sign by what is looked at, and where a line has a number too few."""
    path = tmp_path / "v.vec"
    path.write_text("2 2\n" + "\u00e9" * 4000 + " 1 2\nb 3 4\n", encoding="utf-8")
    assert read_word_vectors(path).vectors.tolist() == [[1, 2], [3, 4]]
    path.write_text("2 3\na 1 2\nb 3\n")
    with pytest.raises(ValueError, match="line 3 has 1 numbers; expected 2"):
        read_word_vectors(path)
