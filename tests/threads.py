"""What the tests of the blocking API share: an event loop in a thread, for servers to run on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time

from support import PATIENCE_S

import wsframe
from wsframe.sync.connection import Connection


def until(condition):
    """Wait until a condition holds."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"still not so after {PATIENCE_S} s"
        time.sleep(0.005)


@contextlib.contextmanager
def running(make_manager):
    """Enter an asynchronous context manager on an event loop in a thread, for the length of the block.

    Args:
        make_manager: Called there; returns the context manager.

    Yields:
        What it gives.
    """
    ready = threading.Event()
    given, problems = [], []

    async def main():
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        try:
            async with make_manager() as value:
                given.extend((value, lambda: loop.call_soon_threadsafe(done.set)))
                ready.set()
                await done.wait()
        except BaseException as exc:
            problems.append(exc)
        finally:
            ready.set()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert ready.wait(PATIENCE_S)
    try:
        if given:
            yield given[0]
    finally:
        if given:
            given[1]()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    if problems:
        raise problems[0]


@contextlib.contextmanager
def linked(*, limits=None, peer_options=None, **options):
    """Link two connections by a socket pair; give the client's end and the server's."""
    ours, theirs = socket.socketpair()
    client = Connection(ours, wsframe.Connection(wsframe.Role.CLIENT, limits=limits), **options)
    server = Connection(theirs, wsframe.Connection(wsframe.Role.SERVER), **(peer_options or {}))
    try:
        yield client, server
    finally:
        for connection in (client, server):
            connection._wire.cut()
            assert connection.wait_closed(PATIENCE_S)


class ManualTime:
    """Stands for the ``time`` module in one module; a test sets ``now``."""

    now = 100.0

    def monotonic(self):
        return self.now


class PausedFragments:
    """Two fragments: ``first_is_sent`` is set before the second, which waits for ``go_on``."""

    def __init__(self):
        self.first_is_sent, self.go_on = threading.Event(), threading.Event()

    def __iter__(self):
        yield "a"
        self.first_is_sent.set()
        assert self.go_on.wait(PATIENCE_S)
        yield "b"


class RawPeer:
    """The other end of a connection, which sends exact bytes.

    Args:
        role: What the connection that is tested is: ``"client"`` or ``"server"``.
        options: As for ``Connection``.

    Attributes:
        connection: The connection that is tested.
        sock: Our end.
    """

    def __init__(self, role="client", **options):
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(PATIENCE_S)
        self.connection = Connection(theirs, wsframe.Connection(wsframe.Role[role.upper()]), **options)
        # A read may end within a frame, or bring more frames than a test asks for.
        self._parser = wsframe.FrameParser(wsframe.Role.SERVER, max_message_size=None)
        self._frames = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()
        self.connection._wire.cut()
        assert self.connection.wait_closed(PATIENCE_S)

    def send(self, opcode, payload=b"", **options):
        self.sock.sendall(wsframe.serialize_frame(opcode, payload, **options))

    def frames(self, count):
        """Read that many frames; those that arrive with them are kept for the next call."""
        while len(self._frames) < count:
            assert self._read(), f"the stream ends after {self._frames}"
        frames, self._frames = self._frames[:count], self._frames[count:]
        return frames

    def read_to_end(self):
        """Read until the end of the stream; return the frames, those that were kept too."""
        while self._read():
            pass
        return self._frames

    def _read(self):
        data = self.sock.recv(2**16)
        self._frames += [(frame.opcode, frame.payload) for frame in self._parser.feed(data)]
        assert self._parser.fault is None
        return data


def in_thread(function, *arguments):
    """Call a function in a thread; return what waits for its result, and has ``done()``."""
    results, problems = [], []

    def run():
        try:
            results.append(function(*arguments))
        except BaseException as exc:
            problems.append(exc)

    thread = threading.Thread(target=run)
    thread.start()

    def result():
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        if problems:
            raise problems[0]
        return results[0]

    result.done = lambda: not thread.is_alive()
    return result
