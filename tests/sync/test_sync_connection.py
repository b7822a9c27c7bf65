"""Connections for threads: receiving, sending, pings, keepalive, the closing handshake, and the end of TCP."""

from __future__ import annotations

import logging
import socket
from types import SimpleNamespace

import pytest
from support import BINARY, CLOSE, PATIENCE_S, PING, PONG, TEXT, close_payload, wire_frame
from threads import PausedFragments, RawPeer, in_thread, linked, until

import wsframe
from wsframe import (
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    PreparedMessage,
    State,
)
from wsframe.codec import serialize_frame
from wsframe.sync.connection import Connection

# Receiving


@pytest.mark.parametrize("message", ["hello", "", "wörld", b"\x00\xff", b"", "x" * 500_000])
def test_messages_are_received_unchanged(message):
    with linked() as (client, server):
        sent = in_thread(client.send, message)
        assert server.recv(PATIENCE_S) == message
        sent()
        sent = in_thread(server.send, message)
        assert client.recv(PATIENCE_S) == message
        sent()


@pytest.mark.parametrize(
    ("message", "decode", "received"),
    [("ä", None, "ä"), ("ä", True, "ä"), ("ä", False, b"\xc3\xa4"), (b"\xc3\xa4", True, "ä"), (b"a", False, b"a")],
)
def test_decode_option_selects_str_or_bytes(message, decode, received):
    with linked() as (client, server):
        server.send(message)
        assert client.recv(decode=decode) == received
        server.send(message)
        assert client.recv(PATIENCE_S, decode) == received


def test_invalid_utf8_decoded_as_text_fails_the_connection():
    with RawPeer() as peer:
        peer.send(BINARY, b"a\xff")
        received = in_thread(peer.connection.recv, None, True)
        assert peer.frames(1) == [(CLOSE, close_payload(1007, "invalid start byte at position 1"))]
        peer.sock.close()
        with pytest.raises(ConnectionClosedError) as info:
            received()
        assert isinstance(info.value.__cause__, UnicodeDecodeError)


@pytest.mark.parametrize("timeout", [0, -1, 0.01])
def test_recv_times_out_without_a_message(timeout):
    with linked() as (client, server):
        with pytest.raises(TimeoutError, match=f"timed out in {timeout:.1f}s"):
            client.recv(timeout)
        server.send("late")
        assert client.recv(PATIENCE_S) == "late"


def test_recv_with_timeout_0_returns_a_queued_message():
    with linked() as (client, server):
        server.send("early")
        until(lambda: client._queue)
        assert client.recv(timeout=0) == "early"


def test_iteration_ends_when_both_sides_have_closed():
    with linked() as (client, server):
        server.send("a")
        server.send(b"b")
        closed = in_thread(server.close)
        assert list(client) == ["a", b"b"]
        closed()


def test_iteration_ends_with_an_error_otherwise():
    with linked() as (client, server):
        server.send("a")
        closed = in_thread(server.close, 1011)
        messages = iter(client)
        assert next(messages) == "a"
        with pytest.raises(ConnectionClosedError, match="received 1011"):
            next(messages)
        closed()


def test_only_one_thread_may_receive():
    with linked() as (client, server):
        received = in_thread(client.recv)
        until(lambda: client._receiving)
        with pytest.raises(ConcurrencyError, match="cannot call recv while another thread is already running recv"):
            client.recv()
        server.send("a")
        assert received() == "a"


def test_recv_streaming_yields_fragments_as_they_arrive():
    with RawPeer() as peer:
        stream = peer.connection.recv_streaming()
        peer.sock.sendall(serialize_frame(TEXT, b"h\xc3", fin=False))
        assert next(stream) == "h"
        with pytest.raises(ConcurrencyError, match="cannot call recv while another thread is already running recv"):
            peer.connection.recv()
        peer.sock.sendall(serialize_frame(0, b"\xa9"))
        assert next(stream) == "é"
        # That was the last one, so the next message may be received.
        peer.send(TEXT, b"next")
        assert peer.connection.recv(PATIENCE_S) == "next"
        assert list(stream) == []


def test_recv_streaming_yields_fragments_received_earlier():
    with RawPeer() as peer:
        peer.sock.sendall(serialize_frame(TEXT, b"a", fin=False) + serialize_frame(0, b"b", fin=False))
        until(lambda: peer.connection.protocol.frames_received == 2)
        stream = peer.connection.recv_streaming()
        assert [next(stream), next(stream)] == ["a", "b"]
        peer.sock.sendall(serialize_frame(0, b"c"))
        assert list(stream) == ["c"]


def test_recv_streaming_yields_queued_messages():
    with linked() as (client, server):
        server.send(["a", "b"])
        server.send([b"c"])
        until(lambda: len(client._queue) == 2)
        assert list(client.recv_streaming(decode=False)) == [b"a", b"b", b""]
        assert list(client.recv_streaming()) == [b"c", b""]


def test_abandoned_stream_leaves_only_close():
    with linked() as (client, server):
        server.send(["a", "b"])
        for fragment in client.recv_streaming():
            assert fragment == "a"
            break
        with pytest.raises(ConcurrencyError, match="cannot call recv_streaming while another thread"):
            next(client.recv_streaming())
        in_thread(server.recv)
        client.close()


def test_interrupted_stream_leaves_the_message_to_recv(monkeypatch):
    """For example by Ctrl-C. recv() then receives the whole message."""
    with RawPeer() as peer:
        connection = peer.connection

        def interrupt(timeout):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(connection, "_changed", Interrupted(connection._changed, interrupt))
            with pytest.raises(KeyboardInterrupt):
                next(connection.recv_streaming())
        peer.sock.sendall(serialize_frame(TEXT, b"a", fin=False) + serialize_frame(0, b"b"))
        assert connection.recv(PATIENCE_S) == "ab"


class Interrupted:
    """A condition whose wait() is interrupted."""

    def __init__(self, condition, wait):
        self.condition, self.wait = condition, wait

    def __enter__(self):
        return self.condition.__enter__()

    def __exit__(self, *exc_info):
        return self.condition.__exit__(*exc_info)

    def notify_all(self):
        self.condition.notify_all()


def test_stream_of_invalid_utf8_fails_the_connection():
    with RawPeer() as peer:
        received = in_thread(lambda: list(peer.connection.recv_streaming(True)))
        peer.send(BINARY, b"a\xff")
        assert peer.frames(1) == [(CLOSE, close_payload(1007, "invalid start byte at position 1"))]
        peer.sock.close()
        with pytest.raises(ConnectionClosedError):
            received()


def test_one_thread_receives_while_another_sends():
    count = 200

    def send():
        for number in range(count):
            client.send(str(number))

    def echo():
        for message in server:
            server.send(message)

    with linked() as (client, server):
        echoed, sent = in_thread(echo), in_thread(send)
        assert [client.recv(PATIENCE_S) for _ in range(count)] == [str(number) for number in range(count)]
        sent()
        client.close()
        echoed()


def test_many_threads_send_whole_messages():
    with linked() as (client, server):
        threads = [in_thread(lambda text=text: [client.send(text * 50_000) for _ in range(5)]) for text in "abcdef"]
        received = [server.recv(PATIENCE_S) for _ in range(30)]
        for thread in threads:
            thread()
    assert {len(message) for message in received} == {50_000}
    assert {len(set(message)) for message in received} == {1}


def test_large_messages_cross_without_deadlock():
    """Neither end holds, while waiting for the other to read, a lock that reading needs."""
    size = 8 * 2**20
    limits = wsframe.Limits(max_message_size=None)
    ours, theirs = socket.socketpair()
    client = Connection(ours, wsframe.Connection(wsframe.Role.CLIENT, limits=limits))
    server = Connection(theirs, wsframe.Connection(wsframe.Role.SERVER, limits=limits))
    sent = [in_thread(client.send, b"c" * size), in_thread(server.send, b"s" * size)]
    assert client.recv(PATIENCE_S) == b"s" * size
    assert server.recv(PATIENCE_S) == b"c" * size
    for wait in sent:
        wait()
    closed = in_thread(server.close)
    client.close()
    closed()


@pytest.mark.parametrize("max_queue", [4, (4, 1), (4, None), (4, 4)])
def test_reading_pauses_without_a_receiver(max_queue):
    with linked(max_queue=max_queue) as (client, server):
        sent = in_thread(lambda: [server.send(f"{number:065536}") for number in range(100)])
        until(lambda: client._paused)
        assert len(client._queue) == 5
        assert [int(client.recv(PATIENCE_S)[-3:]) for _ in range(100)] == list(range(100))
        sent()


def test_max_queue_none_never_pauses_reading():
    with linked(max_queue=None) as (client, server):
        for _ in range(100):
            server.send("x")
        until(lambda: len(client._queue) == 100)


def test_queued_messages_are_received_after_the_close():
    with linked() as (client, server):
        server.send("a")
        until(lambda: client._queue)
        closed = in_thread(server.close)
        client.close()
        closed()
        assert client.recv() == "a"
        with pytest.raises(ConnectionClosedOK):
            client.recv()


# Sending


@pytest.mark.parametrize(
    ("message", "text", "received"),
    [
        ("ä", None, "ä"),
        ("ä", False, b"\xc3\xa4"),
        (b"a", None, b"a"),
        (bytearray(b"a"), True, "a"),
        (memoryview(b"a"), False, b"a"),
        (["a", "b"], None, "ab"),
        ([b"a", bytearray(b"b")], None, b"ab"),
        (["ä", "b"], False, b"\xc3\xa4b"),
        (iter([b"a", b"b"]), True, "ab"),
        (PreparedMessage("ä"), None, "ä"),
    ],
)
def test_text_option_overrides_the_type(message, text, received):
    with linked() as (client, server):
        client.send(message, text)
        assert server.recv(PATIENCE_S) == received


def test_fragments_are_frames():
    """RFC 6455 §5.4."""
    with RawPeer() as peer:
        peer.connection.send(["a", "b"])
        assert peer.frames(3) == [(TEXT, b"a"), (0, b"b"), (0, b"")]


def test_empty_iterable_sends_nothing():
    with linked() as (client, server):
        client.send([])
        client.send("a")
        assert server.recv(PATIENCE_S) == "a"


@pytest.mark.parametrize(
    ("message", "error"),
    [
        *[(message, "data") for message in (None, 5, {"a": "b"})],
        *[(message, "iterable must contain bytes or str") for message in ([None], [5, "a"])],
    ],
)
def test_message_of_a_wrong_type_is_a_type_error(message, error):
    with linked() as (client, server):
        with pytest.raises(TypeError, match=error):
            client.send(message)
        client.send("a")
        assert server.recv(PATIENCE_S) == "a"


def breaking():
    yield "a"
    raise LookupError("no more")


@pytest.mark.parametrize(
    ("message", "error"), [(["a", b"b"], TypeError), (["a", None], TypeError), (breaking(), LookupError)]
)
def test_incomplete_message_fails_the_connection(message, error):
    with RawPeer() as peer:
        with pytest.raises(error):
            peer.connection.send(message)
        assert peer.frames(2) == [(TEXT, b"a"), (CLOSE, close_payload(1011, "error in fragmented message"))]
        peer.sock.close()
        assert peer.connection.wait_closed(PATIENCE_S)


def test_send_during_a_fragmented_message_is_an_error():
    """RFC 6455 §5.4."""
    fragments = PausedFragments()
    with linked() as (client, server):
        sent = in_thread(client.send, fragments)
        assert fragments.first_is_sent.wait(PATIENCE_S)
        for message in ("c", b"c", ["c"], PreparedMessage("c")):
            with pytest.raises(ConcurrencyError, match="cannot call send while another thread is already running send"):
                client.send(message)
        assert client.ping().wait(PATIENCE_S)
        fragments.go_on.set()
        sent()
        assert server.recv(PATIENCE_S) == "ab"
        client.send("c")
        assert server.recv(PATIENCE_S) == "c"


def test_close_during_a_fragmented_message():
    fragments = PausedFragments()
    with linked() as (client, server):
        sent = in_thread(client.send, fragments)
        assert fragments.first_is_sent.wait(PATIENCE_S)
        client.close()
        fragments.go_on.set()
        with pytest.raises(ConnectionClosedError, match="sent 1011 .* close during fragmented message"):
            sent()


def test_compress_without_an_extension_changes_nothing():
    with RawPeer() as peer:
        peer.connection.send("a", compress=True)
        assert peer.frames(1) == [(TEXT, b"a")]


@pytest.mark.parametrize("code", [1000, 1011])
def test_sending_on_a_closed_connection(code):
    expected = ConnectionClosedOK if code == 1000 else ConnectionClosedError
    with linked() as (client, server):
        closed = in_thread(server.close, code)
        assert client.wait_closed(PATIENCE_S)
        for call in (lambda: client.send("a"), lambda: client.send(["a"]), client.ping, client.pong):
            with pytest.raises(expected, match=f"received {code}"):
                call()
        closed()


def test_os_error_while_sending_is_the_cause():
    with RawPeer(close_timeout=0.05) as peer:
        peer.connection._wire.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionClosedError, match="no close frame received or sent") as info:
            peer.connection.send("a")
        assert isinstance(info.value.__cause__, OSError)


def test_send_waits_for_a_peer_that_does_not_read():
    with RawPeer(close_timeout=0.05) as peer:
        sent = in_thread(peer.connection.send, b"x" * 10_000_000)
        until(lambda: peer.connection._wire.backlog)
        with pytest.raises(ConnectionClosedError):
            peer.connection.close()
            sent()
        assert peer.connection.close_code == 1006


# Pings


def test_ping_is_answered_without_a_receiver():
    """RFC 6455 §5.5.2."""
    with RawPeer() as peer:
        peer.send(PING, b"a")
        assert peer.frames(1) == [(PONG, b"a")]


def test_pong_sets_the_event_of_its_ping_and_those_before():
    """RFC 6455 §5.5.3."""
    with RawPeer() as peer:
        first, second, third = (peer.connection.ping(data) for data in ("1", b"2", bytearray(b"3")))
        assert peer.frames(3) == [(PING, b"1"), (PING, b"2"), (PING, b"3")]
        peer.send(PONG, b"other")
        peer.send(PONG, b"2")
        assert second.wait(PATIENCE_S)
        assert first.is_set()
        assert not third.is_set()
        assert 0 < peer.connection.latency < PATIENCE_S


def test_pong_without_keepalive():
    with RawPeer(ping_interval=None) as peer:
        event = peer.connection.ping("a")
        peer.send(PONG, b"a")
        assert event.wait(PATIENCE_S)


def test_payload_of_a_ping_is_random(monkeypatch):
    payloads = iter([b"1111", b"1111", b"2222"])
    with RawPeer() as peer:
        monkeypatch.setattr("wsframe.messages.pings.os", SimpleNamespace(urandom=lambda size: next(payloads)))
        peer.connection.ping()
        peer.connection.ping()
        assert peer.frames(2) == [(PING, b"1111"), (PING, b"2222")]


def test_two_pings_with_the_same_data():
    with RawPeer() as peer:
        ping = peer.connection.ping("a")
        with pytest.raises(ConcurrencyError, match="already waiting for a pong with the same data"):
            peer.connection.ping("a")
        peer.send(PONG, b"a")
        assert ping.wait(PATIENCE_S)
        peer.connection.ping("a")


def test_ack_on_close_sets_the_event_at_the_end():
    with RawPeer() as peer:
        told, not_told = peer.connection.ping(ack_on_close=True), peer.connection.ping()
        peer.sock.close()
        assert told.wait(PATIENCE_S)
        assert peer.connection.wait_closed(PATIENCE_S)
        assert not not_told.is_set()


def test_unsolicited_pongs_are_sent():
    with RawPeer() as peer:
        peer.connection.pong()
        peer.connection.pong("a")
        assert peer.frames(2) == [(PONG, b""), (PONG, b"a")]


@pytest.mark.parametrize("call", ["ping", "pong"])
@pytest.mark.parametrize(("data", "error"), [([], TypeError), (5, TypeError), (b"x" * 126, wsframe.ProtocolError)])
def test_wrong_control_payload_is_refused(call, data, error):
    with linked() as (client, server):
        with pytest.raises(error):
            getattr(client, call)(data)
        assert client.state is State.OPEN


def test_only_the_last_pong_waits_for_a_slow_peer():
    """RFC 6455 §5.5.3: the last one is enough."""
    with RawPeer(close_timeout=0.1) as peer:
        sent = in_thread(peer.connection.send, b"x" * 5_000_000)
        until(lambda: peer.connection._wire.backlog > 1_000_000)
        for number in range(1000):
            peer.send(PING, str(number).encode())
        until(lambda: peer.connection.protocol._held_pong == b"999")
        frames = peer.frames(2)
        sent()
        assert frames[0][0] == BINARY
        assert frames[1:] == [(PONG, b"999")]


# Keepalive


def test_keepalive_pings_measure_the_latency():
    with linked(ping_interval=None) as (client, _):
        assert client.latency == 0
    with linked(ping_interval=0.01) as (client, _):
        until(lambda: client.latency)
        until(lambda: client._keepalive.ping_is_due)


def test_no_keepalive():
    with RawPeer(ping_interval=None) as peer:
        assert peer.connection._next_timeout() is None


def test_missing_pong_fails_the_connection(caplog):
    with caplog.at_level(logging.INFO, "wsframe.client"), RawPeer(ping_interval=0.01, ping_timeout=0.05) as peer:
        (ping, _), close = peer.frames(2)
        assert ping == PING
        assert close == (CLOSE, close_payload(1011, "keepalive ping timeout"))
        assert peer.read_to_end() == []
        peer.sock.close()
        with pytest.raises(ConnectionClosedError, match="sent 1011 .* keepalive ping timeout; no close") as info:
            peer.connection.recv()
    assert isinstance(info.value.__cause__, TimeoutError)
    assert caplog.messages == ["connection failed: keepalive ping timeout"]


def test_any_data_counts_as_a_sign_of_life():
    with RawPeer(ping_interval=0.01, ping_timeout=0.3) as peer:
        for _ in range(3):
            assert peer.frames(1)[0][0] == PING
            peer.send(PONG, b"another")


def test_keepalive_does_not_time_out_while_reading_is_paused():
    with RawPeer(ping_interval=0.01, ping_timeout=0.02, max_queue=1) as peer:
        for _ in range(3):
            peer.send(TEXT, b"a")
        until(lambda: peer.connection._paused)
        assert [opcode for opcode, _ in peer.frames(5)] == [PING] * 5
        assert peer.connection.state is State.OPEN


def test_keepalive_without_a_timeout():
    with RawPeer(ping_interval=0.01, ping_timeout=None) as peer:
        assert [opcode for opcode, _ in peer.frames(5)] == [PING] * 5
        # It keeps only the last of its own pings.
        assert len(peer.connection._pings) <= 1


def test_keepalive_stops_when_closing_starts():
    with RawPeer(ping_interval=0.05) as peer:
        closed = in_thread(peer.connection.close)
        until(lambda: peer.connection._keepalive is None or peer.connection._keepalive.due is None)
        assert peer.frames(1) == [(CLOSE, close_payload(1000))]
        peer.sock.close()
        closed()


# Closing


def test_connection_is_a_context_manager():
    with linked() as (client, server), client as same:
        assert same is client
        assert client.state is State.OPEN
    assert server.close_code == 1000


def test_context_manager_closes_with_1011_after_an_exception():
    with linked() as (client, server):
        with pytest.raises(LookupError), client:
            raise LookupError
        assert server.wait_closed(PATIENCE_S)
        assert server.close_code == 1011


@pytest.mark.parametrize("role", ["client", "server"])
def test_closing_handshake_that_we_start(role):
    with linked() as (client, server):
        one, other = (client, server) if role == "client" else (server, client)
        assert (one.close_code, one.close_reason) == (None, None)
        one.close(4000, "bye")
        assert other.wait_closed(PATIENCE_S)
        assert (other.close_code, other.close_reason) == (4000, "bye")
        assert (one.close_code, one.close_reason) == (4000, "bye")
        assert (one.state, other.state) == (State.CLOSED, State.CLOSED)
        one.close()
        other.close()


@pytest.mark.parametrize("arguments", [(999,), (1005,), (1000, "x" * 124)])
def test_invalid_close_arguments_are_refused(arguments):
    with linked() as (client, _):
        with pytest.raises(wsframe.ProtocolError):
            client.close(*arguments)
        assert client.state is State.OPEN


def test_wait_closed_times_out():
    with linked() as (client, server):
        assert not client.wait_closed(0.01)
        closed = in_thread(server.close)
        assert client.wait_closed()
        closed()


def test_close_times_out_without_an_answer():
    with RawPeer(close_timeout=0.05) as peer:
        peer.connection.close()
        with pytest.raises(ConnectionClosedError, match="sent 1000 .OK.; no close frame received") as info:
            peer.connection.recv()
        assert isinstance(info.value.__cause__, TimeoutError)
        assert str(info.value.__cause__) == "timed out while closing connection"


def test_no_close_timeout():
    with RawPeer(close_timeout=None, ping_interval=None) as peer:
        closed = in_thread(peer.connection.close)
        assert peer.frames(1) == [(CLOSE, close_payload(1000))]
        assert peer.connection._close_deadline is not None
        assert peer.connection._next_timeout() is None
        peer.send(CLOSE, close_payload(1000))
        peer.sock.close()
        closed()


def test_client_drops_tcp_when_the_server_does_not():
    """RFC 6455 §7.1.1: the client waits for a limited time; here, no thread waits."""
    with RawPeer(close_timeout=0.05) as peer:
        peer.send(CLOSE, close_payload(1001))
        assert peer.frames(1) == [(CLOSE, close_payload(1001))]
        assert peer.connection.wait_closed(PATIENCE_S)
        with pytest.raises(ConnectionClosedOK, match="received 1001") as info:
            peer.connection.recv()
        assert isinstance(info.value.__cause__, TimeoutError)


def test_close_drops_messages_beyond_the_queue():
    """Reading goes on, because the Close frame comes after them; messages that exceed the queue are dropped."""
    with RawPeer(max_queue=2) as peer:
        for number in range(3):
            peer.send(TEXT, str(number).encode())
        until(lambda: peer.connection._paused)
        closed = in_thread(peer.connection.close)
        for number in range(3, 9):
            peer.send(TEXT, str(number).encode())
        assert peer.frames(1) == [(CLOSE, close_payload(1000))]
        peer.send(CLOSE, close_payload(1000))
        peer.sock.close()
        closed()
        assert list(peer.connection) == ["0", "1", "2"]


def test_two_threads_may_close_at_once():
    with RawPeer() as peer:
        closed = [in_thread(peer.connection.close) for _ in range(2)]
        assert peer.frames(1) == [(CLOSE, close_payload(1000))]
        peer.send(CLOSE, close_payload(1000))
        peer.sock.close()
        for wait in closed:
            wait()
        assert peer.connection.close_code == 1000


def test_close_wakes_a_receiving_thread():
    with linked() as (client, server):
        received = in_thread(client.recv)
        until(lambda: client._receiving)
        client.close()
        with pytest.raises(ConnectionClosedOK, match=r"sent 1000 .OK.; then received 1000 .OK."):
            received()


# What the peer does wrong


@pytest.mark.parametrize("role", ["client", "server"])
def test_violation_fails_the_connection(role, caplog):
    """RFC 6455 §7.1.7."""
    masked = {"mask": b"abcd"}
    with caplog.at_level(logging.INFO, f"wsframe.{role}"), RawPeer(role) as peer:
        peer.send(TEXT, b"a", **(masked if role == "server" else {}))
        # Masked where it must not be, or the reverse.
        peer.send(TEXT, b"b", **(masked if role == "client" else {}))
        assert peer.connection.recv(PATIENCE_S) == "a"
        data = b""
        while piece := peer.sock.recv(100):
            data += piece
        assert data
        peer.sock.close()
        with pytest.raises(ConnectionClosedError, match="sent 1002") as info:
            peer.connection.recv(PATIENCE_S)
    assert isinstance(info.value.__cause__, wsframe.ProtocolError)
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("connection failed: ")


def test_message_over_the_limit_fails_the_connection():
    with linked(limits=wsframe.Limits(max_message_size=4)) as (client, server):
        server.send("12345")
        with pytest.raises(ConnectionClosedError, match="sent 1009"):
            client.recv(PATIENCE_S)


def test_end_of_tcp_without_a_closing_handshake_is_an_error():
    with RawPeer() as peer:
        received = in_thread(peer.connection.recv)
        peer.sock.close()
        with pytest.raises(ConnectionClosedError, match="no close frame received or sent"):
            received()
        assert peer.connection.close_code == 1006


def test_os_error_while_reading_is_the_cause(monkeypatch):
    def read(self):
        raise ConnectionResetError("reset")

    monkeypatch.setattr("wsframe.sync.wire.Wire.read", read)
    with RawPeer() as peer:
        with pytest.raises(ConnectionClosedError) as info:
            peer.connection.recv(PATIENCE_S)
    assert isinstance(info.value.__cause__, ConnectionResetError)


def test_internal_error_ends_the_connection(monkeypatch, caplog):
    with RawPeer() as peer:
        monkeypatch.setattr(peer.connection, "_dispatch", lambda event: 1 / 0)
        peer.send(TEXT, b"a")
        with pytest.raises(ConnectionClosedError) as info:
            peer.connection.recv(PATIENCE_S)
    assert isinstance(info.value.__cause__, ZeroDivisionError)
    assert caplog.messages == ["unexpected internal error"]


# Attributes


def test_attributes():
    ours, theirs = socket.socketpair()
    with theirs:
        connection = Connection(ours, wsframe.Connection(wsframe.Role.CLIENT, subprotocol="chat"))
        assert connection.socket is ours
        assert connection.local_address == ours.getsockname()
        assert connection.remote_address == ours.getpeername()
        assert connection.subprotocol == "chat"
        assert connection.logger.name == "wsframe.client"
        assert connection.recv_events_thread.daemon
        assert (connection.request, connection.response, connection.latency) == (None, None, 0)
        with pytest.raises(wsframe.InvalidState):
            _ = connection.close_exc
    assert connection.wait_closed(PATIENCE_S)
    assert str(connection.id) in connection.recv_events_thread.name


def test_fragments_dropped_while_closing_leave_no_gap():
    """After close(), an application receives what fits into the queue, and no message with a gap."""
    with RawPeer(max_queue=1, close_timeout=60) as peer:
        stream = peer.connection.recv_streaming()
        peer.send(TEXT, b"a", fin=False)
        received = [next(stream)]
        closed = in_thread(peer.connection.close)
        assert peer.frames(1) == [(CLOSE, close_payload(1000))]
        peer.sock.sendall(b"".join(wire_frame(0, payload, fin=False) for payload in (b"b", b"c", b"c")))
        until(lambda: peer.connection.protocol.frames_received == 4)
        received.append(next(stream))
        peer.sock.sendall(wire_frame(0, b"d") + wire_frame(TEXT, b"e") + wire_frame(CLOSE, close_payload(1000)))
        peer.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionClosed):
            received.extend(stream)
        closed()
    assert "d" not in received
    assert "".join(received) in ("ab", "abc")
