"""UTF-8 to str and back in C (RFC 3629), for each kernel, against CPython's own codec."""

from __future__ import annotations

import random
import sys

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

# Code points by how many bytes they take as UTF-8; those of two by how many they take in a str.
ONE, TWO, TWO_WIDE, THREE, FOUR = (0x00, 0x80), (0x80, 0x100), (0x100, 0x800), (0x800, 0xD800), (0x10000, 0x110000)
# What a block of some kernel takes or gives, and its neighbours.
SIZES = [*range(20), *range(28, 37), *range(44, 53), *range(60, 69), *range(92, 101), *range(124, 133), 191, 192, 193]
FILLERS = ["x", "é", "ж", "漢", "😀"]
CHARACTERS = [*"\0a\x7f\x80é\xff\u0100\u07ff\u0800漢\ud7ff\ue000\uffff\U00010000😀\U0010ffff"]


@pytest.fixture
def utf8(twins):
    return twins.c.utf8


@pytest.fixture
def each_transcoder(utf8):
    """Iterate over the kernels that this processor can run, each of them in use meanwhile."""

    def select():
        for name in utf8._kernels():
            utf8._select_kernel(name)
            yield name

    yield select()
    utf8._select_kernel(utf8._kernels()[0])


def check(utf8, text):
    """Compare both ways with CPython's, and how the str is stored: it must be as narrow as it can be."""
    encoded = text.encode()
    decoded = utf8._decode(encoded)
    assert decoded == text
    assert hash(decoded) == hash(text)
    assert decoded.isascii() is text.isascii()
    # In a new str, since the size of one that has been encoded by some means may include the result.
    assert sys.getsizeof(decoded) == sys.getsizeof("".join(list(text)))
    assert utf8._encode(text) == encoded
    assert utf8._encode_at_once(decoded) == encoded
    assert utf8._encode_at_once(decoded, 200) == encoded


def error(encode, text):
    with pytest.raises(UnicodeEncodeError) as caught:
        encode(text)
    return caught.value.args


def test_every_code_point(utf8, each_transcoder):
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    for _ in each_transcoder:
        check(utf8, everything)
        for end in (0x80, 0x100, 0x800, 0xD800, 0x10000):
            check(utf8, everything[:end])
            check(utf8, everything[:end][::-1])


def test_every_code_point_alone(utf8):
    # Another test covers the position within a block, so the default kernel is enough here.
    for code_point in [*range(0xD800), *range(0xE000, 0x110000, 41), 0xFFFF, 0x10000, 0x10FFFF]:
        text = chr(code_point)
        assert utf8._decode(text.encode()) == text
        assert utf8._encode(text) == text.encode()


def test_each_character_at_each_place_of_a_block(utf8, each_transcoder):
    for _ in each_transcoder:
        for filler in FILLERS:
            for size in SIZES:
                for character in CHARACTERS:
                    check(utf8, filler * size + character)
                    check(utf8, filler * size + character + filler * 67)


def test_each_length_of_each_kind(utf8, each_transcoder):
    for _ in each_transcoder:
        for filler in FILLERS:
            for size in range(300):
                check(utf8, filler * size)
                # The last block shares its vector with another kind.
                check(utf8, "x" * size + filler)
                check(utf8, filler + "x" * size)


def test_random_mixtures(utf8, each_transcoder):
    rng = random.Random(3629)
    for _ in each_transcoder:
        for _ in range(1500):
            weights = [rng.choice([1, 9, 30]), *(rng.choice([0, 0, 1, 9]) for _ in range(4))]
            kinds = rng.choices([ONE, TWO, TWO_WIDE, THREE, FOUR], weights, k=rng.randrange(rng.choice([9, 90, 900])))
            check(utf8, "".join(chr(rng.randrange(*kind)) for kind in kinds))


def test_any_text(utf8):
    @settings(max_examples=300, deadline=None)
    @given(
        pieces=st.lists(
            st.one_of(
                st.text(max_size=70),
                st.text(st.characters(max_codepoint=0x7FF), max_size=70),
                st.tuples(st.sampled_from(CHARACTERS), st.integers(0, 130)).map(lambda pair: pair[0] * pair[1]),
            ),
            max_size=4,
        )
    )
    def compare(pieces):
        for name in utf8._kernels():
            utf8._select_kernel(name)
            check(utf8, "".join(pieces))

    try:
        compare()
    finally:
        utf8._select_kernel(utf8._kernels()[0])


def test_a_lone_surrogate_is_the_error_that_encode_raises(utf8, each_transcoder):
    # RFC 3629 §3: no UTF-8 has one.
    for _ in each_transcoder:
        for filler in FILLERS:
            for size in SIZES:
                for surrogate in ("\ud800", "\udbff", "\udc00", "\udfff", "\ud83d\ude00"):
                    for text in (filler * size + surrogate, surrogate + filler * size, surrogate.center(size, filler)):
                        expected = error(str.encode, text)
                        assert error(utf8._encode, text) == expected
                        assert error(utf8._encode_at_once, text) == expected


def test_neighbours_of_surrogates_are_encoded(utf8, each_transcoder):
    for _ in each_transcoder:
        for character in "\ud7ff\ue000\U0001d800\U0010dfff":
            check(utf8, character * 100)


def test_a_str_of_one_character_is_pythons_singleton(utf8):
    for code_point in range(256):
        assert utf8._decode(chr(code_point).encode()) is chr(code_point)
    assert utf8._decode(b"") is "".strip()


def test_an_instance_of_a_subclass_is_encoded_like_a_str(utf8):
    class Text(str):
        __slots__ = ()

        def encode(self, *args, **kwargs):
            raise AssertionError

    for filler in FILLERS:
        assert utf8._encode(Text(filler * 50)) == (filler * 50).encode()
    assert error(utf8._encode, Text("\ud800")) == error(str.encode, "\ud800")


@pytest.mark.parametrize("text", [None, b"text", 5])
def test_other_types_are_a_type_error(utf8, text):
    for encode in (utf8._encode, utf8._encode_at_once):
        with pytest.raises(TypeError, match=f"text must be str, not {type(text).__name__}"):
            encode(text)


def test_less_room_than_it_needs_is_a_value_error(utf8):
    with pytest.raises(ValueError, match="room must not be negative"):
        utf8._encode_at_once("漢" * 100, -1)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_text_in_a_buffer(utf8, each_transcoder, kind):
    text = "né漢😀" * 40
    for _ in each_transcoder:
        # With a byte before and after it, where that matters.
        for cut in range(10):
            assert utf8._decode(memoryview(kind(b"\xff" * cut + text.encode() + b"\xff"))[cut:-1]) == text


def test_invalid_utf8_is_nonsense_of_the_length_that_was_counted(utf8, each_transcoder):
    # The parser has refused it before; but nothing may be read or written where it must not be.
    rng = random.Random(0x80)
    for _ in each_transcoder:
        for _ in range(3000):
            first = rng.choice([0x00, 0x80, 0xC0, 0xE0, 0xF0])
            data = bytes(rng.randrange(first, 0x100) for _ in range(rng.randrange(150)))
            if rng.random() < 0.5:
                data = "é漢😀x".encode() * 20 + data
            assert len(utf8._decode(data)) == sum(byte & 0xC0 != 0x80 for byte in data)
