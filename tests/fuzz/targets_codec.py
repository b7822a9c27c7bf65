"""Targets for bytes and frames: the parser of both roles, UTF-8 and str, masking, serializing."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from . import generate, reference
from .implementations import implementations, kernels, select_kernel
from .source import Source
from .targets import target

KINDS = {
    "RSV1_SET": "rsv1",
    "RSV2_SET": "rsv2",
    "RSV3_SET": "rsv3",
    "UNKNOWN_OPCODE": "unknown opcode",
    "CONTROL_FRAME_FRAGMENTED": "control fragmented",
    "CONTINUATION_WITHOUT_START": "nothing to continue",
    "DATA_FRAME_INSIDE_MESSAGE": "message inside message",
    "UNMASKED_FRAME": "unmasked",
    "MASKED_FRAME": "masked",
    "CONTROL_FRAME_TOO_LONG": "control too long",
    "CLOSE_PAYLOAD_TOO_SHORT": "close of one byte",
    "LENGTH_NOT_MINIMAL": "length not minimal",
    "LENGTH_TOP_BIT_SET": "length with top bit",
    "FRAGMENT_TOO_BIG": "fragment too big",
    "MESSAGE_TOO_BIG": "message too big",
    "TOO_MANY_FRAGMENTS": "too many fragments",
    "BAD_CLOSE_CODE": "close code",
    "INVALID_UTF8_REASON": "reason not UTF-8",
    "INVALID_UTF8_TEXT": "text not UTF-8",
    "INVALID_DEFLATE": "deflate",
    "TOO_MANY_FINAL_BLOCKS": "final blocks",
}
"""The reference's word for each ``Fault``."""


def check_fault(fault: Any, bad: reference.Bad | None, where: object) -> None:
    """Compare a ``Fault`` with what the reference found."""
    if fault is None or bad is None:
        assert fault is bad is None, (where, fault, bad)
    else:
        assert KINDS[fault.name] in bad.kinds, (where, fault, bad)
        assert fault.close_code == bad.close_code, (where, fault, bad)


def use_any_kernel(source: Source) -> None:
    """Choose a kernel for the compiled implementation: the best, or any."""
    for implementation in implementations():
        names = kernels(implementation)
        if names:
            select_kernel(implementation, source.choice([None, *names]))


# The parser


def limits(source: Source) -> dict[str, int | None]:
    sizes = (2**20, None, 0, 1, 10, 125, 126, 1000, 65_535, 65_536, 2**62)
    return {
        "max_message_size": source.choice(sizes),
        "max_fragment_size": source.choice((None, None, *sizes)),
    }


def parse(source: Source, masked: bool) -> Iterable[str]:
    use_any_kernel(source)
    options: dict[str, Any] = limits(source)
    options["rsv1"] = source.boolean()
    stream = generate.stream(source, masked, generate.Deflater() if options["rsv1"] else None, large=source.chance(8))
    ends = generate.cuts(source, len(stream))
    rules = reference.Rules(masked, options["max_message_size"], options["max_fragment_size"], options["rsv1"])
    expected = [reference.decode(stream[:end], rules) for end in ends]
    wrapping = source.choice((bytes, bytearray, memoryview))
    refused = []
    for implementation in implementations():
        role = implementation.constants.Role.SERVER if masked else implementation.constants.Role.CLIENT
        parser = implementation.codec.FrameParser(role, **options)
        frames: list[reference.Frame] = []
        for piece, known in zip(generate.pieces(stream, ends), expected, strict=True):
            buffer = wrapping(piece)
            got = parser.feed(buffer)
            if wrapping is bytearray:
                # Nothing that was returned may change with the buffer that it came in.
                buffer[:] = b"\xee" * len(buffer)
            frames += [reference.Frame(int(one.opcode), one.payload, one.fin, one.rsv1) for one in got]
            assert all(type(one.payload) is bytes and not one.rsv2 and not one.rsv3 for one in got)
            assert frames == known.frames, (implementation.name, frames, known)
            check_fault(parser.fault, known.bad, (implementation.name, known))
            if known.bad is None:
                assert parser.pending_bytes == known.pending, (implementation.name, parser.pending_bytes, known)
            assert parser.refused_length == known.refused_length, (implementation.name, parser.refused_length, known)
        refused.append(parser.refused_payload)
    assert refused == refused[:1] * len(refused), refused
    last = expected[-1]
    yield f"{len(last.frames)} frames"
    yield f"bad {sorted(last.bad.kinds) if last.bad else None} with {len(ends) > 1} cuts"
    yield f"pending {last.pending.bit_length()}"
    yield from (f"frame {one.opcode} {one.fin} {one.rsv1} {len(one.payload).bit_length()}" for one in last.frames)


@target("parser-server")
def parse_as_server(source: Source) -> Iterable[str]:
    return list(parse(source, masked=True))


@target("parser-client")
def parse_as_client(source: Source) -> Iterable[str]:
    return list(parse(source, masked=False))


# UTF-8


@target("utf8")
def validate(source: Source) -> Iterable[str]:
    """The validator of each kernel, cut anywhere; str and bytes out of one another."""
    data = generate.nearly_utf8(source, large=source.chance(8))
    padding = source.choice((0, 0, *range(1, 130)))
    data = b"x" * padding + data + (b"y" * source.choice((0, 0, 1, 15, 63, 130)))
    ends = generate.cuts(source, len(data))
    verdicts = [reference.is_utf8(data[:end], False) for end in ends]
    whole = reference.is_utf8(data, True)
    for implementation in implementations():
        for kernel in kernels(implementation) or [None]:
            if kernel is not None:
                select_kernel(implementation, kernel)
            where = (implementation.name, kernel)
            validator = implementation.codec.Utf8Validator()
            for piece, verdict in zip(generate.pieces(data, ends), verdicts, strict=True):
                assert validator.feed(piece) is verdict, (where, verdict)
                assert validator.valid is verdict, where
            assert validator.finish() is whole, (where, whole)
            # Ready for the next one.
            assert validator.feed(data) is verdicts[-1], where
            assert validator.finish() is whole, where
            if whole:
                check_transcoding(implementation, data, where)
        select_kernel(implementation, None)
    return [f"utf8 {whole} {verdicts[-1]} {len(data).bit_length()}", f"cuts {len(ends)} {verdicts.count(False)}"]


def same_str(one: str, other: str) -> bool:
    """Return whether two strings are equal in every way in which a non-canonical str differs."""
    return (
        type(one) is str
        and one == other
        and hash(one) == hash(other)
        and size_of(one) == size_of(other)
        and one.isascii() == other.isascii()
        and {one: 1}.get(other) == 1
        and one.encode() == other.encode()
    )


def size_of(text: str) -> int:
    """Return the bytes that a str takes, where that can be asked."""
    return sys.getsizeof(text) if sys.implementation.name == "cpython" else 0


def canonical(data: bytes) -> str:
    """Decode without the UTF-8 that CPython may keep with a str, which would count in its size."""
    return data.decode("utf-8")


@target("message-data")
def read_data(source: Source) -> Iterable[str]:
    """The text of a message by the property that applications use, UTF-8 or not."""
    data = generate.nearly_utf8(source, large=source.chance(8))
    whole = reference.is_utf8(data, True)
    fin = source.boolean()
    for implementation in implementations():
        opcode = implementation.constants.Opcode
        for kernel in kernels(implementation) or [None]:
            if kernel is not None:
                select_kernel(implementation, kernel)
            where = (implementation.name, kernel)
            message = implementation.events.Message(opcode.TEXT, data, fin=fin)
            try:
                text = message.data
            except UnicodeDecodeError:
                assert not whole, where
            else:
                assert whole, (where, text)
                assert same_str(text, canonical(data)), where
            assert implementation.events.Message(opcode.BINARY, data).data is data, where
        select_kernel(implementation, None)
    return [f"{whole} {len(data).bit_length()}"]


def check_transcoding(implementation: SimpleNamespace, data: bytes, where: object) -> None:
    text = canonical(data)
    twin = implementation.utf8_twin
    if hasattr(twin, "_decode"):
        assert same_str(twin._decode(data), text), where
        assert twin._encode(text) == data, where
        assert twin._encode_at_once(text) == data, where
    connection = implementation.connection.SansIOConnection(implementation.constants.Role.SERVER)
    connection.send_text(text)
    assert connection.data_to_send() == reference.write(reference.TEXT, data), where


@target("str-to-utf8")
def encode(source: Source) -> Iterable[str]:
    """Text that is sent, lone surrogates in it at times, of every width."""
    text = generate.text(source, large=source.chance(8))
    if source.chance(3):
        place = source.integer(0, len(text))
        text = text[:place] + source.choice(("\ud800", "\udbff", "\udc00", "\udfff")) + text[place:]
    try:
        expected = text.encode("utf-8")
    except UnicodeEncodeError:
        expected = None
    for implementation in implementations():
        for kernel in kernels(implementation) or [None]:
            if kernel is not None:
                select_kernel(implementation, kernel)
            where = (implementation.name, kernel)
            connection = implementation.connection.SansIOConnection(implementation.constants.Role.SERVER)
            connection.send_text("before")
            try:
                connection.send_text(text)
            except UnicodeEncodeError:
                assert expected is None, where
            else:
                assert expected is not None, where
            connection.send_text("behind")
            frames = reference.decode(connection.data_to_send(), reference.Rules(masked=False)).frames
            wanted = [b"before", b"behind"] if expected is None else [b"before", expected, b"behind"]
            assert [frame.payload for frame in frames] == wanted, where
        select_kernel(implementation, None)
    return [f"{expected is None} {max(text, default='')!r} {len(text).bit_length()}"]


# Masking and serializing


def outcome(function: Any, *arguments: Any, **options: Any) -> Any:
    """Call a function; return its result, or the kind of its exception."""
    try:
        return function(*arguments, **options)
    except (TypeError, ValueError, BufferError) as exc:
        return type(exc)


@target("masks")
def mask(source: Source) -> Iterable[str]:
    use_any_kernel(source)
    buffer, data = generate.odd_buffer(source, generate.binary(source, large=source.chance(8)))
    key: Any = source.choice((bytes, bytearray, memoryview, generate.Bytes))(source.bytes(4, 4))
    wrong = source.chance(8)
    if wrong:
        key = source.choice((*generate.NOT_BUFFERS, b"", b"123", b"12345"))
    expected: Any = None
    if not wrong:
        expected = reference.unmask(data, bytes(key))
    masked = [outcome(one.codec.apply_mask, buffer, key) for one in implementations()]
    if wrong:
        kind = ValueError if isinstance(key, bytes) else TypeError
        assert masked == [kind] * len(masked), (key, masked)
        return [f"wrong key {type(key).__name__} {len(data).bit_length()}"]
    assert all(type(one) is bytes for one in masked), masked
    assert masked == [expected] * len(masked), (data, bytes(key), masked)
    # In place, at any offset and phase.
    phase = source.integer(0, 3)
    begin = source.integer(0, min(len(data), 70))
    end = source.integer(begin, len(data))
    turned = bytes(key)[phase:] + bytes(key)[:phase]
    wanted = data[:begin] + reference.unmask(data[begin:end], turned) + data[end:]
    for implementation in implementations():
        target = bytearray(data)
        assert implementation.codec.apply_mask_inplace(memoryview(target)[begin:end], key, phase) is None
        assert target == wanted, (implementation.name, begin, end, phase)
    results = [outcome(one.codec.apply_mask_inplace, buffer, key, phase) for one in implementations()]
    # Twice is not at all, and an even number of implementations leaves the buffer as it was.
    assert results == results[:1] * len(results), results
    return [f"{type(buffer).__name__} {len(data).bit_length()} {phase} {begin % 16} {results[0]}"]


@target("serialize")
def serialize(source: Source) -> Iterable[str]:
    use_any_kernel(source)
    buffer, data = generate.odd_buffer(source, generate.binary(source, large=source.chance(8)))
    opcode = source.integer(0, 15)
    bits = {name: source.boolean() for name in ("fin", "rsv1", "rsv2", "rsv3")}
    key = generate.key(source, source.boolean())
    rsv = bits["rsv1"] << 2 | bits["rsv2"] << 1 | bits["rsv3"]
    expected = reference.write(opcode, data, fin=bits["fin"], rsv=rsv, key=key)
    for implementation in implementations():
        frame = implementation.codec.serialize_frame(opcode, buffer, mask=key, **bits)
        assert type(frame) is bytes, implementation.name
        assert frame == expected, (implementation.name, frame, expected)
    kind = source.integer(0, 7)
    if kind == 0:
        wrong = source.choice(generate.NOT_BUFFERS)
        results = [outcome(one.codec.serialize_frame, opcode, wrong, mask=key) for one in implementations()]
        assert results == [TypeError] * len(results), (wrong, results)
    elif kind == 1:
        wrong = source.choice((b"", b"123", b"12345", "1234", 1, [1, 2, 3, 4]))
        results = [outcome(one.codec.serialize_frame, opcode, data, mask=wrong) for one in implementations()]
        assert results == [ValueError if isinstance(wrong, bytes) else TypeError] * len(results), (wrong, results)
    elif kind == 2:
        wrong = source.choice((-1, 16, 2**31, 2**64, -(2**70)))
        results = [outcome(one.codec.serialize_frame, wrong, data) for one in implementations()]
        assert results == [ValueError] * len(results), (wrong, results)
    return [f"{type(buffer).__name__} {len(data).bit_length()} {key is None} {kind}"]
