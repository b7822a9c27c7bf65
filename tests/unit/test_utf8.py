"""Incremental UTF-8 validation: RFC 3629, and RFC 6455 §8.1 for when the verdict falls."""

from __future__ import annotations

import random

import pytest

BORDERS = [*range(20), *range(30, 34), *range(61, 68), *range(95, 98), *range(126, 131), *range(191, 194), 256]
CHARACTERS = [*"a\x7f\x80é\u07ff\u0800漢\ud7ff\ue000\uffff\U00010000😀\U0010ffff"]
BROKEN = [
    "80", "bf", "c0", "c1", "f5", "fe", "ff",  # no character begins so
    "c0af", "e09fbf", "f08fbfbf",  # overlong
    "eda080", "edbfbf",  # surrogates
    "f4908080", "f5808080",  # above U+10FFFF
    "c341", "e28241", "f09f9841", "e241", "f041", "f09f41",  # cut short by ASCII
    "c3c3a9", "e282e282ac", "f09ff09f9880",  # cut short by a character
    "c3a9a9", "e282acac", "f09f988080",  # a continuation byte too many
]  # fmt: skip


def verdict(data):
    """Return the verdict of CPython's decoder: True, False, or None for valid so far but incomplete."""
    try:
        data.decode()
    except UnicodeDecodeError as exc:
        return None if exc.reason == "unexpected end of data" else False
    return True


def check(validator, *pieces):
    """Feed the pieces, and compare the verdict after each with CPython's."""
    so_far = b""
    expected = True
    for piece in pieces:
        so_far += piece
        expected = verdict(so_far)
        assert validator.feed(piece) is (expected is not False), pieces
        assert validator.valid is (expected is not False), pieces
    assert validator.finish() is (expected is True), pieces
    assert validator.valid is True


def test_all_sequences_of_one_and_two_bytes(impl):
    validator = impl.utf8.Utf8Validator()
    for first in range(256):
        check(validator, bytes([first]))
        for second in range(256):
            pair = bytes([first, second])
            check(validator, pair)
            check(validator, pair[:1], pair[1:])


def test_every_code_point_cut_at_every_place(impl):
    # RFC 3629 §3: each code point but the surrogates, which are refused at their second byte.
    validator = impl.utf8.Utf8Validator()
    feed, finish = validator.feed, validator.finish
    # The pure twin asks CPython's decoder, which needs no exhaustive test, and takes longer.
    step = 1 if impl.name == "c" else 7
    for code_point in [*range(0x80, 0x110000, step), 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF]:
        encoded = chr(code_point).encode("utf-8", "surrogatepass")
        valid = not 0xD800 <= code_point <= 0xDFFF
        assert feed(encoded) is valid
        assert finish() is valid
        for cut in range(1, len(encoded)):
            assert feed(encoded[:cut]) is (valid or cut < 2)
            assert feed(encoded[cut:]) is valid
            assert finish() is valid


def test_every_code_point_in_long_pieces(impl, each_kernel):
    text = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)])).encode()
    validator = impl.utf8.Utf8Validator()
    for kernel in each_kernel:
        for size in (len(text), 65536, 1021, 67):
            assert all(validator.feed(text[i : i + size]) for i in range(0, len(text), size)), (kernel, size)
            assert validator.finish(), (kernel, size)


def test_second_and_third_bytes_at_the_bounds_of_their_lead_byte(impl, each_kernel):
    # RFC 3629 §4: the bounds of the second byte after E0, ED, F0 and F4 are narrower than those of the others.
    edges = [0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF]
    validator = impl.utf8.Utf8Validator()
    for _ in each_kernel:
        for lead in [0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF]:
            for second in edges:
                for third in edges:
                    for fourth in (0x41, 0x80):
                        sequence = bytes([lead, second, third, fourth])
                        check(validator, sequence)
                        check(validator, b"x" * 60 + sequence + b"x" * 64)


@pytest.mark.parametrize("filler", ["x", "é"])
def test_each_character_at_each_place_of_a_block(impl, each_kernel, filler):
    validator = impl.utf8.Utf8Validator()
    for _ in each_kernel:
        for size in BORDERS:
            for character in CHARACTERS:
                head = (filler * size).encode()[:size] if filler == "x" else (filler * (size // 2)).encode()
                check(validator, head + character.encode())
                check(validator, head + character.encode() + b"x" * 70)


def test_each_broken_sequence_at_each_place_of_a_block(impl, each_kernel):
    validator = impl.utf8.Utf8Validator()
    for _ in each_kernel:
        for size in BORDERS:
            for sequence in map(bytes.fromhex, BROKEN):
                check(validator, b"x" * size + sequence)
                check(validator, b"x" * size + sequence + b"x" * 130)
                check(validator, b"x" * 3 + "é".encode() * (size // 2) + sequence + b"x" * 64)


def test_a_character_cut_by_the_end_of_a_piece_at_each_place_of_a_block(impl, each_kernel):
    validator = impl.utf8.Utf8Validator()
    for _ in each_kernel:
        for size in BORDERS:
            for character in CHARACTERS[2:]:
                encoded = character.encode()
                for cut in range(1, len(encoded)):
                    check(validator, b"x" * size + encoded[:cut], encoded[cut:] + b"x" * size)
                    check(validator, b"x" * size + encoded[:cut], b"x" * 100)
                    check(validator, b"x" * size + encoded[:cut])


def test_random_text_with_random_damage_and_random_cuts(impl, each_kernel):
    rng = random.Random(3629)
    validator = impl.utf8.Utf8Validator()
    for _ in each_kernel:
        for _ in range(600):
            weights = rng.choice([(1, 0, 0, 0), (9, 1, 1, 1), (1, 1, 1, 1), (0, 1, 1, 1)])
            ranges = [(0x20, 0x7F), (0x80, 0x800), (0x800, 0xD800), (0x10000, 0x110000)]
            kinds = rng.choices(ranges, weights, k=rng.randrange(200))
            data = bytearray("".join(chr(rng.randrange(*kind)) for kind in kinds).encode())
            if data and rng.random() < 0.5:
                data[rng.randrange(len(data))] = rng.randrange(256)
            cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice([0, 1, 5])))
            pieces = [bytes(data[a:b]) for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
            check(validator, *pieces)


def test_pieces_may_be_empty(impl):
    check(impl.utf8.Utf8Validator(), b"", b"\xc3", b"", b"\xa9", b"")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_pieces_of_any_bytes_like_kind(impl, kind):
    validator = impl.utf8.Utf8Validator()
    assert validator.feed(kind("né".encode()[:-1])) is True
    assert validator.feed(kind("é".encode()[1:])) is True
    assert validator.finish() is True


@pytest.mark.parametrize("piece", ["text", 5, None, [1, 2]])
def test_a_piece_that_is_not_bytes_like_is_a_type_error(impl, piece):
    validator = impl.utf8.Utf8Validator()
    with pytest.raises(TypeError):
        validator.feed(piece)
    assert validator.valid
    assert validator.finish()


def test_invalid_utf8_is_detected_at_the_earliest_byte(impl):
    # RFC 6455 §8.1, and Autobahn 6.4.*: refused at the first invalid byte, not at the end of the message.
    validator = impl.utf8.Utf8Validator()
    fed = [validator.feed(bytes([byte])) for byte in b"\xce\xba\xe1\xbd\xb9\xf4\x90\x80\x80"]
    assert fed == [True] * 6 + [False] * 3


def test_invalid_state_lasts_until_finish(impl):
    validator = impl.utf8.Utf8Validator()
    assert validator.feed(b"\xff") is False
    assert validator.feed(b"valid") is False
    assert validator.finish() is False
    assert validator.feed(b"valid") is True
    assert validator.finish() is True


def test_finish_discards_an_incomplete_character(impl):
    validator = impl.utf8.Utf8Validator()
    assert validator.feed(b"\xe2\x82") is True
    assert validator.finish() is False
    assert validator.feed(b"\xac") is False


def test_a_piece_is_not_kept(impl):
    piece = bytearray(b"x" * 100 + b"\xc3")
    validator = impl.utf8.Utf8Validator()
    validator.feed(piece)
    # Impossible while anything holds the buffer.
    piece.clear()
