"""Callbacks: ``WebSocketProtocol`` with ``loop.create_server`` and ``loop.create_connection``."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest
import support
from support import BINARY, CLOSE, PING, PONG, TEXT, dial, dial_open, head, raw_server, request, soon, until, uri_of

import wsframe
from wsframe import (
    InvalidHandshake,
    InvalidMessage,
    InvalidState,
    InvalidStatus,
    ProtocolError,
    State,
    WebSocketProtocol,
)

HERE = "127.0.0.1"


class Recorder(WebSocketProtocol):
    """Notes which hooks were called, in order."""

    fail_in = None

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.calls = []

    def note(self, name, *arguments):
        self.calls.append((name, *arguments))
        if name == self.fail_in:
            raise ZeroDivisionError(name)

    def connection_open(self):
        self.note("open")

    def message_received(self, data):
        self.note("message", data)

    def ping_received(self, data):
        self.note("ping", data)

    def pong_received(self, data):
        self.note("pong", data)

    def connection_closed(self, code, reason):
        self.note("closed", code, reason)

    def handshake_failed(self, exc):
        self.note("failed", type(exc))

    @property
    def names(self):
        return [name for name, *_ in self.calls]


class Echo(Recorder):
    def message_received(self, data):
        super().message_received(data)
        self.send(data)


def serving(factory=Echo, **options):
    return support.serve_protocols(factory, **options)


@contextlib.asynccontextmanager
async def connected(uri, factory=Recorder, **options):
    """Give a client's protocol, whose opening handshake may still be going on."""
    port = wsframe.uri.parse_uri(uri).port
    _, client = await asyncio.get_running_loop().create_connection(lambda: factory(uri, **options), HERE, port)
    try:
        yield client
    finally:
        client.transport.abort()
        await until(lambda: client.state is State.CLOSED)


async def test_hooks_of_both_ends_are_called_in_order():
    async with serving(subprotocols=["a"]) as (server, made):
        async with connected(uri_of(server, "/path"), subprotocols=["a"]) as client:
            await until(lambda: client.calls)
            assert client.state is State.OPEN
            assert client.request.path == made[0].request.path == "/path"
            assert client.response.status_code == made[0].response.status_code == 101
            assert client.subprotocol == made[0].subprotocol == "a"
            client.send("h\xe9")
            client.send(b"\xff")
            client.send(memoryview(b"abc"))
            await until(lambda: len(client.calls) == 4)
            client.ping(b"p")
            await until(lambda: len(client.calls) == 5)
            client.close(1001, "bye")
            client.close(1000)
            await until(lambda: client.state is State.CLOSED)
        assert client.calls == [
            ("open",),
            ("message", "h\xe9"),
            ("message", b"\xff"),
            ("message", b"abc"),
            ("pong", b"p"),
            ("closed", 1001, "bye"),
        ]
        await until(lambda: "closed" in made[0].names)
        assert made[0].names == ["open", "message", "message", "message", "ping", "closed"]
        assert made[0].calls[-1] == ("closed", 1001, "bye")
        assert (client.close_code, client.close_reason) == (1001, "bye")
        assert client.latency >= 0


async def test_messages_sent_within_a_read_are_written_at_once():
    """DESIGN: read once, run everyone, write once."""
    writes = []

    class Counting(Echo):
        def connection_made(self, transport):
            super().connection_made(transport)
            self.transport = support.SpyTransport(transport, writes)

    async with serving(Counting) as (server, _), dial_open(server) as peer:
        writes.clear()
        await peer.send(peer.frame(TEXT, b"a") * 10 + peer.frame(PING, b"p"))
        frames = [await peer.read_frame() for _ in range(11)]
        assert sorted(frame.opcode for frame in frames) == [TEXT] * 10 + [PONG]
        assert sum(map(len, writes)) == 10 * 3 + 3
        assert len(writes) <= 2


async def test_default_hooks_do_nothing():
    async with serving(WebSocketProtocol) as (server, made):
        async with connected(uri_of(server), WebSocketProtocol) as client:
            await until(lambda: client.state is State.OPEN)
            client.send("a")
            client.ping()
            client.close()
            await until(lambda: client.state is State.CLOSED)
            assert client.close_code == 1000
        async with dial(server) as peer:
            await peer.send(b"GET / HTTP/1.1\r\n\r\n")
            await peer.read_head()
        await until(lambda: made[-1].state is State.CLOSED)


@pytest.mark.parametrize("hook", ["open", "message", "ping", "pong"])
async def test_failing_hook_closes_with_1011(hook, caplog):
    """RFC 6455 §7.4.1."""

    class Failing(Recorder):
        fail_in = hook

    async with serving(Failing) as (server, made), dial_open(server) as peer:
        await peer.send(peer.frame(TEXT, b"a") + peer.frame(PING, b"p") + peer.frame(PONG, b"p"))
        frames = await peer.read_pairs()
        assert frames[-1] == (CLOSE, support.close_payload(1011))
        await peer.aclose()
        await until(lambda: "closed" in made[0].names)
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize("hook", ["closed", "failed"])
async def test_failing_hook_at_the_end_is_logged(hook, caplog):
    class Failing(Recorder):
        fail_in = hook

    async with serving(Failing) as (server, made), dial(server) as peer:
        await peer.send(request() if hook == "closed" else b"GET / HTTP/1.0\r\n\r\n")
        await peer.read_head()
        await peer.aclose()
        await until(lambda: hook in made[0].names)
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


async def test_send_in_another_state_is_refused():
    async with serving() as (server, made), connected(uri_of(server)) as client:
        with pytest.raises(InvalidState):
            client.send("a")
        with pytest.raises(InvalidState):
            client.ping()
        await until(lambda: client.calls)
        client.close()
        for act in (client.ping, lambda: client.send("a"), lambda: client.send(b"a")):
            with pytest.raises(InvalidState):
                act()


async def test_bad_arguments_are_refused_and_nothing_is_sent():
    async with serving() as (server, made), connected(uri_of(server)) as client:
        await until(lambda: client.calls)
        for data in (1, None, ["a"]):
            with pytest.raises(TypeError):
                client.send(data)
        with pytest.raises(ProtocolError):
            client.ping(bytes(126))
        with pytest.raises(ProtocolError):
            client.close(1005)
        client.send("a")
        await until(lambda: "message" in client.names)


async def test_close_before_the_handshake_is_done_drops_the_connection():
    async with serving() as (server, made), connected(uri_of(server)) as client:
        client.close()
        await until(lambda: client.state is State.CLOSED)
        assert client.calls == [("failed", InvalidMessage)]


@pytest.mark.parametrize(
    ("data", "status"),
    [(request({"Host": None}), 400), (b"GET / HTTP/1.0\r\n\r\n", 505), (b"\0\r\n\r\n", 400), (b"x" * 40_000, 414)],
)
async def test_bad_request_is_refused(data, status):
    """RFC 6455 §4.2.2."""
    async with serving() as (server, made), dial(server) as peer:
        await peer.send(data)
        start_line, headers = await peer.read_head()
        assert int(start_line.split(" ")[1]) == status
        assert dict(headers)["Server"] == wsframe.http11.SERVER
        await peer.aclose()
        await until(lambda: made[0].state is State.CLOSED)
    assert made[0].names == ["failed"]
    assert made[0].response.status_code == status


async def test_headers_of_both_ends():
    options = {"additional_headers": {"X": "y"}}
    async with serving(server_header="me", **options) as (server, made):
        async with connected(uri_of(server), user_agent_header="you", origin="http://a.example", **options) as client:
            await until(lambda: client.calls)
            assert client.response.headers["X"] == made[0].request.headers["X"] == "y"
            assert client.response.headers["Server"] == "me"
            assert made[0].request.headers["User-Agent"] == "you"
            assert made[0].request.headers["Origin"] == "http://a.example"
    async with (
        serving(server_header=None) as (server, made),
        connected(uri_of(server), user_agent_header=None) as client,
    ):
        await until(lambda: client.calls)
        assert "Server" not in client.response.headers
        assert "User-Agent" not in made[0].request.headers


def test_bad_header_of_the_application_is_refused():
    """RFC 6455 §4.2.2: row H17."""
    for uri in (None, "ws://localhost/"):
        with pytest.raises(wsframe.InvalidHeaderValue):
            WebSocketProtocol(uri, additional_headers={"X": "a\r\nY: b"})


async def test_subprotocol_and_origin_are_checked():
    async with serving(select_subprotocol=lambda offered: offered[-1], origins=["http://a.example"]) as (server, _):
        uri = uri_of(server)
        async with connected(uri, subprotocols=["a", "b"], origin="http://a.example") as client:
            await until(lambda: client.calls)
            assert client.subprotocol == "b"
        async with connected(uri, subprotocols=["a", "b"], origin="http://b.example") as client:
            await until(lambda: client.calls)
            assert client.calls == [("failed", InvalidStatus)]
            assert client.response.status_code == 403


@pytest.mark.parametrize(
    ("answer", "exc"),
    [
        (head("HTTP/1.1 403 No", {"Content-Length": "2"}) + b"no", InvalidStatus),
        (b"HTTP/1.1 403 No\r\n\r\nno", InvalidStatus),
        (b"HTTP/1.1 403 No\r\nContent-Length: 5\r\n\r\nno", InvalidStatus),
        (b"", InvalidMessage),
        (b"\0\r\n\r\n", InvalidMessage),
        (head("HTTP/1.1 101 Switching Protocols"), InvalidHandshake),
    ],
)
async def test_bad_response_is_reported(answer, exc):
    """RFC 6455 §4.1."""

    async def script(peer):
        await peer.read_head()
        await peer.send(answer)

    async with raw_server(script) as server, connected(server.uri) as client:
        await until(lambda: client.state is State.CLOSED)
        assert client.names == ["failed"]
        assert issubclass(client.calls[0][1], exc)


async def test_data_after_a_bad_response_is_ignored():
    async def script(peer):
        await peer.read_head()
        with contextlib.suppress(ConnectionError):
            await peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", b"more", b"and more")

    async with raw_server(script) as server, connected(server.uri) as client:
        await until(lambda: client.state is State.CLOSED)
        assert client.names == ["failed"]


async def test_reset_in_the_handshake_is_reported():
    async def script(peer):
        await peer.read_head()
        peer.abort()

    async with raw_server(script) as server, connected(server.uri) as client:
        await until(lambda: client.calls)
        assert client.calls == [("failed", InvalidMessage)]


@pytest.mark.parametrize("size", [1, 50])
async def test_request_may_arrive_in_pieces(size):
    """RFC 6455 §4.2.1: row H15."""
    async with serving() as (server, _), dial(server) as peer:
        data = request() + peer.frame(TEXT, b"a")
        await peer.send(*(data[i : i + size] for i in range(0, len(data), size)))
        await peer.read_head()
        await peer.expect(TEXT, b"a")


async def test_data_after_a_bad_request_is_ignored():
    """RFC 6455 §4.2.2: it is read, so that the client can read the refusal, and that is all."""
    async with serving(close_timeout=1) as (server, made), dial(server) as peer:
        await peer.send(request({"Host": None}), peer.frame(TEXT, b"a"), b"x" * 1000)
        await peer.read_head()
        await soon(peer.reader.read())
        await peer.send(peer.frame(TEXT, b"b"))
        peer.writer.close()
        # The end of the stream is read after the frame.
        await until(made[0].transport.is_closing)
        assert made[0].names == ["failed"]
        assert made[0].state is not State.OPEN


async def test_handshake_has_a_time_limit():
    """RFC 6455 §10.4."""

    async def script(peer):
        with contextlib.suppress(ConnectionError):
            await peer.reader.read()

    async with raw_server(script) as server, connected(server.uri, open_timeout=0.1) as client:
        await until(lambda: client.calls)
        assert client.calls == [("failed", InvalidMessage)]
    async with serving(open_timeout=0.1) as (server, made), dial(server) as peer:
        assert await soon(peer.reader.read()) == b""
        assert made[0].names == ["failed"]


async def test_frames_after_the_handshake_are_delivered():
    """RFC 6455 §4.1, §4.2.2: rows C11 and H15."""

    async def script(peer):
        await peer.accept(trailing=peer.frame(TEXT, b"glued"))
        await support.serve_forever(peer)

    async with raw_server(script) as server, connected(server.uri) as client:
        await until(lambda: len(client.calls) == 2)
        assert client.calls == [("open",), ("message", "glued")]
    async with serving() as (server, _), dial(server) as peer:
        await peer.send(request() + peer.frame(TEXT, b"glued"))
        await peer.read_head()
        await peer.expect(TEXT, b"glued")


async def test_violation_is_reported_after_the_answers():
    """RFC 6455 §7.1.7: answers are sent in the read, so none is waited for."""
    async with serving() as (server, made), dial_open(server) as peer:
        await peer.send(peer.frame(TEXT, b"a") + peer.frame(TEXT, b"", rsv=4) + peer.frame(TEXT, b"b"))
        await peer.expect_failure(1002, (TEXT, b"a"))
        await peer.aclose()
        await until(lambda: "closed" in made[0].names)
        assert made[0].calls == [("open",), ("message", "a"), ("closed", 1006, "")]


async def test_end_without_close_is_1006():
    """RFC 6455 §7.1.5."""
    async with serving() as (server, made), dial_open(server) as peer:
        peer.abort()
        await until(lambda: "closed" in made[0].names)
        assert made[0].calls == [("open",), ("closed", 1006, "")]


@pytest.mark.parametrize("option", [{"additional_headers": {"X": "a\r\nY: b"}}, {"origin": "a\r\nY: b"}])
def test_h17_bad_headers_of_a_client_are_refused_at_once(option):
    """RFC 6455 §4.1: class of CVE-2020-35678."""
    with pytest.raises(ValueError, match="invalid"):
        WebSocketProtocol("ws://h/", **option)


@pytest.mark.parametrize("option", [{"max_size": -1}, {"subprotocols": ["a b"]}])
def test_bad_options_are_refused(option):
    with pytest.raises(ValueError):
        WebSocketProtocol(**option)
    with pytest.raises(ValueError):
        WebSocketProtocol("ws://h/", **option)
    with pytest.raises(wsframe.InvalidURI):
        WebSocketProtocol("http://h/")


async def test_limits_apply_to_callbacks():
    """RFC 6455 §10.4."""
    async with serving(max_size=10) as (server, _), dial_open(server) as peer:
        await peer.send_frame(BINARY, bytes(10))
        await peer.expect(BINARY, bytes(10))
        await peer.send_frame(BINARY, bytes(11))
        await peer.expect_failure(1009)


async def test_logger_option_replaces_the_default(caplog):
    with caplog.at_level(logging.INFO, "mine"):
        async with serving(logger=logging.getLogger("mine")) as (server, made), dial(server) as peer:
            await peer.send(request({"Host": None}))
            await peer.read_head()
    assert [record.name for record in caplog.records] == ["mine"]


@pytest.mark.parametrize("role", ["server", "client"])
async def test_backpressure_calls_pause_and_resume_writing(role):
    """A server stops reading from a peer that does not read; a client leaves that to the application."""

    class Flooding(Recorder):
        def pause_writing(self):
            super().pause_writing()
            self.note("pause")

        def resume_writing(self):
            super().resume_writing()
            self.note("resume")

    async def flood(protocol, peer):
        await until(lambda: protocol.calls)
        while "pause" not in protocol.names:
            protocol.send(bytes(100_000))
        assert protocol.reading_paused is (role == "server")
        assert protocol.buffered_bytes > 0
        protocol.send(b"end")
        while (await peer.read_frame()).payload != b"end":
            pass
        await until(lambda: "resume" in protocol.names)
        assert not protocol.reading_paused

    if role == "server":
        async with serving(Flooding) as (server, made), dial_open(server) as peer:
            await until(lambda: made)
            await flood(made[0], peer)
    else:
        peers = []

        async def script(peer):
            await peer.accept()
            peers.append(peer)
            await asyncio.Event().wait()

        async with raw_server(script) as server, connected(server.uri, Flooding) as client:
            await until(lambda: peers and client.calls)
            await flood(client, peers[0])


async def test_only_the_last_pong_waits_though_a_subclass_omits_super():
    """RFC 6455 §5.5.3: row F10."""

    class Forgetful(Recorder):
        def pause_writing(self):
            pass

        def resume_writing(self):
            pass

    async with serving(Forgetful) as (server, made), dial_open(server) as peer:
        await until(lambda: made and made[0].calls)
        protocol = made[0]
        while protocol.buffered_bytes < 100_000:
            protocol.send(bytes(100_000))
        protocol.send(b"end")
        before = protocol.buffered_bytes
        for i in range(5):
            await peer.send_frame(PING, bytes([i]))
            await until(lambda: protocol.names.count("ping") == i + 1)
        # The first one was answered before anyone could look.
        assert protocol.buffered_bytes <= before + 3
        while (await peer.read_frame()).payload != b"end":
            pass
        # The next read finds the buffer empty, and answers the last ping that was held.
        await peer.send_frame(PONG)
        pongs = []
        while bytes([4]) not in pongs:
            pongs.append((await peer.read_frame()).payload)
        assert len(pongs) <= 5
