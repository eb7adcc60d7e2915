"""Ways in which a file of JSON can be wrong, for the tests of each format."""

import copy
import json

import pytest

from xprnn.storage import ModelFileError

BROKEN = {
    "nothing": b"",
    "not JSON": b"\x89HDF\r\n\x1a\n\0\0",
    "not text": b'{"layers": "\xff\xfe"}',
    "a list": b"[1, 2]",
    "a number": b"3",
    "deep": b"[" * 100_000,
    "deep objects": b'{"layers": ' * 100_000,
    "an endless number": b'{"version": ' + b"1" * 10_000 + b"}",
    "a name twice": b'{"version": "0.7.0", "version": "0.5.0"}',
    "NaN": b'{"weights": [NaN]}',
    "infinity": b'{"weights": [-Infinity]}',
}


def check_broken_files(load, path, whole):
    """No content above is taken, nor a whole file that was cut."""
    for name, content in {**BROKEN, "cut": whole[: len(whole) // 2]}.items():
        path.write_bytes(content)
        with pytest.raises(ModelFileError) as caught:
            load(path)
        assert str(path) in str(caught.value), name
        assert len(str(caught.value)) < 400, name


def changed(found, place, value):
    """A copy with another value at a place, or without it where the value is ...."""
    found = copy.deepcopy(found)
    *before, last = place
    at = found
    for key in before:
        at = at[key]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return found


def check_wrong(load, path, found, place, value, message):
    """A whole file in which one thing is wrong says what, and names the file."""
    path.write_text(json.dumps(changed(found, place, value)))
    with pytest.raises(ModelFileError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
