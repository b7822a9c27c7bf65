"""Masking against a naive loop, for each alignment, length and phase, and for each kernel (RFC 6455 §5.3)."""

from __future__ import annotations

import os

import pytest

from wsframe import Role

ALIGNMENTS = range(64)
LENGTHS = range(201)
KEY = bytes.fromhex("37fa213d")


def naive(data, phase):
    return bytes([byte ^ KEY[(phase + i) & 3] for i, byte in enumerate(data)])


@pytest.mark.parametrize("phase", range(4))
def test_in_place(impl, each_kernel, phase):
    data = os.urandom(64 + 200 + 64)
    # The key's index at a byte depends on where masking starts: one naive run for each start modulo 4.
    masked = [naive(data, phase - start) for start in range(4)]
    apply_mask_inplace = impl.masking.apply_mask_inplace
    for kernel in each_kernel:
        for start in ALIGNMENTS if impl.name == "c" else range(4):
            whole = masked[start & 3]
            for length in LENGTHS:
                end = start + length
                buffer = bytearray(data)
                apply_mask_inplace(memoryview(buffer)[start:end], KEY, phase)
                # The bytes before and after must stay untouched.
                assert buffer == data[:start] + whole[start:end] + data[end:], (kernel, start, length)


def test_while_copying(impl, each_kernel):
    # The copy always starts where bytes objects do; the source anywhere.
    data = memoryview(os.urandom(64 + 200))
    masked = [naive(data, -start) for start in range(4)]
    apply_mask = impl.masking.apply_mask
    for kernel in each_kernel:
        for start in ALIGNMENTS:
            whole = masked[start & 3]
            for length in LENGTHS:
                assert apply_mask(data[start : start + length], KEY) == whole[start : start + length], (kernel, start)


def test_through_a_parser(impl, each_kernel):
    # A payload that comes in two pieces is masked from any phase to any alignment.
    payload = os.urandom(300)
    wire = impl.framing.serialize_frame(2, payload, mask=KEY)
    for kernel in each_kernel:
        for cut in range(len(wire)):
            parser = impl.framing.FrameParser(Role.SERVER)
            frames = parser.feed(wire[:cut]) + parser.feed(wire[cut:])
            assert [frame.payload for frame in frames] == [payload], (kernel, cut)
