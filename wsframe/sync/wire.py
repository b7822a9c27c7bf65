"""The bytes of one TCP connection, with or without TLS, for threads that read and write at the same time."""

from __future__ import annotations

import collections
import contextlib
import math
import select
import socket
import ssl
import sys
import threading
from typing import Any

from wsframe.sync.threads import Deadline
from wsframe.sync.tls import TLSLayer

__all__ = ["Wire"]

READ_SIZE = 64 * 1024
JOINED_BYTES = 64 * 1024
"""Bytes up to which waiting pieces are joined for one system call."""

MAX_WAIT_S = 0.5 if sys.platform == "win32" else None
"""Seconds to wait at a time: on Windows alone, a waiting thread does not notice that another has cut the connection."""

_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Wire:
    """A connected socket, and the layers of TLS on it.

    Only ``wait`` and methods documented to wait block on the network. One thread may read while others write: bytes
    are written in the order in which they were queued, whichever thread writes them.

    Args:
        sock: The socket; it becomes non-blocking.

    Attributes:
        sock: The socket.
        queued: Total bytes ever queued, as they appear on the wire.
        written: How many of them the operating system has accepted.
        is_cut: Whether ``cut`` was called.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.queued = 0
        self.written = 0
        self.is_cut = False
        self._layers: list[TLSLayer] = []
        # Whether the end of the stream is queued.
        self._ending = False
        self._output: collections.deque[bytes | memoryview] = collections.deque()
        self.renew_locks()

    def renew_locks(self) -> None:
        """Replace the locks with new ones: the threads that held them are gone."""
        # Guards the layers and the output; acquired last, and never held while waiting.
        self._lock = threading.RLock()
        # Held by the thread that writes or closes the socket.
        self._writing = threading.RLock()
        # Two threads must not use an OpenSSL connection created by the application at once, either.
        self._sock_lock: Any = self._lock if isinstance(self.sock, ssl.SSLSocket) else contextlib.nullcontext()

    @property
    def locks(self) -> tuple[threading.RLock, ...]:
        """The locks for reading and writing; no thread waits for the network while holding them."""
        return self._lock, self._writing

    @property
    def ssl_object(self) -> ssl.SSLObject | None:
        """The innermost layer of TLS, or None."""
        return self._layers[-1].ssl_object if self._layers else None

    @property
    def backlog(self) -> int:
        """Number of bytes waiting to be written."""
        return self.queued - self.written

    # Reading

    def read(self) -> bytes | None:
        """Read available data.

        Returns:
            The data, empty at the end of the stream, or None if none has arrived.

        Raises:
            OSError: If the connection is broken.
        """
        if any(layer.ended for layer in self._layers):
            return b""
        try:
            with self._sock_lock:
                data = self.sock.recv(READ_SIZE)
        except _WOULD_BLOCK:
            return None
        if not self._layers:
            return data
        with self._lock:
            for layer in self._layers:
                layer.receive(data)
                data = layer.decrypt()
                if not data:
                    break
            # TLS may have an answer to send.
            self._queue(b"")
            return data if data or layer.ended else None

    def read_in_time(self, deadline: Deadline) -> bytes:
        """Wait for data, and read it; empty bytes mean the end of the stream.

        Raises:
            TimeoutError: If no data arrives in time.
            OSError: If the connection is broken.
        """
        while (data := self.read()) is None:
            self.wait(readable=True, timeout=deadline.timeout())
        return data

    # Writing

    def queue(self, data: bytes) -> int:
        """Queue bytes to be written.

        Returns:
            The value that ``written`` will have reached when they are written.
        """
        with self._lock:
            self._queue(data)
            return self.queued

    def _queue(self, data: bytes) -> None:
        for layer in reversed(self._layers):
            layer.encrypt(data)
            data = layer.data_to_send()
        if data:
            self._output.append(data)
            self.queued += len(data)

    def flush(self) -> bool:
        """Write as much as possible without waiting; return whether everything was written.

        Raises:
            OSError: If the connection is broken.
        """
        with self._writing:
            while True:
                with self._lock:
                    if not self._output:
                        return True
                    if len(self._output) > 1:
                        self._join_output()
                    data = self._output[0]
                try:
                    with self._sock_lock:
                        size = self.sock.send(data)
                except _WOULD_BLOCK:
                    return False
                with self._lock:
                    self.written += size
                    if size < len(data):
                        self._output[0] = memoryview(data)[size:]
                    else:
                        self._output.popleft()

    def _join_output(self) -> None:
        pieces = []
        size = 0
        for piece in self._output:
            size += len(piece)
            if size > JOINED_BYTES:
                break
            pieces.append(piece)
        if pieces:
            # Join before removing anything, since there may be no memory for the result.
            joined = b"".join(pieces)
            for _ in pieces:
                self._output.popleft()
            self._output.appendleft(joined)

    def write(self, target: int, deadline: Deadline) -> None:
        """Wait until bytes are written.

        Args:
            target: The value that ``queue`` returned for them.
            deadline: The deadline for the whole operation.

        Raises:
            TimeoutError: If writing takes too long.
            OSError: If the connection is broken.
        """
        while not self.flush() and self.written < target:
            self.wait(writable=True, timeout=deadline.timeout())

    # Waiting

    def wait(self, *, readable: bool = False, writable: bool = False, timeout: float | None = None) -> None:
        """Wait until the socket is readable or writable, the connection is broken or cut, or time runs out.

        Args:
            readable: Whether to wait until the socket is readable.
            writable: Whether to wait until the socket is writable.
            timeout: Seconds; None for no limit.
        """
        if MAX_WAIT_S is not None:
            timeout = MAX_WAIT_S if timeout is None else min(timeout, MAX_WAIT_S)
        fileno = self.sock.fileno()
        # The socket may have been closed in the meantime.
        if fileno >= 0:
            _wait(fileno, readable, writable, None if timeout is None else max(0.0, timeout))

    # TLS

    def start_tls(self, context: ssl.SSLContext, server_hostname: str | None, deadline: Deadline) -> None:
        """Add a layer of TLS, and wait for its handshake.

        Raises:
            TimeoutError: If the handshake takes too long.
            OSError: (ssl.SSLError) If the handshake fails.
        """
        layer = TLSLayer(context, server_hostname)
        try:
            while not layer.shake_hands():
                self.write(self.queue(layer.data_to_send()), deadline)
                layer.receive(self.read_in_time(deadline))
        finally:
            # Also sends the alert of a failed handshake.
            with contextlib.suppress(OSError):
                self.queue(layer.data_to_send())
                self.flush()
        self._layers.append(layer)

    # The end

    def end_writing(self) -> bool:
        """Send the end of the stream, in all layers of TLS, after the queued data; reading continues.

        If the socket were closed at once, the kernel would answer the peer's next segment with a reset, which may
        destroy data that the peer has not read yet.

        Returns:
            Whether it is written; if not, call this again when the socket is writable.

        Raises:
            OSError: If the connection is broken.
        """
        with self._lock:
            if not self._ending:
                self._ending = True
                for layer in reversed(self._layers):
                    layer.end_writing()
                    self._queue(b"")
        if not self.flush():
            return False
        with contextlib.suppress(OSError):
            # Not the method of ssl.SSLSocket. With TLS created by the application, this is all that is possible: its
            # unwrap() treats further data as a failure, and WebSocket has its own closing handshake.
            socket.socket.shutdown(self.sock, socket.SHUT_WR)
        return True

    def cut(self) -> None:
        """End the connection at once; threads that wait for it or write to it notice."""
        self.is_cut = True
        with contextlib.suppress(OSError):
            # Not the method of ssl.SSLSocket, which would continue without encryption.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

    def leave(self) -> None:
        """Close this process's socket without affecting the connection, which belongs to the parent."""
        self.renew_locks()
        self.is_cut = True
        self.sock.close()

    def close(self) -> None:
        """Close the socket. No thread may be reading from it."""
        self.cut()
        # Not while a thread writes: the next socket may get the same file descriptor.
        with self._writing:
            self.sock.close()


def _wait_with_poll(fileno: int, readable: bool, writable: bool, timeout: float | None) -> None:
    poller = select.poll()
    poller.register(fileno, (select.POLLIN if readable else 0) | (select.POLLOUT if writable else 0))
    poller.poll(None if timeout is None else math.ceil(timeout * 1000))


def _wait_with_select(fileno: int, readable: bool, writable: bool, timeout: float | None) -> None:
    with contextlib.suppress(OSError, ValueError):
        select.select([fileno] if readable else [], [fileno] if writable else [], [fileno], timeout)


# On most systems, select() supports file descriptors below 1,024 only; Windows has no poll().
_wait = _wait_with_poll if hasattr(select, "poll") else _wait_with_select
