"""Compressed messages that are invalid or too large (RFC 7692 §7.2.2, §8). Rows D11 and D12 of the matrix, on bytes."""

from __future__ import annotations

import time
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings, strategies as st
from support_deflate import EMPTY_FINAL_BLOCK, JSON, RANDOM, Deflater, codec, receive

from wsframe.exceptions import Fault, PayloadTooBig, ProtocolError
from wsframe.extensions import deflate as deflate_module
from wsframe.extensions.deflate import MAX_FINAL_BLOCKS


def attempt(extension, payload, *cuts, **options):
    """Decode a message that may be invalid; return the output and the fault."""
    try:
        return receive(extension, payload, *cuts, **options), None
    except (ProtocolError, PayloadTooBig) as exc:
        return b"", exc.fault


def refuse(extension, payload, *cuts, **options):
    with pytest.raises(ProtocolError) as info:
        receive(extension, payload, *cuts, **options)
    assert info.value.fault is not None
    return info.value.fault


WHOLE = Deflater().message((JSON, "final"))

INVALID = {
    # RFC 1951 §3.2.3: BTYPE 11 is reserved.
    "reserved block type": b"\x06",
    "reserved block type after a final block": EMPTY_FINAL_BLOCK + b"\x06",
    "stored block with wrong length": b"\x00\x05\x00\x00\x00hello",
    "reference to before the beginning": b"\x02\x06\x00\x00",
    "random bytes": b"\xff" * 20,
    "gzip": bytes.fromhex("1f8b080000000000"),
}


@pytest.mark.parametrize("payload", [pytest.param(payload, id=name) for name, payload in INVALID.items()])
def test_d11_garbage_fails_the_connection(backend, payload):
    assert refuse(codec(backend), payload) is Fault.INVALID_DEFLATE
    assert refuse(codec(backend), payload, max_size=100) is Fault.INVALID_DEFLATE


def test_fault_includes_the_backends_message():
    with pytest.raises(ProtocolError, match=r"^a compressed message cannot be decompressed: Error -3 .* block type"):
        receive(codec(), b"\x06")


def test_d11_no_other_exception_leaks(backend):
    @settings(max_examples=300, deadline=None)
    @given(
        payload=st.binary(max_size=200)
        | st.tuples(st.binary(max_size=9), st.integers(0, 60), st.integers(0, 255)).map(
            # A valid message with a byte changed, or truncated.
            lambda parts: parts[0] + WHOLE[: parts[1]] + bytes([parts[2]]) + WHOLE
        ),
        cut=st.integers(0, 200),
        limit=st.sampled_from([None, 0, 1, 50, 10_000]),
        takeover=st.booleans(),
    )
    def check(payload, cut, limit, takeover):
        extension = codec(backend, remote_no=not takeover, remote=9)
        for _ in range(2):
            output, fault = attempt(extension, payload, min(cut, len(payload)), max_size=limit)
            assert limit is None or len(output) <= limit
            if fault is not None:
                assert fault in (Fault.INVALID_DEFLATE, Fault.MESSAGE_TOO_BIG, Fault.TOO_MANY_FINAL_BLOCKS)
                break

    check()


def is_complete(payload):
    """Return whether a message without final blocks ends at the end of a block, according to zlib."""
    inflater = zlib.decompressobj(-15)
    try:
        inflater.decompress(payload)
        behind = inflater.decompress(b"\x00\x00\xff\xff" + EMPTY_FINAL_BLOCK)
    except zlib.error:
        return False
    return inflater.eof and not behind


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("kind", ["sync", "fixed", "stored"])
def test_d11_truncated_message_fails_the_connection(backend, kind, takeover):
    """RFC 7692 §7.2.2."""
    for data in (JSON, JSON * 20, RANDOM[:300], b"\x00" * 500):
        whole = Deflater().message((data, kind), (data, kind), (b"abc", kind))
        for size in (None, 10_000):
            outputs = set()
            for end in range(len(whole)):
                extension = codec(backend, remote_no=not takeover)
                cuts = (end // 2,) if size else ()
                if is_complete(whole[:end]):
                    outputs.add(receive(extension, whole[:end], *cuts, max_size=size))
                else:
                    assert refuse(extension, whole[:end], *cuts, max_size=size) is Fault.INVALID_DEFLATE, end
            # The first byte of a stored block may be that of the empty block at the end as well.
            assert outputs - {b""} == {data, data * 2}


@pytest.mark.parametrize("takeover", [True, False])
def test_d11_end_of_a_message(backend, takeover):
    """RFC 7692 §7.2.1: the last block is an empty one, of which all but the first bits have been removed."""
    for payload in (b"", RANDOM[:1] + b"\x00\x00\xff\xff", WHOLE[:-4], b"\x00" + b"\x00\x00\xff\xff"):
        assert refuse(codec(backend, remote_no=not takeover), payload) is Fault.INVALID_DEFLATE
    extension = codec(backend, remote_no=not takeover)
    peer = Deflater(takeover=takeover)
    for _ in range(3):
        # The unused bits are arbitrary; the empty block may be a final one.
        for end in (b"\x00", b"\xf8", b"\x01", b"\xf9"):
            assert receive(extension, peer.message((JSON, "final"), trailer=end)) == JSON
            assert receive(extension, end) == b""


def test_fault_reports_a_truncated_message():
    with pytest.raises(ProtocolError, match=r"^a compressed message cannot be decompressed: it ends within a block$"):
        receive(codec(), b"")


@pytest.mark.parametrize("kind", ["sync", "stored", "final", "stored final"])
@pytest.mark.parametrize("size", [0, 1, 2, 257, 258, 4096, 70_000])
def test_d12_message_at_the_limit_passes_and_one_byte_more_fails(backend, size, kind):
    data = (RANDOM * 14)[:size] if kind == "stored" else b"x" * size
    for blocks in (((data, kind),), ((data[: size // 2], kind), (data[size // 2 :], kind))):
        payload = Deflater().message(*blocks)
        for cuts in ((), (len(payload) // 2,), (1, 2, len(payload))):
            assert receive(codec(backend), payload, *cuts, max_size=size) == data
            if size:
                with pytest.raises(PayloadTooBig) as info:
                    receive(codec(backend), payload, *cuts, max_size=size - 1)
                assert info.value.fault is Fault.MESSAGE_TOO_BIG


def test_d12_limit_is_enforced_while_inflating(backend):
    """RFC 6455 §10.4: 100 MiB of zeros in 100 KiB."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(deflater.compress(bytes(2**20)) for _ in range(100)) + deflater.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < 110_000
    for prefix in (b"", EMPTY_FINAL_BLOCK):
        extension = codec(backend)
        tracemalloc.start()
        try:
            with pytest.raises(PayloadTooBig):
                receive(extension, prefix + bomb, max_size=2**20)
            assert tracemalloc.get_traced_memory()[1] < 4e6
        finally:
            tracemalloc.stop()


def test_d12_final_blocks_are_counted(backend):
    assert receive(codec(backend), EMPTY_FINAL_BLOCK * MAX_FINAL_BLOCKS) == b""
    chain = EMPTY_FINAL_BLOCK * (MAX_FINAL_BLOCKS + 1)
    assert refuse(codec(backend), chain) is Fault.TOO_MANY_FINAL_BLOCKS
    assert refuse(codec(backend), chain, *range(2, len(chain), 2)) is Fault.TOO_MANY_FINAL_BLOCKS
    # Each message has its own.
    extension = codec(backend)
    for _ in range(3):
        assert receive(extension, EMPTY_FINAL_BLOCK * MAX_FINAL_BLOCKS + b"\x00") == b""


def test_d12_chain_of_final_blocks_does_not_copy_the_rest_of_the_message(backend):
    # aiohttp's CVE-2026-128131: quadratic, with seconds of processor time for what takes milliseconds here.
    head = EMPTY_FINAL_BLOCK * (MAX_FINAL_BLOCKS - 1)
    for chain in (EMPTY_FINAL_BLOCK * 2**18, head + Deflater().message((RANDOM * 200, "stored"))):
        begin = time.process_time()
        _, fault = attempt(codec(backend), chain, max_size=2**20)
        assert time.process_time() - begin < 0.5
        assert fault in (Fault.TOO_MANY_FINAL_BLOCKS, None)


def test_pieces_after_a_final_block_are_joined(backend, monkeypatch):
    monkeypatch.setattr(deflate_module, "PIECE_SIZE", 3)
    peer, extension = Deflater(), codec(backend)
    for _ in range(2):
        payload = peer.message((JSON, "final"), (RANDOM, "sync"), (JSON, "final"), (b"abc", "stored"))
        assert receive(extension, payload, max_size=10_000) == JSON + RANDOM + JSON + b"abc"
