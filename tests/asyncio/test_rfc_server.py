"""Rows H, F and X of the RFC matrix against ``serve``, over a real socket."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import random

import pytest
import support
from support import ACCEPT, BINARY, CLOSE, KEY, PING, PONG, TEXT, dial, dial_open, echo, request, soon, until

from wsframe import ConnectionClosedError, ConnectionClosedOK, State, serve
from wsframe.testing import Clock

HERE = "127.0.0.1"


async def status_of(data, **options):
    """Send a request to a server; return status, headers and what follows them."""
    async with serve(echo, HERE, 0, **options) as server, dial(server) as peer:
        await peer.send(data)
        start_line, headers = await peer.read_head()
        version, status, *_ = start_line.split(" ")
        assert version == "HTTP/1.1"
        headers = {name.lower(): value for name, value in headers}
        if status != "101":
            # The refusal is complete, and TCP ends: the connection must not be taken for an upgraded one.
            body = await soon(peer.reader.read())
            assert len(body) == (0 if data.startswith(b"HEAD") else int(headers["content-length"]))
            assert headers["connection"] == "close"
        return int(status), headers


# Opening handshake

REQUESTS = [
    ("H1 POST", request(start_line="POST / HTTP/1.1"), {405}),
    ("H1 HEAD", request(start_line="HEAD / HTTP/1.1"), {405}),
    ("H2 HTTP/1.0", request(start_line="GET / HTTP/1.0"), {400, 505}),
    ("H2 HTTP/2.0", request(start_line="GET / HTTP/2.0"), {400, 505}),
    ("H3 no Host", request({"Host": None}), {400}),
    ("H3 two Hosts", request({"Host": ["a", "b"]}), {400}),
    ("H4 no Upgrade", request({"Upgrade": None}), {400, 426}),
    ("H4 h2c", request({"Upgrade": "h2c"}), {400, 426}),
    ("H4 WebSocket", request({"Upgrade": "WebSocket"}), {101}),
    ("H4 list", request({"Upgrade": "h2c, websocket"}), {101}),
    ("H5 no Connection", request({"Connection": None}), {400, 426}),
    ("H5 close", request({"Connection": "close"}), {400, 426}),
    ("H5 list", request({"Connection": "keep-alive, UPGRADE"}), {101}),
    ("H6 no key", request({"Sec-WebSocket-Key": None}), {400}),
    ("H6 15 bytes", request({"Sec-WebSocket-Key": base64.b64encode(bytes(15)).decode()}), {400}),
    ("H6 17 bytes", request({"Sec-WebSocket-Key": base64.b64encode(bytes(17)).decode()}), {400}),
    ("H6 not base64", request({"Sec-WebSocket-Key": "?" * 24}), {400}),
    ("H6 not ASCII", request({"Sec-WebSocket-Key": "\xe9" * 24}), {400}),
    ("H6 two keys", request({"Sec-WebSocket-Key": [KEY, KEY]}), {400}),
    ("H7 version 12", request({"Sec-WebSocket-Version": "12"}), {426}),
    ("H7 no version", request({"Sec-WebSocket-Version": None}), {426}),
    ("H10 odd extensions", request({"Sec-WebSocket-Extensions": "constructor("}), {400}),
    ("H13 space before the colon", request({"X ": "1"}), {400}),
    ("H13 folded line", request({"X": "1\r\n 2"}), {400}),
    ("H13 NUL", request({"X": "a\0b"}), {400}),
    ("H13 bare CR", request({"X": "a\rb"}), {400}),
    ("H13 bare LF", request({"X": "a\nb"}), {400}),
    ("H16 two versions", request({"Sec-WebSocket-Version": ["13", "13"]}), {400, 426}),
    ("body", request({"Content-Length": "3"}) + b"abc", {400}),
]


@pytest.mark.parametrize(("data", "expected"), [pytest.param(*row[1:], id=row[0]) for row in REQUESTS])
async def test_h1_to_h16_request_is_checked(data, expected):
    """RFC 6455 §4.2.1, §4.2.2, §4.4."""
    status, headers = await status_of(data)
    assert status in expected
    if status == 426:
        assert headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize(
    "data",
    [
        bytes.fromhex("16030100a5010000a10303") + bytes(200),
        b"HELO relay.invalid\r\n",
        b" ",
        b"\n",
    ],
)
@pytest.mark.parametrize("way", ["whole", "in pieces"])
async def test_h13_data_that_is_not_http_gets_no_answer(data, way, caplog):
    async with serve(echo, HERE, 0) as server, dial(server) as peer:
        pieces = [data] if way == "whole" else [data[i : i + 1] for i in range(len(data))]
        with contextlib.suppress(ConnectionError):
            await peer.send(*pieces)
        with contextlib.suppress(ConnectionError):
            await peer.expect_end()
    assert not caplog.records


async def test_h8_accept_is_that_of_the_rfc():
    """RFC 6455 §1.3, §4.2.2."""
    status, headers = await status_of(request())
    assert (status, headers["sec-websocket-accept"]) == (101, ACCEPT)
    assert headers["upgrade"].lower() == "websocket"
    assert headers["connection"].lower() == "upgrade"


@pytest.mark.parametrize(
    ("offered", "status", "chosen"),
    [("a, b", 101, "b"), (["a", "b"], 101, "b"), ("x", 400, None), (None, 400, None), ("\xe9", 400, None)],
)
async def test_h9_subprotocol_is_one_that_was_offered(offered, status, chosen):
    """RFC 6455 §4.2.2; a non-ASCII offer does not crash anything."""
    got, headers = await status_of(request({"Sec-WebSocket-Protocol": offered}), subprotocols=["b", "c"])
    assert (got, headers.get("sec-websocket-protocol")) == (status, chosen)


@pytest.mark.parametrize("offer", [None, "x-foo; a=1", "permessage-deflate; client_no_context_takeover=1"])
async def test_h10_no_extension_is_in_the_response(offer):
    """RFC 6455 §9.1."""
    status, headers = await status_of(request({"Sec-WebSocket-Extensions": offer}))
    assert status == 101
    assert "sec-websocket-extensions" not in headers


@pytest.mark.parametrize(
    ("origin", "status"), [("http://evil.example", 403), ("http://good.example", 101), (None, 101), ("null", 403)]
)
async def test_h11_foreign_origin_is_refused(origin, status):
    """RFC 6455 §10.2."""
    got, _ = await status_of(request({"Origin": origin}), origins=["http://good.example", None])
    assert got == status


async def test_h12_too_many_headers_are_refused():
    """RFC 6455 §10.4."""
    status, _ = await status_of(request({f"X{i}": "1" for i in range(20_000)})[:30_000] + b"\r\n\r\n")
    assert status == 431


@pytest.mark.parametrize(
    ("start", "status"), [(b"GET / HTTP/1.1\r\nX: ", 431), (b"GET /", 414), (b"GET / HTTP/1.1\r\n", 431)]
)
async def test_h12_endless_head_is_refused(start, status):
    """RFC 6455 §10.4."""
    async with serve(echo, HERE, 0) as server, dial(server) as peer:
        await peer.send(start + b"a" * 33_000)
        start_line, _ = await peer.read_head()
        assert int(start_line.split(" ")[1]) == status
        await soon(peer.reader.read())


@pytest.mark.parametrize("trickle", [False, True], ids=["silence", "trickle"])
async def test_h14_handshake_has_a_time_limit(trickle):
    """RFC 6455 §10.4."""
    clock = Clock()
    reads = []
    options = {"open_timeout": 10, "create_connection": support.recorded_reads(reads, support.clocked(clock))}
    async with serve(echo, HERE, 0, **options) as server, dial(server) as peer:
        await until(lambda: server._attached)
        for i in range(19):
            if trickle:
                await peer.send(request()[i : i + 1])
                await until(lambda: len(reads) == i + 1)
            await clock.advance(0.5)
            assert server._attached
        await clock.advance(0.5)
        with contextlib.suppress(ConnectionError):
            assert await soon(peer.reader.read()) == b""


async def test_h15_frame_after_the_request_is_answered():
    """RFC 6455 §4.2.2."""
    data = support.wire_frame(TEXT, b"glued", mask=b"abcd")
    async with serve(echo, HERE, 0) as server, dial_open(server, trailing=data) as peer:
        await peer.expect(TEXT, b"glued")


async def test_h15_frame_after_the_request_waits_for_process_request():
    """RFC 6455 §4.2.2: also one received while a coroutine decides."""
    frames = [(TEXT, b"a", False), (0, b"b", True), (TEXT, b"c", True)]
    wire = [support.wire_frame(opcode, payload, fin=fin, mask=b"abcd") for opcode, payload, fin in frames]
    reads = []

    async def process_request(connection, received):
        size = len(request()) + sum(map(len, wire))
        # Reading may pause before all of it is read.
        await until(lambda: sum(nbytes for _, nbytes in reads) == size or not connection.transport.is_reading())

    options = {"process_request": process_request, "create_connection": support.recorded_reads(reads)}
    async with serve(echo, HERE, 0, **options) as server, dial(server) as peer:
        await peer.send(request() + wire[0], *wire[1:])
        await peer.read_head()
        await peer.expect(TEXT, b"ab")
        await peer.expect(TEXT, b"c")


async def test_h15_request_may_arrive_one_byte_at_a_time():
    """RFC 6455 §4.2.1."""
    async with serve(echo, HERE, 0) as server, dial(server) as peer:
        data = request() + peer.frame(TEXT, b"a")
        await peer.send(*(data[i : i + 1] for i in range(len(data))))
        start_line, _ = await peer.read_head()
        assert " 101 " in start_line
        await peer.expect(TEXT, b"a")


async def test_h17_line_breaks_of_the_application_are_refused(caplog):
    """RFC 6455 §4.2.2: class of CVE-2020-35678. An error of the application is a 500, and logged once."""

    def process_response(connection, received, response):
        response.headers["X"] = "a\r\nY: b"

    with caplog.at_level(logging.ERROR, "wsframe"):
        status, headers = await status_of(request(), process_response=process_response)
    assert status == 500
    assert "y" not in headers
    assert len(caplog.records) == 1
    assert isinstance(caplog.records[0].exc_info[1], ValueError)
    with pytest.raises(ValueError, match="valid subprotocol"):
        serve(echo, HERE, 0, subprotocols=["a\r\nY: b"])


# Framing


async def fails(code, *pieces, before=(), **options):
    """Send pieces after the handshake; expect answers, a Close frame with this code and the end of TCP."""
    ended = []

    async def handler(websocket):
        try:
            await echo(websocket)
        except ConnectionClosedError as exc:
            ended.append(exc)
            raise

    async with serve(handler, HERE, 0, **options) as server, dial_open(server) as peer:
        frames = [piece if isinstance(piece, bytes) else peer.frame(*piece[:2], **dict(piece[2:])) for piece in pieces]
        await peer.send(b"".join(frames))
        await peer.expect_failure(code, *before)
        await peer.aclose()
        await until(lambda: ended)
    assert ended[0].sent.code == code
    assert ended[0].rcvd is None


RESERVED = [(opcode, rsv) for opcode in (0, TEXT, BINARY, CLOSE, PING, PONG) for rsv in (1, 2, 4)]


@pytest.mark.parametrize(("opcode", "rsv"), RESERVED)
async def test_f1_reserved_bits_fail_the_connection(opcode, rsv):
    """RFC 6455 §5.2."""
    start = [(TEXT, b"a", ("fin", False))] if opcode == 0 else []
    await fails(1002, *start, (opcode, b"", ("rsv", rsv)))


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
async def test_f2_unknown_opcodes_fail_the_connection_from_the_header(opcode):
    """RFC 6455 §5.2: whatever length is announced."""
    await fails(1002, (opcode, b"", ("length", 2**62)))


async def test_f3_unmasked_frame_fails_the_connection():
    """RFC 6455 §5.1: and it is not echoed."""
    await fails(1002, support.wire_frame(TEXT, b"unmasked"))


@pytest.mark.parametrize("length_size", [2, 8])
async def test_f5_length_must_be_minimal(length_size):
    """RFC 6455 §5.2."""
    await fails(1002, (TEXT, b"hello", ("length_size", length_size)))


@pytest.mark.parametrize(("size", "length_size"), [(0, 0), (125, 0), (126, 2), (65535, 2), (65536, 8)])
async def test_f5_own_length_is_minimal(size, length_size):
    """RFC 6455 §5.2."""
    async with serve(echo, HERE, 0) as server, dial_open(server) as peer:
        await peer.send_frame(BINARY, bytes(size))
        frame = await peer.read_frame()
        assert (len(frame.payload), frame.length_size, frame.masked) == (size, length_size, False)


@pytest.mark.parametrize("length", [1 << 63, (1 << 63) + 5, (1 << 64) - 1])
@pytest.mark.parametrize("fragment", [False, True])
async def test_f6_top_bit_of_the_length_fails_the_connection(length, fragment):
    """RFC 6455 §5.2: no overflow with a buffered fragment."""
    start = [(BINARY, b"a" * 100, ("fin", False))] if fragment else []
    await fails(1002, *start, (0 if fragment else BINARY, b"", ("length", length)))


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
async def test_f7_long_or_fragmented_control_frames_fail_the_connection(opcode):
    """RFC 6455 §5.5: detected from the header."""
    await fails(1002, (opcode, b"", ("length", 126), ("length_size", 2)))
    await fails(1002, (opcode, b"", ("length", 5), ("fin", False)))


@pytest.mark.parametrize("fin", [False, True])
async def test_f8_continuation_needs_a_start(fin):
    """RFC 6455 §5.4."""
    await fails(1002, (0, b"a", ("fin", fin)))
    await fails(1002, (TEXT, b"a"), (0, b"b", ("fin", fin)), before=[(TEXT, b"a")])


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_f8_new_message_inside_a_fragmented_one_fails_the_connection(opcode):
    """RFC 6455 §5.4."""
    await fails(1002, (TEXT, b"a", ("fin", False)), (opcode, b"b"))


async def test_f9_f10_ping_between_fragments_is_answered_before_the_message():
    """RFC 6455 §5.4, §5.5.2, §5.5.3."""
    async with serve(echo, HERE, 0) as server, dial_open(server) as peer:
        await peer.send_frame(TEXT, b"a", fin=False)
        await peer.send_frame(PING, b"p" * 125)
        await peer.expect(PONG, b"p" * 125)
        await peer.send_frame(0, b"b")
        await peer.expect(TEXT, b"ab")


async def test_f10_pings_are_answered_while_the_application_does_not_receive():
    """RFC 6455 §5.5.2."""

    async def handler(websocket):
        await websocket.wait_closed()

    async with serve(handler, HERE, 0) as server, dial_open(server) as peer:
        for i in range(10):
            await peer.send_frame(TEXT, b"unread")
            await peer.send_frame(PING, bytes([i]))
            await peer.expect(PONG, bytes([i]))


async def test_f11_unsolicited_pong_is_ignored():
    """RFC 6455 §5.5.3."""
    async with serve(echo, HERE, 0) as server, dial_open(server) as peer:
        await peer.send_frame(PONG, b"x")
        await peer.send_frame(TEXT, b"a")
        await peer.expect(TEXT, b"a")


@pytest.mark.parametrize("pieces", [(b"", b"a", b""), (b"", b"", b""), (b"a", b"", b"b"), (b"a" * 70_000, b"", b"b")])
async def test_f12_fragments_of_any_size_make_a_message(pieces):
    """RFC 6455 §5.4."""
    async with serve(echo, HERE, 0) as server, dial_open(server) as peer:
        for i, piece in enumerate(pieces):
            await peer.send_frame(BINARY if i == 0 else 0, piece, fin=i == len(pieces) - 1)
        await peer.expect(BINARY, b"".join(pieces))


async def test_f13_data_after_a_close_frame_is_discarded():
    """RFC 6455 §5.5.1, §1.4."""
    async with serve(echo, HERE, 0) as server, dial_open(server) as peer:
        await peer.send(peer.frame(CLOSE, support.close_payload(1000)) + peer.frame(TEXT, b"late") + b"\xff\xff")
        assert await peer.read_pairs() == [(CLOSE, support.close_payload(1000))]


async def test_f13_nothing_is_sent_after_our_close_frame():
    """RFC 6455 §5.5.1: the ping that comes then gets no pong, and messages can still be received."""
    received = []

    async def handler(websocket):
        closing = asyncio.ensure_future(websocket.close())
        received.extend([message async for message in websocket])
        await closing

    async with serve(handler, HERE, 0) as server, dial_open(server) as peer:
        await peer.expect(CLOSE, support.close_payload(1000))
        await peer.send_frame(PING, b"p")
        await peer.send_frame(TEXT, b"crossed")
        await peer.send_close(1000)
        await peer.expect_end()
    assert received == ["crossed"]


STREAM = [
    (TEXT, b"a", {}),
    (TEXT, "h\xe9".encode()[:2], {"fin": False}),
    (PING, b"p", {}),
    (0, "h\xe9".encode()[2:], {}),
    (BINARY, b"\xff" * 130, {}),
    (BINARY, b"", {}),
]
ANSWERS = [(TEXT, b"a"), (PONG, b"p"), (TEXT, "h\xe9".encode()), (BINARY, b"\xff" * 130), (BINARY, b"")]


async def test_f14_every_cut_of_the_stream_gives_the_same_answers():
    """RFC 6455 §5.2; the order of a pong among echoes depends on when the handler runs."""
    data = b"".join(support.wire_frame(opcode, payload, mask=b"wxyz", **bits) for opcode, payload, bits in STREAM)
    interesting = [*range(1, 60), *range(len(data) - 16, len(data))]
    cuttings = [[cut] for cut in interesting]
    chooser = random.Random(6455)
    cuttings += [sorted(chooser.sample(range(1, len(data)), 5)) for _ in range(10)]
    cuttings.append(list(range(1, len(data))))
    async with serve(echo, HERE, 0) as server:

        async def check(cuts):
            async with dial_open(server) as peer:
                await peer.send(*(data[i:j] for i, j in zip([0, *cuts], [*cuts, len(data)], strict=True)))
                answers = [(frame.opcode, frame.payload) for frame in [await peer.read_frame() for _ in ANSWERS]]
                assert sorted(answers) == sorted(ANSWERS)
                assert [answer for answer in answers if answer[0] != PONG] == [a for a in ANSWERS if a[0] != PONG]

        for i in range(0, len(cuttings), 20):
            await asyncio.gather(*map(check, cuttings[i : i + 20]))


# Close and fail


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"\x03", 1002), (b"\x03\xe8\xff", 1007)]
    + [(support.close_payload(code), 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)],
)
async def test_x1_x2_bad_close_frame_fails_the_connection(payload, code):
    """RFC 6455 §5.5.1, §7.4."""
    await fails(code, (CLOSE, payload))


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999])
async def test_x3_x4_close_is_echoed_and_tcp_ended(code):
    """RFC 6455 §5.5.1, §7.1.1: by the server, at once, while the client keeps TCP open."""
    async with serve(echo, HERE, 0) as server, dial_open(server) as peer:
        await peer.send_close(code)
        frames = await soon(peer.read_pairs(), 5)
        assert [(opcode, payload[:2]) for opcode, payload in frames] == [(CLOSE, support.close_payload(code))]


async def test_x3_empty_close_is_answered_with_an_empty_one():
    """RFC 6455 §5.5.1."""
    async with serve(echo, HERE, 0) as server, dial_open(server) as peer:
        await peer.send_close()
        assert await soon(peer.read_pairs(), 5) == [(CLOSE, b"")]


async def test_x2_bad_codes_cannot_be_sent():
    """RFC 6455 §7.4."""
    seen = []

    async def handler(websocket):
        for code in (999, 1004, 1005, 1006, 1015, 1016, 2999, 5000):
            with pytest.raises(Exception, match="status code") as info:
                await websocket.close(code)
            seen.append(type(info.value).__name__)
        await websocket.close(4999)

    async with serve(handler, HERE, 0) as server, dial_open(server) as peer:
        await peer.expect(CLOSE, support.close_payload(4999))
    assert seen == ["ProtocolError"] * 8


async def test_x6_nothing_is_processed_after_a_violation():
    """RFC 6455 §7.1.7: data before the violation is answered, data after it is not."""
    await fails(
        1002,
        (TEXT, b"before"),
        (TEXT, b"", ("rsv", 1)),
        *[(TEXT, b"after")] * 3,
        before=[(TEXT, b"before")],
    )


@pytest.mark.parametrize("read", [True, False])
async def test_x6_tcp_ends_without_an_answer_to_close(read):
    """RFC 6455 §7.1.7."""
    async with serve(echo, HERE, 0, close_timeout=0.5) as server, dial_open(server) as peer:
        await until(lambda: server.connections)
        (connection,) = server.connections
        await peer.send_frame(TEXT, b"", rsv=1)
        if read:
            await peer.expect_failure(1002)
        await soon(connection.wait_closed(), 10)
        assert connection.close_code == 1006


async def test_x7_close_frame_carries_code_and_reason():
    """RFC 6455 §7.1.7."""
    async with serve(echo, HERE, 0) as server, dial_open(server) as peer:
        await peer.send_frame(TEXT, b"", rsv=4)
        ((opcode, payload),) = await peer.read_pairs()
        assert opcode == CLOSE
        assert payload[:2] == b"\x03\xea"
        assert b"RSV1" in payload


@pytest.mark.parametrize(
    ("end", "code", "kind"),
    [
        ("reset", 1006, ConnectionClosedError),
        ("eof", 1006, ConnectionClosedError),
        ("half-close", 1006, ConnectionClosedError),
        ("empty close", 1005, ConnectionClosedOK),
        ("close", 1000, ConnectionClosedOK),
        ("error close", 4000, ConnectionClosedError),
    ],
)
async def test_x8_close_code_reports_how_the_connection_ended(end, code, kind):
    """RFC 6455 §7.1.5."""
    ended = asyncio.get_running_loop().create_future()

    async def handler(websocket):
        try:
            await websocket.recv()
        except Exception as exc:
            ended.set_result((websocket.close_code, websocket.close_reason, type(exc), websocket.state))

    async with serve(handler, HERE, 0) as server, dial_open(server) as peer:
        if end == "reset":
            peer.abort()
        elif end == "eof":
            peer.writer.close()
        elif end == "half-close":
            peer.writer.write_eof()
        else:
            await peer.send_close({"empty close": None, "close": 1000, "error close": 4000}[end])
        assert await soon(ended) == (code, "", kind, State.CLOSED)


@pytest.mark.parametrize("cut", range(1, 4))
@pytest.mark.parametrize("text", [b"\xf0\x9f\x98\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a\xff"])
async def test_x9_bad_utf8_fails_the_connection(text, cut):
    """RFC 6455 §8.1: also over the border of two fragments."""
    await fails(1007, (TEXT, text[:cut], ("fin", False)), (0, text[cut:]))


@pytest.mark.parametrize("size", [16, 63, 64, 127, 255, 256])
@pytest.mark.parametrize(
    ("begun", "rest"), [(b"\xf0\xc2", b"\x80"), (b"\xf4\xdf", b"\xbf"), (b"\xe2\x82\xf0", b"\x90\x80\x80")]
)
async def test_x9_a_fragment_must_not_end_in_two_characters(size, begun, rest):
    """RFC 6455 §8.1: the first of them cannot become valid any more."""
    await fails(1007, (TEXT, b"x" * size + begun, ("fin", False)), (0, rest))


async def test_x9_bad_utf8_fails_before_the_frame_is_complete():
    """RFC 6455 §8.1: as soon as it is certain."""
    header = support.wire_frame(TEXT, b"", mask=bytes(4), length=1000)
    await fails(1007, header + b"ok \xff")


async def test_x9_unfinished_utf8_fails_the_connection():
    """RFC 6455 §8.1."""
    await fails(1007, (TEXT, b"\xf0\x9f\x98"))


@pytest.mark.parametrize("length", [2**20 + 1, 2**31, 2**32 + 5, 2**62, 2**63 - 50])
async def test_x10_oversized_message_is_detected_from_the_header(length):
    """RFC 6455 §7.4.1, §10.4."""
    await fails(1009, (BINARY, b"", ("length", length)), max_size=2**20)
    await fails(1009, (BINARY, b"a" * 100, ("fin", False)), (0, b"", ("length", length)), max_size=2**20)


async def test_x10_sum_of_fragments_is_limited():
    """RFC 6455 §10.4: a message of exactly the limit passes."""
    async with serve(echo, HERE, 0, max_size=1000) as server, dial_open(server) as peer:
        await peer.send(peer.frame(BINARY, bytes(600), fin=False) + peer.frame(0, bytes(400)))
        await peer.expect(BINARY, bytes(1000))
        await peer.send(peer.frame(BINARY, bytes(600), fin=False) + peer.frame(0, bytes(401)))
        await peer.expect_failure(1009)


async def test_closed_server_frees_its_port():
    async with serve(echo, HERE, 0) as server:
        port = support.port_of(server)
    with pytest.raises(OSError):
        await asyncio.open_connection(HERE, port)
