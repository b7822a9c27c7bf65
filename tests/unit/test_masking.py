"""Masking: RFC 6455 §5.3, and where the keys come from: RFC 6455 §10.3."""

from __future__ import annotations

import array
import os
import runpy
import struct
from collections import Counter

import pytest

from wsframe.codec import _masking_py

LENGTHS = [*range(70), *range(125, 130), *(size + i for size in (256, 512, 768, 1024, 65536) for i in (-1, 0, 1))]


def xor(data, mask, phase=0):
    return bytes(byte ^ mask[(phase + i) & 3] for i, byte in enumerate(data))


def test_hello_of_the_rfc(impl):
    # RFC 6455 §5.7: a single-frame masked text message.
    assert impl.masking.apply_mask(b"Hello", bytes.fromhex("37fa213d")) == bytes.fromhex("7f9f4d5158")


def test_masking_equals_a_naive_loop_for_each_length(impl, each_kernel):
    # RFC 6455 §5.3: octet i is XORed with octet i modulo 4 of the key.
    cases = []
    for length in LENGTHS:
        data, mask = os.urandom(length), os.urandom(4)
        cases.append((data, mask, xor(data, mask)))
    for kernel in each_kernel:
        for data, mask, expected in cases:
            assert impl.masking.apply_mask(data, mask) == expected, (kernel, len(data))


def test_masking_twice_restores_the_payload(impl):
    data, mask = os.urandom(1000), os.urandom(4)
    assert impl.masking.apply_mask(impl.masking.apply_mask(data, mask), mask) == data


def test_an_empty_payload_stays_empty(impl):
    assert impl.masking.apply_mask(b"", b"abcd") == b""
    buffer = bytearray()
    impl.masking.apply_mask_inplace(buffer, b"abcd", 3)
    assert buffer == b""


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [5, 1000])
def test_payload_of_any_bytes_like_kind(impl, kind, size):
    data = os.urandom(size)
    result = impl.masking.apply_mask(kind(data), b"abcd")
    assert result == xor(data, b"abcd")
    assert type(result) is bytes


@pytest.mark.parametrize("size", [10, 2000])
def test_payload_that_is_not_contiguous(impl, size):
    data = os.urandom(size)
    assert impl.masking.apply_mask(memoryview(data)[::2], b"abcd") == xor(data[::2], b"abcd")
    assert impl.masking.apply_mask(memoryview(data)[::-1], b"abcd") == xor(data[::-1], b"abcd")


def test_payload_of_items_larger_than_a_byte(impl):
    data = array.array("I", range(10))
    assert impl.masking.apply_mask(data, b"abcd") == xor(data.tobytes(), b"abcd")
    expected = xor(data.tobytes(), b"abcd", 1)
    impl.masking.apply_mask_inplace(data, b"abcd", 1)
    assert data.tobytes() == expected


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_mask_of_any_bytes_like_kind(impl, kind):
    assert impl.masking.apply_mask(b"12345", kind(b"abcd")) == xor(b"12345", b"abcd")
    assert impl.masking.apply_mask(b"12345", memoryview(b"a.b.c.d.")[::2]) == xor(b"12345", b"abcd")


@pytest.mark.parametrize("mask", [b"", b"abc", b"abcde", bytearray(3), memoryview(b"abcde")])
def test_mask_of_another_length_is_a_value_error(impl, mask):
    with pytest.raises(ValueError, match="mask must contain 4 bytes"):
        impl.masking.apply_mask(b"12345", mask)
    with pytest.raises(ValueError, match="mask must contain 4 bytes"):
        impl.masking.apply_mask_inplace(bytearray(b"12345"), mask)


@pytest.mark.parametrize("mask", ["abcd", 4, None, [1, 2, 3, 4]])
def test_mask_that_is_not_bytes_like_is_a_type_error(impl, mask):
    with pytest.raises(TypeError, match="mask must be bytes-like"):
        impl.masking.apply_mask(b"12345", mask)
    with pytest.raises(TypeError, match="mask must be bytes-like"):
        impl.masking.apply_mask_inplace(bytearray(b"12345"), mask)


@pytest.mark.parametrize("data", ["text", 5, None, [1, 2]])
def test_payload_that_is_not_bytes_like_is_a_type_error(impl, data):
    with pytest.raises(TypeError):
        impl.masking.apply_mask(data, b"abcd")
    with pytest.raises(TypeError):
        impl.masking.apply_mask_inplace(data, b"abcd")


def test_masking_in_place_starts_at_any_byte_of_the_key(impl, each_kernel):
    for kernel in each_kernel:
        for length in LENGTHS[:-3]:
            for phase in range(4):
                buffer = bytearray(os.urandom(length))
                expected = xor(buffer, b"abcd", phase)
                assert impl.masking.apply_mask_inplace(buffer, b"abcd", phase) is None
                assert buffer == expected, (kernel, length, phase)


def test_masking_in_place_leaves_the_rest_of_the_buffer_alone(impl, each_kernel):
    for kernel in each_kernel:
        buffer = bytearray(1000)
        impl.masking.apply_mask_inplace(memoryview(buffer)[100:900], b"\xff\xff\xff\xff")
        assert buffer == bytes(100) + b"\xff" * 800 + bytes(100), kernel


@pytest.mark.parametrize("phase", [-1, 4, 2**100, -(2**100)])
def test_phase_out_of_range_is_a_value_error(impl, phase):
    with pytest.raises(ValueError, match="phase must be between 0 and 3"):
        impl.masking.apply_mask_inplace(bytearray(5), b"abcd", phase)


def test_masking_in_place_refuses_a_read_only_buffer(impl):
    with pytest.raises(TypeError, match="buffer must be writable"):
        impl.masking.apply_mask_inplace(b"12345", b"abcd")


def test_masking_in_place_refuses_a_buffer_that_is_not_contiguous(impl):
    with pytest.raises(ValueError, match="buffer must be contiguous"):
        impl.masking.apply_mask_inplace(memoryview(bytearray(10))[::2], b"abcd")


def test_masking_in_place_takes_an_empty_buffer_with_strides(impl):
    impl.masking.apply_mask_inplace(memoryview(bytearray(10))[5:5:-2], b"abcd")


def test_masking_keeps_no_buffer(impl):
    buffer = bytearray(100)
    impl.masking.apply_mask(buffer, b"abcd")
    impl.masking.apply_mask_inplace(buffer, b"abcd")
    impl.masking.apply_mask(buffer, bytearray(b"abcd"))
    # Impossible while anything holds the buffer.
    buffer.clear()


def test_keys_are_4_fresh_bytes(impl):
    # RFC 6455 §5.3: a fresh key for each frame. 20,000 random 32-bit numbers hardly coincide more than 3 times.
    keys = [impl.masking.new_masking_key() for _ in range(20_000)]
    assert {type(key) for key in keys} == {bytes}
    assert {len(key) for key in keys} == {4}
    assert len(set(keys)) > 19_950


def test_keys_come_from_os_urandom(impl, monkeypatch):
    # RFC 6455 §10.3: from a strong source of entropy, and each byte of it goes into one key only.
    drawn = []

    def urandom(size):
        drawn.append(real(size))
        return drawn[-1]

    real = os.urandom
    monkeypatch.setattr(os, "urandom", urandom)
    keys = [impl.masking.new_masking_key() for _ in range(5000)]
    assert 3 <= len(drawn) <= 5
    whole = [key for (key,) in struct.iter_unpack("4s", b"".join(drawn))]
    assert not Counter(whole[:3000]) - Counter(keys)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_keys_of_its_own(impl):
    # RFC 6455 §10.3: the parent's keys must not reveal the child's.
    impl.masking.new_masking_key()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            os.write(writer, b"".join(impl.masking.new_masking_key() for _ in range(200)))
        finally:
            os._exit(0)
    mine = [impl.masking.new_masking_key() for _ in range(200)]
    os.waitpid(child, 0)
    theirs = [key for (key,) in struct.iter_unpack("4s", os.read(reader, 10_000))]
    os.close(reader)
    os.close(writer)
    assert len(theirs) == 200
    assert not set(mine) & set(theirs)


def test_no_hook_is_registered_without_fork(monkeypatch):
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    module = runpy.run_path(_masking_py.__file__)
    assert len(module["new_masking_key"]()) == 4
