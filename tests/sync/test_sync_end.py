"""The end of connections for threads: exits, forks, signals, threads that are stuck, and peers that still send."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from support import BINARY, CLOSE, PATIENCE_S, PING, PONG, TEXT, close_payload, wire_frame
from threads import ManualTime, RawPeer, in_thread, until

import wsframe
from wsframe import ConcurrencyError, ConnectionClosedError, State
from wsframe.sync import threads
from wsframe.sync.client import connect
from wsframe.sync.connection import Connection
from wsframe.sync.threads import Deadline, connect_tcp, holding, is_held

HERE = "127.0.0.1"
SIZE = 20_000_000
QUICK_S = 20
"""Longer than anything here takes unless it hangs, and less than a close_timeout of 60."""


@pytest.fixture
def unread():
    """A connection whose thread has not started to read, and the socket of its peer."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE_S)
    protocol = wsframe.Connection(wsframe.Role.CLIENT, state=State.CONNECTING)
    connection = Connection(ours, protocol, close_timeout=0.2, ping_interval=None)
    protocol.open(None, [])
    with ours, theirs:
        yield connection, theirs


def read_frames(sock):
    data = b""
    while piece := sock.recv(2**16):
        data += piece
    return [(frame.opcode, frame.payload) for frame in wsframe.FrameParser(wsframe.Role.SERVER).feed(data)]


# Programs


def run_program(source, server_options="", timeout=60):
    """Run a program with ``URI`` and ``connect``, and an echo server in another one; return its output."""
    server = textwrap.dedent(
        """
        import asyncio, wsframe
        async def echo(websocket):
            async for message in websocket:
                await websocket.send(message)
        async def main():
            async with wsframe.serve(echo, "127.0.0.1", 0) as server:
                print(server.sockets[0].getsockname()[1], flush=True)
                await asyncio.Future()
        asyncio.run(main())
        """
    )
    begin = textwrap.dedent(
        """
        import os, sys, time, warnings
        warnings.simplefilter("ignore")
        from wsframe.sync.client import connect as wsframe_connect
        def connect():
            return wsframe_connect(sys.argv[1], proxy=None, close_timeout=60)
        """
    )
    with subprocess.Popen([sys.executable, "-c", server], stdout=subprocess.PIPE, text=True) as process:
        try:
            uri = f"ws://{HERE}:{process.stdout.readline().strip()}/"
            done = subprocess.run(
                [sys.executable, "-c", begin + textwrap.dedent(source), uri],
                capture_output=True,
                text=True,
                timeout=QUICK_S,
                check=False,
            )
        finally:
            process.kill()
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    "source",
    [
        """
        class Client:
            def __init__(self):
                self.websocket = connect()
            def __del__(self):
                self.websocket.close()
                print(self.websocket.close_code, flush=True)
        client = Client()
        """,
        """
        class Client:
            def __init__(self):
                self.me, self.websocket = self, connect()
            def __del__(self):
                self.websocket.send("bye")
                self.websocket.close()
                print(self.websocket.close_code, flush=True)
        Client()
        """,
        """
        def talk():
            with connect() as websocket:
                try:
                    yield
                finally:
                    websocket.close()
                    print(websocket.close_code, flush=True)
        talking = talk()
        next(talking)
        """,
        """
        import atexit
        websocket = connect()
        def end():
            websocket.close()
            print(websocket.close_code, flush=True)
        atexit.register(end)
        """,
    ],
    ids=["finalizer", "cycle", "generator", "atexit"],
)
def test_closing_handshake_works_at_interpreter_exit(source):
    """The reading thread has stopped by then; close() performs the closing handshake itself."""
    assert run_program(source) == ["1000"]


def test_receiving_at_interpreter_exit_is_an_error():
    source = """
        class Client:
            def __init__(self):
                self.websocket = connect()
            def __del__(self):
                for call in (self.websocket.recv, lambda: next(self.websocket.recv_streaming())):
                    try:
                        call()
                    except RuntimeError as exc:
                        print(exc, flush=True)
                print(self.websocket.wait_closed(), flush=True)
                self.websocket.close()
        client = Client()
    """
    assert run_program(source) == ["cannot receive while the interpreter is exiting"] * 2 + ["False"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_process_leaves_the_connection_to_its_parent():
    source = """
        websocket = connect()
        for call in (
            websocket.close, websocket.wait_closed, websocket.recv, websocket.ping, lambda: websocket.send("a")
        ):
            pid = os.fork()
            if not pid:
                try:
                    print(call(), flush=True)
                except Exception as exc:
                    print(type(exc).__name__, exc.__cause__, flush=True)
                os._exit(0)
            os.waitpid(pid, 0)
        with websocket:
            pid = os.fork()
            if not pid:
                sys.exit()
            os.waitpid(pid, 0)
            websocket.send("still there")
            print(websocket.recv(), flush=True)
        print(websocket.close_code, flush=True)
    """
    error = "ConnectionClosedError the connection belongs to the process that was forked"
    assert run_program(source) == ["None", "True", error, error, error, "still there", "1000"]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
@pytest.mark.parametrize("work", ["websocket.recv()", "while True: websocket.send('x' * 10)"])
def test_signal_handler_may_close(work):
    source = f"""
        import signal
        from wsframe import ConnectionClosed
        websocket = connect()
        signal.signal(signal.SIGALRM, lambda *_: websocket.close())
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            {work}
        except ConnectionClosed:
            print("closed", flush=True)
    """
    assert run_program(source) == ["closed"]


# The same, step by step


def test_close_reads_the_answer_at_interpreter_exit(unread, monkeypatch):
    connection, peer = unread
    monkeypatch.setattr(sys, "is_finalizing", lambda: True)
    # The threads that held these locks have ended.
    for lock in (connection._lock, *connection._wire.locks, connection._end_reached):
        in_thread(lock.acquire)()
    peer.sendall(wire_frame(TEXT, b"a") + wire_frame(CLOSE, close_payload(1000)))
    connection.close()
    assert (connection.state, connection.close_code) == (State.CLOSED, 1000)
    assert read_frames(peer) == [(CLOSE, close_payload(1000))]
    # There is nothing left to take over.
    assert connection.recv() == "a"
    connection.close()
    assert connection.wait_closed()


def test_close_times_out_at_interpreter_exit(unread, monkeypatch):
    connection, peer = unread
    monkeypatch.setattr(sys, "is_finalizing", lambda: True)
    connection.close()
    assert connection.close_code == 1006
    assert read_frames(peer) == [(CLOSE, close_payload(1000))]


def test_blocking_calls_fail_at_interpreter_exit(unread, monkeypatch):
    connection, _ = unread
    monkeypatch.setattr(sys, "is_finalizing", lambda: True)
    with pytest.raises(RuntimeError, match="cannot receive while the interpreter is exiting"):
        connection.recv()
    assert not connection.wait_closed()
    with pytest.raises(ConnectionClosedError):
        # The peer does not read; sending must not wait forever.
        connection.send(b"x" * SIZE)


def test_started_stream_fails_at_interpreter_exit(unread, monkeypatch):
    connection, _ = unread
    connection._receive(wire_frame(TEXT, b"a", fin=False))
    fragments = connection.recv_streaming()
    assert next(fragments) == "a"
    monkeypatch.setattr(sys, "is_finalizing", lambda: True)
    with pytest.raises(RuntimeError, match="cannot receive while the interpreter is exiting"):
        next(fragments)


def test_leave_to_parent_ends_the_childs_connection(unread):
    connection, peer = unread
    event = threading.Event()
    connection._pings.add(b"a", (event, True), 0.0)
    in_thread(connection._lock.acquire)()
    connection.leave_to_parent()
    assert event.is_set()
    assert connection._wire.sock.fileno() == -1
    connection.close()
    for call in (connection.recv, connection.ping):
        with pytest.raises(ConnectionClosedError) as info:
            call()
        assert isinstance(info.value.__cause__, RuntimeError)
    # Once it has ended, there is nothing to leave.
    connection.leave_to_parent()
    assert peer.recv(10) == b""


def test_fork_leaves_all_connections_to_the_parent(unread, monkeypatch):
    connection, _ = unread
    monkeypatch.setattr(threads, "_left", {1: connection})
    threads._leave_all()
    assert connection.state is State.CLOSED


def test_close_before_the_opening_handshake():
    ours, theirs = socket.socketpair()
    with theirs:
        connection = Connection(ours, wsframe.Connection(wsframe.Role.CLIENT, state=State.CONNECTING))
        connection.close()
        assert connection.wait_closed(0)
        assert theirs.recv(10) == b""


def test_close_in_the_middle_of_another_call():
    """For example by a signal handler. Nothing can be sent then."""
    for lock in (0, 1, 2):
        with RawPeer(close_timeout=60) as peer:
            connection = peer.connection
            until(connection.recv_events_thread.is_alive)
            with (connection._lock, *connection._wire.locks)[lock]:
                for call in (connection.recv, connection.ping, lambda: connection.send("a"), connection.wait_closed):
                    with pytest.raises(ConcurrencyError, match="in the middle of another call"):
                        call()
                begin = time.monotonic()
                connection.close()
                assert time.monotonic() - begin < QUICK_S
            assert connection.wait_closed(PATIENCE_S)
            assert peer.read_to_end() == []


def test_close_times_out_while_another_thread_holds_the_lock():
    with RawPeer(close_timeout=0.1) as peer:
        connection = peer.connection
        release = threading.Event()

        def hold():
            with connection._lock:
                held.set()
                assert release.wait(PATIENCE_S)

        held = threading.Event()
        holding_it = in_thread_running(hold)
        assert held.wait(PATIENCE_S)
        begin = time.monotonic()
        connection.close()
        assert time.monotonic() - begin < QUICK_S
        release.set()
        holding_it.join(PATIENCE_S)


def in_thread_running(function):
    thread = threading.Thread(target=function)
    thread.start()
    return thread


@pytest.mark.parametrize("holds_the_lock", [False, True])
def test_close_returns_while_the_reading_thread_is_stuck(holds_the_lock):
    with RawPeer(close_timeout=0.1) as peer:
        connection = peer.connection
        stuck, release = threading.Event(), threading.Event()
        read = connection._wire.read

        def wait():
            if stuck.is_set():
                return read()
            with connection._lock:
                connection.protocol.send_close(1000)
                connection._expect_end()
                stuck.set()
                assert not holds_the_lock or release.wait(PATIENCE_S)
            assert release.wait(PATIENCE_S)
            return read()

        connection._wire.read = wait
        peer.send(PING)
        assert stuck.wait(PATIENCE_S)
        begin = time.monotonic()
        connection.close()
        assert time.monotonic() - begin < QUICK_S
        assert (connection.state is State.CLOSED) is not holds_the_lock
        release.set()


def test_reading_thread_may_close():
    """A finalizer may run in any thread."""
    with RawPeer(close_timeout=60) as peer:
        connection = peer.connection
        read = connection._wire.read
        closed = []

        def close_first():
            if not closed:
                closed.append(connection.close())
            return read()

        connection._wire.read = close_first
        peer.send(PING)
        frames = peer.frames(1)
        if frames[0][0] == PONG:
            # It was reading already, and closes when it reads again.
            frames = peer.frames(1)
        assert frames == [(CLOSE, close_payload(1000))]
        peer.send(CLOSE, close_payload(1000))
        peer.sock.close()
        assert connection.wait_closed(PATIENCE_S)
        assert connection.close_code == 1000


def test_holding_a_lock_respects_the_deadline():
    lock = threading.RLock()
    assert not is_held(lock)
    with holding(lock, Deadline(None)):
        assert is_held(lock)
        with pytest.raises(TimeoutError):
            in_thread(lambda: holding(lock, Deadline(0.01)).__enter__())()
    with holding(lock, Deadline(-1)):
        assert is_held(threading.RLock(), lock)
    assert not is_held(lock)


# Peers that still send


@pytest.mark.parametrize("tls", ["none", "ours", "the application's"])
def test_close_frame_reaches_a_peer_that_sends_everything_first(tls, server_tls, client_tls):
    """RFC 6455 §7.1.7: 20 MB are refused by their header, but read to the end."""
    results = []

    def serve_once(listener):
        sock, _ = listener.accept()
        sock.settimeout(PATIENCE_S)
        if tls != "none":
            sock = server_tls.wrap_socket(sock, server_side=True)
        with sock:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += sock.recv(1)
            handshake = wsframe.ServerHandshake()
            response = handshake.accept(handshake.receive_data(head))
            sock.sendall(response.serialize())
            sock.sendall(wire_frame(BINARY, length=SIZE) + bytes(SIZE))
            results.extend(read_frames(sock))

    with socket.create_server((HERE, 0)) as listener:
        served = in_thread(serve_once, listener)
        port = listener.getsockname()[1]
        if tls == "none":
            options = {"uri": f"ws://{HERE}:{port}/"}
        elif tls == "ours":
            options = {"uri": f"wss://localhost:{port}/", "ssl": client_tls, "address": (HERE, port)}
        else:
            sock = client_tls.wrap_socket(socket.create_connection((HERE, port)), server_hostname="localhost")
            options = {"uri": f"ws://{HERE}:{port}/", "sock": sock}
        websocket = connect(**options, proxy=None, compression=None, close_timeout=60)
        with pytest.raises(ConnectionClosedError):
            websocket.recv(PATIENCE_S)
        begin = time.monotonic()
        websocket.close()
        assert time.monotonic() - begin < QUICK_S
        served()
    assert [(opcode, payload[:2]) for opcode, payload in results] == [(CLOSE, (1009).to_bytes(2, "big"))]


@pytest.mark.parametrize("code", [1007, 1009])
def test_stream_ends_once_the_peer_pauses(code):
    """A peer that sees the end of the stream while sending may close TCP and lose our Close frame."""
    with RawPeer(close_timeout=60) as peer:
        read = in_thread(peer.read_to_end)
        if code == 1007:
            # The application refuses the message.
            refused = in_thread(peer.connection.recv, None, True)
            peer.sock.sendall(wire_frame(BINARY, b"\xff"))
        else:
            refused = in_thread(peer.connection.recv)
            peer.sock.sendall(wire_frame(BINARY, length=SIZE))
        for _ in range(20):
            # Only time shows that the stream does not end: all of this takes longer than a pause is.
            time.sleep(0.02)
            assert not read.done(), "the stream ended before the peer paused"
            peer.sock.sendall(bytes(10_000))
        assert [(opcode, payload[:2]) for opcode, payload in read()] == [(CLOSE, code.to_bytes(2, "big"))]
        # Our end waits for the peer to close.
        peer.sock.close()
        with pytest.raises(ConnectionClosedError):
            refused()


def test_end_writing_waits_for_queued_bytes():
    with RawPeer() as peer:
        # The peer does not read.
        peer.connection._wire.queue(bytes(SIZE))
        assert peer.connection._wire.end_writing() is False


# Whole times


def test_addresses_share_the_deadline(monkeypatch):
    """One that does not answer leaves time for the others, and all of them together take no more than there is."""
    asked = []
    clock = ManualTime()
    addresses = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 80, 0, 2))]
    addresses += [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (HERE, 80))] * 3

    def create_connection(address, timeout, **kwargs):
        asked.append((address, timeout))
        clock.now += timeout
        raise TimeoutError("no answer")

    monkeypatch.setattr(threads, "time", clock)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: addresses)
    monkeypatch.setattr(socket, "create_connection", create_connection)
    with pytest.raises(TimeoutError):
        connect_tcp(("h", 80), Deadline(8))
    assert asked == [(("fe80::1%2", 80), 2), *[((HERE, 80), 2)] * 3]


def test_host_without_addresses_is_an_os_error(monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    with pytest.raises(OSError, match="h has no address"):
        connect_tcp(("h", 80), Deadline(None))


def test_connecting_falls_back_to_the_last_address(monkeypatch):
    with socket.create_server((HERE, 0)) as listener:
        name = listener.getsockname()
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in ((HERE, 1), name)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)
        monkeypatch.setattr(socket, "create_connection", dial)
        with connect_tcp(("h", 80), Deadline(None)) as sock:
            assert sock.getpeername() == name


def dial(address, timeout=None, **_):
    sock = socket.socket()
    try:
        sock.settimeout(timeout)
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def test_timeout_option_overrides_the_deadline():
    with socket.create_server((HERE, 0)) as listener:
        with connect_tcp(listener.getsockname(), Deadline(1), timeout=5) as sock:
            assert sock.gettimeout() == 5


def test_slow_socks_proxy_does_not_extend_open_timeout():
    """The limit is for all of it, not for each read."""

    def trickle(listener):
        sock, _ = listener.accept()
        with sock:
            sock.recv(100)
            try:
                for byte in b"\x05\x00\x05\x00\x00\x03" + bytes([200]) * 200:
                    sock.sendall(bytes([byte]))
                    # Each read is well within the limit, all of them together are not.
                    time.sleep(0.1)
            except OSError:
                pass

    with socket.create_server((HERE, 0)) as listener:
        served = in_thread(trickle, listener)
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            connect("ws://h/", proxy=f"socks5h://{HERE}:{listener.getsockname()[1]}", open_timeout=0.2)
        assert time.monotonic() - begin < 10
        served()
