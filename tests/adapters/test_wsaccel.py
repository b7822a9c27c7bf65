"""``wsframe.adapters.wsaccel`` against the definition of what wsaccel does."""

from __future__ import annotations

import array
import subprocess
import sys

import pytest
from hypothesis import given, strategies as st
from support import environment

from wsframe.adapters import wsaccel
from wsframe.adapters.wsaccel.utf8validator import Utf8Validator
from wsframe.adapters.wsaccel.xormask import XorMaskerNull, XorMaskerSimple, createXorMasker

KEY = b"\x01\x02\x03\x04"


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, lambda data: array.array("B", data)])
def test_masking_continues_at_the_position(make):
    masker = createXorMasker(make(KEY), 100)
    data = bytes(range(50))
    expected = bytes(byte ^ KEY[i % 4] for i, byte in enumerate(data))
    assert isinstance(masker, XorMaskerSimple)
    assert masker.process(make(data[:7])) + masker.process(make(data[7:])) == expected
    assert masker.pointer() == 50
    masker.reset()
    assert masker.pointer() == 0
    assert masker.process(make(data)) == expected


def test_null_masker_counts():
    masker = XorMaskerNull()
    assert (masker.process(b"abc"), masker.pointer()) == (b"abc", 3)


@pytest.mark.parametrize("key", [b"", b"123", b"12345"])
def test_key_must_have_4_bytes(key):
    with pytest.raises(ValueError, match="4 bytes"):
        XorMaskerSimple(key)


def naive(data):
    """Return the index of the first byte that cannot be, None if there is none, and whether the rest is whole."""
    for end in range(1, len(data) + 1):
        try:
            data[:end].decode()
        except UnicodeDecodeError as exc:
            if exc.reason != "unexpected end of data":
                return end - 1, False
    try:
        data.decode()
    except UnicodeDecodeError:
        return None, False
    return None, True


PIECES = st.lists(
    st.one_of(st.binary(max_size=4), st.text(max_size=3).map(lambda text: text.encode("utf-8", "surrogatepass"))),
    max_size=6,
)


@given(PIECES)
def test_results_equal_those_of_the_naive_validator(pieces):
    validator = Utf8Validator()
    stream = b""
    for piece in pieces:
        start = len(stream)
        stream += piece
        wrong, whole = naive(stream)
        verdict = validator.validate(bytearray(piece))
        if wrong is None:
            assert verdict == (True, whole, len(piece), len(stream))
        else:
            assert verdict == (False, False, wrong - start, wrong)
            assert validator.validate(b"more") == (False, False, 0, wrong)
            validator.reset()
            stream = b""


def test_byte_by_byte():
    validator = Utf8Validator()
    states = [validator.decode(byte) for byte in "é€".encode()]
    assert [state == validator.UTF8_ACCEPT for state in states] == [False, True, False, False, True]
    assert validator.decode(0xFF) == validator.decode(0x20) == validator.UTF8_REJECT


def test_it_replaces_wsaccel():
    program = """
import sys
from wsframe.adapters import wsaccel
modules = {"wsaccel": wsaccel, "wsaccel.xormask": wsaccel.xormask, "wsaccel.utf8validator": wsaccel.utf8validator}
sys.modules.update(modules)
from wsaccel.xormask import XorMaskerSimple
from wsaccel.utf8validator import Utf8Validator
print(XorMaskerSimple(b"    ").process(b"WSFRAME").decode(), Utf8Validator().validate(b"x"))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, env=environment("py"), check=True)
    assert done.stdout.split() == b"wsframe (True, True, 1, 1)".split()
    assert wsaccel.__all__ == ["utf8validator", "xormask"]
