"""The bytes of one connection: writing, waiting, and cutting it."""

from __future__ import annotations

import socket
import time

import pytest
from support import PATIENCE_S
from threads import ManualTime, in_thread

from wsframe.sync import threads as threads_module, wire as wire_module
from wsframe.sync.threads import Deadline
from wsframe.sync.wire import Wire


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE_S)
    wire = Wire(ours)
    yield wire, theirs
    wire.close()
    theirs.close()


def read_all(sock, size):
    data = b""
    while len(data) < size:
        data += sock.recv(2**16)
    return data


def test_deadline(monkeypatch):
    clock = ManualTime()
    monkeypatch.setattr(threads_module, "time", clock)
    assert Deadline(None).timeout() is None
    deadline = Deadline(3)
    clock.now += 1
    assert deadline.timeout() == 2
    clock.now += 2
    assert deadline.timeout(raise_if_elapsed=False) == 0
    with pytest.raises(TimeoutError, match="timed out"):
        deadline.timeout()
    clock.now += 1
    assert deadline.timeout(raise_if_elapsed=False) == -1


def test_bytes_are_written_in_order(pair):
    wire, peer = pair
    sizes = [10, 0, 40_000, 30_000, 200_000, 5]
    sent = b"".join(bytes([number]) * size for number, size in enumerate(sizes))
    for number, size in enumerate(sizes):
        target = wire.queue(bytes([number]) * size)
    assert wire.backlog == target == len(sent)
    written = in_thread(wire.write, target, Deadline(PATIENCE_S))
    assert read_all(peer, len(sent)) == sent
    written()
    assert (wire.backlog, wire.written) == (0, target)


def test_write_returns_once_its_own_bytes_are_written(pair):
    wire, _ = pair
    target = wire.queue(b"a")
    wire.queue(b"b" * 10_000_000)
    wire.write(target, Deadline(PATIENCE_S))
    assert wire.backlog


def test_write_times_out(pair):
    wire, _ = pair
    with pytest.raises(TimeoutError):
        wire.write(wire.queue(b"a" * 10_000_000), Deadline(0.05))


def test_reading(pair):
    wire, peer = pair
    assert wire.read() is None
    peer.sendall(b"a")
    assert wire.read_in_time(Deadline(PATIENCE_S)) == b"a"
    with pytest.raises(TimeoutError):
        wire.read_in_time(Deadline(0.01))
    peer.close()
    assert wire.read_in_time(Deadline(None)) == b""


def test_cut_wakes_waiting_threads(pair):
    wire, peer = pair
    read = in_thread(wire.read_in_time, Deadline(None))
    written = in_thread(wire.write, wire.queue(b"a" * 10_000_000), Deadline(None))
    wire.cut()
    assert read() == b""
    with pytest.raises(OSError):
        written()
    assert wire.is_cut


def test_wait_on_a_closed_socket_returns(pair):
    wire, _ = pair
    wire.close()
    wire.wait(readable=True)
    wire.end_writing()
    wire.close()


def test_reading_works_after_end_writing(pair):
    wire, peer = pair
    wire.write(wire.queue(b"a"), Deadline(None))
    wire.end_writing()
    assert peer.recv(10) == b"a"
    assert peer.recv(10) == b""
    peer.sendall(b"b")
    assert wire.read_in_time(Deadline(PATIENCE_S)) == b"b"


@pytest.mark.parametrize("wait", [wire_module._wait_with_poll, wire_module._wait_with_select])
def test_poll_and_select_wait_alike(wait):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fileno = ours.fileno()
        wait(fileno, False, True, None)
        begin = time.monotonic()
        wait(fileno, True, False, 0.02)
        assert time.monotonic() - begin >= 0.02
        theirs.sendall(b"a")
        wait(fileno, True, False, None)
        wait(fileno, True, True, None)


def test_select_ignores_a_closed_descriptor():
    wire_module._wait_with_select(2**20, True, False, None)


def test_wait_is_bounded_where_a_cut_wakes_no_thread(pair, monkeypatch):
    """Windows."""
    wire, peer = pair
    monkeypatch.setattr(wire_module, "MAX_WAIT_S", 0.01)
    wire.wait(readable=True)
    wire.wait(readable=True, timeout=0.02)
    peer.sendall(b"a")
    assert wire.read_in_time(Deadline(None)) == b"a"
