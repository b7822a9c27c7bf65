"""WebSocket connections for threads: the part that servers and clients could share.

Names and behaviour follow the ``sync`` API of the ``websockets`` library. Each connection has a thread that reads,
answers pings and sends keepalive pings, so that all this happens even while no thread calls ``recv``.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import logging
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

from wsframe._checks import (
    check_bool,
    check_close,
    check_max_queue,
    check_timeouts,
    check_type,
    check_wait,
)
from wsframe.constants import CloseCode, Role, State
from wsframe.exceptions import ConcurrencyError, ConnectionClosedOK
from wsframe.limits import CLOSE_TIMEOUT_S, MAX_QUEUE, PING_INTERVAL_S, PING_TIMEOUT_S, QUIET_S, WRITE_LIMIT
from wsframe.messages.connection import SansIOConnection
from wsframe.messages.events import Event, Failed, Message, PongReceived
from wsframe.messages.facade import ClosedFacade
from wsframe.messages.pings import KeepaliveSchedule, Pings, control_payload
from wsframe.messages.prepared import PreparedMessage
from wsframe.messages.streaming import FragmentReader, give_back
from wsframe.opening.http import Request, Response
from wsframe.sync.threads import Deadline, holding, is_held, leave_at_fork
from wsframe.sync.tls import TLSSocket
from wsframe.sync.wire import Wire

if TYPE_CHECKING:
    from typing_extensions import Buffer, Self

__all__ = ["Connection"]

CUT_GRACE_S = 0.5
"""Seconds for the reading thread to notice that the connection was cut; normally, it does so at once."""


class Connection(ClosedFacade):
    """A WebSocket connection; clients use ``ClientConnection``.

    One thread may receive while another sends and a third closes. ``with`` closes the connection on exit.

    State of the reading thread       event                                            next
    READING                           more messages wait than ``max_queue``            PAUSED
    PAUSED                            ``recv`` has taken enough, or the connection is  READING
                                      closing
    READING                           the stream ends or is cut, ``close_timeout``     the connection is CLOSED
                                      has passed, or keepalive has timed out

    Args:
        sock: The socket, or the wire that ``connect`` has created for it.
        protocol: The connection without I/O; if it is OPEN, reading begins at once.
        ping_interval: Seconds between keepalive pings; None disables them.
        ping_timeout: Seconds to wait for a sign of life after a ping; None for no limit.
        close_timeout: Seconds allowed for the closing handshake before TCP is aborted; None for no limit.
        max_queue: Messages that may wait to be received before reading pauses, or a pair that also sets the
            number at which reading resumes (a quarter by default); None for no limit.

    Attributes:
        protocol: The connection without I/O.
        id: A unique identifier, for logs.
        logger: Logger to use.
        request: The handshake request; None until it is available.
        response: The handshake response; None until it is available.
        latency: Round-trip time of the last answered ping, in seconds; 0 before the first.
        recv_events_thread: The reading thread.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        sock: socket.socket | Wire,
        protocol: SansIOConnection,
        *,
        ping_interval: float | None = PING_INTERVAL_S,
        ping_timeout: float | None = PING_TIMEOUT_S,
        close_timeout: float | None = CLOSE_TIMEOUT_S,
        max_queue: int | tuple[int | None, int | None] | None = MAX_QUEUE,
    ) -> None:
        check_type("protocol", protocol, SansIOConnection, "a wsframe.Connection")
        check_timeouts(None, ping_interval, ping_timeout, close_timeout)
        high, low = check_max_queue(max_queue)
        self.protocol = protocol
        self.ping_interval = ping_interval
        self.ping_timeout = ping_timeout
        self.close_timeout = close_timeout
        self.id = uuid.uuid4()
        self.log_to(logging.getLogger(f"wsframe.{protocol.role.name.lower()}"))
        self.request: Request | None = None
        self.response: Response | None = None
        self._wire = sock if isinstance(sock, Wire) else Wire(sock)
        self._queue_high = high
        self._queue_low = high // 4 if low is None and high is not None else low
        self._queue: collections.deque[Message] = collections.deque()
        # Guards everything below, the protocol and the queue; no thread waits for the network while holding it.
        self._lock = threading.RLock()
        # Notified when a thread may receive or read, or has nothing more to wait for.
        self._changed = threading.Condition(self._lock)
        self._end_reached = threading.Condition()
        self._receiving = False
        self._paused = False
        # Whether messages are dropped that come after the application has closed the connection.
        self._dropping = False
        # Whether a fragmented message is being sent, which no other message may interrupt.
        self._sending_fragments = False
        self._close_deadline: Deadline | None = None
        # Each with the event to set on the pong, and whether to set it at the end of the connection, too.
        self._pings: Pings[tuple[threading.Event, bool]] = Pings()
        self._keepalive: KeepaliveSchedule | None = None
        # Whether any data has arrived since the last ping.
        self._alive = False
        # The time at which a peer whose data was refused counts as quiet.
        self._quiet_at: float | None = None
        # Why TCP ended, to be the cause of ConnectionClosed.
        self._lost_exc: BaseException | None = None
        self._ended = False
        # Whether the reading thread has stopped for good, so that other threads read in its place.
        self._taken_over = False
        leave_at_fork(self)
        # A daemon thread, so that an unclosed connection does not keep the interpreter from exiting.
        self.recv_events_thread = threading.Thread(target=self._run, name=f"wsframe-{self.id}", daemon=True)
        if protocol.state is State.OPEN:
            self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(CloseCode.NORMAL_CLOSURE if exc_type is None else CloseCode.INTERNAL_ERROR)

    # Inspecting a connection

    @property
    def socket(self) -> Any:
        """The socket; with TLS, an object with the attributes of both the socket and ``ssl.SSLObject``."""
        ssl_object = self._wire.ssl_object
        return self._wire.sock if ssl_object is None else TLSSocket(self._wire.sock, ssl_object)

    @property
    def local_address(self) -> Any:
        """The address of this end, as ``socket.getsockname`` returns it."""
        return self._wire.sock.getsockname()

    @property
    def remote_address(self) -> Any:
        """The address of the peer, as ``socket.getpeername`` returns it."""
        return self._wire.sock.getpeername()

    @property
    def state(self) -> State:
        """The state of the connection."""
        return self.protocol.state

    # Receiving

    def __iter__(self) -> Iterator[str | bytes]:
        """Iterate over messages until the connection closes.

        The iteration ends when both sides have closed normally, and raises ConnectionClosedError otherwise.
        """
        with contextlib.suppress(ConnectionClosedOK):
            while True:
                yield self.recv()

    @overload
    def recv(self, timeout: float | None, decode: Literal[True]) -> str: ...
    @overload
    def recv(self, timeout: float | None, decode: Literal[False]) -> bytes: ...
    @overload
    def recv(self, timeout: float | None = None, *, decode: Literal[True]) -> str: ...
    @overload
    def recv(self, timeout: float | None = None, *, decode: Literal[False]) -> bytes: ...
    @overload
    def recv(self, timeout: float | None = None, decode: bool | None = None) -> str | bytes: ...

    def recv(self, timeout: float | None = None, decode: bool | None = None) -> str | bytes:
        """Receive the next complete message.

        Args:
            timeout: Seconds to wait for it; None for no limit, 0 or less to return at once.
            decode: True for str and False for bytes, regardless of the message type; by default, str for text
                messages and bytes for binary ones.

        Raises:
            TimeoutError: If no message arrives in time; a later one is left for the next call.
            ConnectionClosed: When the connection is closed and all its messages have been received, or when it
                fails because ``decode`` is True and a binary message is not UTF-8.
            ConcurrencyError: If another thread is receiving.
            TypeError: If ``timeout`` is not a number or ``decode`` is not a bool.
            ValueError: If ``timeout`` is not finite.
        """
        check_wait("timeout", timeout)
        check_bool("decode", decode, optional=True)
        self._check_reader()
        with self._changed:
            self._start_receiving("recv")
            try:
                message = self._next_message(timeout)
            finally:
                self._receiving = False
        if decode is None:
            return message.data
        if not decode:
            return message.payload
        try:
            return message.payload.decode()
        except UnicodeDecodeError as exc:
            error = exc
        self._refuse_text(error)
        raise AssertionError("unreachable")

    @overload
    def recv_streaming(self, decode: Literal[True]) -> Generator[str, None, None]: ...
    @overload
    def recv_streaming(self, decode: Literal[False]) -> Generator[bytes, None, None]: ...
    @overload
    def recv_streaming(self, decode: bool | None = None) -> Generator[str | bytes, None, None]: ...

    def recv_streaming(self, decode: bool | None = None) -> Generator[Any, None, None]:
        """Receive the next message fragment by fragment, each as soon as it arrives.

        How the peer and intermediaries split a message into fragments has no meaning (RFC 6455 §5.4). The message
        size limit applies to all fragments together; with ``max_size=(None, n)``, only each fragment is limited.

        After the first fragment, an iteration that does not run to completion leaves the connection usable only for
        ``close()``.

        Args:
            decode: As in ``recv``, for each fragment.

        Raises:
            ConnectionClosed: As in ``recv``.
            ConcurrencyError: If another thread is receiving.
        """
        self._check_reader()
        with self._changed:
            self._start_receiving("recv_streaming")
            message = None if self._queue else self.protocol.stream_message()
        reader = FragmentReader(decode)
        begun = False
        try:
            while not reader.done:
                if message is None:
                    self._check_reader()
                    with self._changed:
                        message = self._next_message(None)
                for fragment in reader.read(message):
                    begun = True
                    # The last fragment completes the message.
                    self._receiving = not reader.done
                    yield fragment
                message = None
        except UnicodeDecodeError as exc:
            self._refuse_text(exc)
        finally:
            if not begun:
                with self._changed:
                    give_back(self._queue, self.protocol)
            if not reader.done:
                self._receiving = begun

    def _start_receiving(self, method: str) -> None:
        if self._receiving:
            raise ConcurrencyError(
                f"cannot call {method} while another thread is already running recv or recv_streaming"
            )
        self._receiving = True

    def _next_message(self, timeout: float | None) -> Message:
        """Wait for a message, or for a fragment of the one being streamed, and take it from the queue."""
        deadline = Deadline(timeout)
        while not self._queue:
            if self.protocol.state is State.CLOSED:
                raise self.close_exc
            left = deadline.timeout(raise_if_elapsed=False)
            if left is not None and left <= 0:
                raise TimeoutError(f"timed out in {timeout or 0:.1f}s")
            if self._taken_over:
                raise RuntimeError("cannot receive while the interpreter is exiting")
            self._changed.wait(left)
        message = self._queue.popleft()
        if self._paused and (self._queue_low is None or len(self._queue) <= self._queue_low):
            self._resume()
        return message

    def _refuse_text(self, exc: UnicodeDecodeError) -> None:
        """Fail the connection because a message to be decoded is not UTF-8; raise ``close_exc``."""
        self._fail(CloseCode.INVALID_FRAME_PAYLOAD_DATA, f"{exc.reason} at position {exc.start}", exc)
        self._await_end()
        raise self.close_exc

    # Sending

    def send(
        self,
        message: str | Buffer | PreparedMessage | Iterable[str | Buffer],
        text: bool | None = None,
        *,
        compress: bool | None = None,
    ) -> None:
        """Send a message.

        The call waits until the operating system has accepted all of it.

        Args:
            message: A str for a text message, a bytes-like object for a binary one, a prepared message, or
                an iterable of str or bytes-like objects, which are sent as the fragments of one message.
            text: True to send bytes, which must be UTF-8, as text, and False to send a str as binary.
            compress: Whether to compress the message if compression was negotiated; None leaves it to the
                extension, which does not compress messages below its threshold.

        Raises:
            ConnectionClosed: When the connection is closed.
            ConcurrencyError: If another thread is sending a fragmented message.
            TypeError: If ``message`` has another type, is a mapping, or mixes str and bytes.
        """
        if isinstance(message, (str, bytes, bytearray, memoryview)):
            data = message
            self._send_message(lambda: self._put_fragment(data, text, True, compress))
        elif isinstance(message, PreparedMessage):
            prepared = message
            self._send_message(lambda: self.protocol.send_prepared(prepared))
        elif isinstance(message, Mapping):
            raise TypeError("data is a dict-like object")
        elif isinstance(message, Iterable):
            self._send_fragments(message, text, compress)
        else:
            raise TypeError("data must be str, bytes, or iterable")

    def _send_message(self, put: Callable[[], None]) -> None:
        """Send a message, or the first fragment of one."""

        def put_unless_interrupting() -> None:
            if self._sending_fragments:
                raise ConcurrencyError("cannot call send while another thread is already running send")
            put()

        self._send(put_unless_interrupting)

    def _send_fragments(self, message: Iterable[str | Buffer], text: bool | None, compress: bool | None) -> None:
        begun = False
        is_text = False

        def put_first() -> None:
            nonlocal begun
            self._put_fragment(fragment, text, False, compress)
            self._sending_fragments = begun = True

        try:
            for fragment in message:
                if not isinstance(fragment, (str, bytes, bytearray, memoryview)):
                    raise TypeError("iterable must contain bytes or str")
                if begun and isinstance(fragment, str) is not is_text:
                    raise TypeError("iterable must contain uniform types")
                if begun:
                    self._send(functools.partial(self.protocol.send_continuation, fragment, False))
                else:
                    is_text = isinstance(fragment, str)
                    self._send_message(put_first)
            if begun:
                self._send(lambda: self.protocol.send_continuation(b"", True))
        except BaseException:
            # An incomplete message makes the connection unusable.
            if begun:
                self._fail(CloseCode.INTERNAL_ERROR, "error in fragmented message")
            raise
        finally:
            if begun:
                self._sending_fragments = False

    def ping(self, data: str | Buffer | None = None, *, ack_on_close: bool = False) -> threading.Event:
        """Send a ping.

        Args:
            data: At most 125 bytes; four random ones by default.
            ack_on_close: Whether to set the event also when the connection is closed; check ``state`` to
                distinguish the two.

        Returns:
            An event that is set when the pong arrives::

                if not websocket.ping().wait(timeout=5):
                    print("still no pong")

        Raises:
            ConnectionClosed: When the connection is closed.
            ConcurrencyError: If a ping with the same data is still unanswered.
            ProtocolError: If ``data`` is longer than that.
        """
        payload = None if data is None else control_payload(data)
        event = threading.Event()

        def put() -> None:
            if payload in self._pings:
                raise ConcurrencyError("already waiting for a pong with the same data")
            self._put_ping(self._pings.new_payload() if payload is None else payload, (event, ack_on_close))

        self._send(put)
        return event

    def pong(self, data: str | Buffer = b"") -> None:
        """Send an unsolicited pong; pings are answered automatically.

        Args:
            data: At most 125 bytes.

        Raises:
            ConnectionClosed: When the connection is closed.
            ProtocolError: If ``data`` is longer than that.
        """
        payload = control_payload(data)
        self._send(lambda: self.protocol.send_pong(payload))

    def _send(self, put: Callable[[], None]) -> None:
        """Send what ``put`` passes to the protocol, and wait until it is written."""
        self._check_reader()
        target = None
        with self._lock:
            if self.protocol.state is State.OPEN:
                put()
                target = self._emit()
        if target is not None:
            try:
                # While the interpreter is exiting, no keepalive detects that the peer is gone.
                self._wire.write(target, Deadline(self.close_timeout if self._taken_over else None))
            except OSError as exc:
                self._lose(exc)
            else:
                return
        self._await_end()
        raise self.close_exc

    def _emit(self) -> int:
        """Queue the protocol's pending output; the lock must be held."""
        return self._wire.queue(self.protocol.data_to_send())

    def _lose(self, exc: BaseException) -> None:
        with self._lock:
            self._lost_exc = self._lost_exc or exc
            self._expect_end()

    # Closing

    def close(self, code: CloseCode | int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Perform the closing handshake, and wait until the TCP connection is closed.

        If the connection is already closing or closed, only wait. TCP is aborted after ``close_timeout``, or at once if
        the caller is a signal handler or a finalizer that has interrupted another call.

        Args:
            code: 1000 to 1003, 1007 to 1014, 3000 to 4999.
            reason: At most 123 bytes of UTF-8.

        Raises:
            TypeError: If ``code`` is not an int or ``reason`` is not a str.
            ProtocolError: If the code or reason cannot be sent.
        """
        check_close(code, reason)
        if is_held(self._lock, *self._wire.locks):
            self._wire.cut()
            return
        self._take_over_if_exiting()
        deadline = Deadline(self.close_timeout)
        try:
            with holding(self._lock, deadline):
                if self.protocol.state is State.CONNECTING:
                    self._end(None)
                elif self.protocol.state is State.OPEN:
                    if self._sending_fragments:
                        self.protocol.fail(CloseCode.INTERNAL_ERROR, "close during fragmented message")
                    else:
                        self.protocol.send_close(code, reason)
                    self._emit()
                self._expect_end(deadline)
        except TimeoutError:
            self._wire.cut()
            return
        self._await_end()

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Wait until the connection is closed, including TCP.

        Args:
            timeout: Seconds to wait; None for no limit.

        Returns:
            Whether the connection is closed.

        Raises:
            TypeError: If ``timeout`` is not a number.
            ValueError: If ``timeout`` is not finite.
        """
        check_wait("timeout", timeout)
        self._check_reader()
        return self._wait_for_end(Deadline(timeout))

    def _fail(self, code: CloseCode, reason: str, exc: BaseException | None = None) -> None:
        """Fail the connection without waiting for its end."""
        with self._lock:
            if self.protocol.state is State.OPEN:
                self._lost_exc = self._lost_exc or exc
                self.protocol.fail(code, reason)
                self._emit()
                self._expect_end()
        with contextlib.suppress(OSError):
            self._wire.flush()

    def _expect_end(self, deadline: Deadline | None = None) -> None:
        """Start ``close_timeout``, unless it is running; the lock must be held."""
        if self._close_deadline is None:
            self._close_deadline = deadline or Deadline(self.close_timeout)
            # A Close frame may follow messages that no thread receives.
            self._resume()
        if self.protocol.failed and self.protocol.peer_is_sending:
            self._quiet_at = time.monotonic() + QUIET_S

    def _await_end(self) -> None:
        """Wait until the connection is closed; cut it if that takes too long."""
        deadline = self._close_deadline or Deadline(self.close_timeout)
        try:
            with holding(self._lock, deadline):
                self._expect_end(deadline)
            if not self._ended:
                self._wire.write(self._wire.queued, deadline)
        except TimeoutError:
            pass
        except OSError as exc:
            self._lost_exc = self._lost_exc or exc
        if threading.current_thread() is self.recv_events_thread:
            # Called from a finalizer or a logging handler: the reading thread continues when that returns.
            return
        if self._taken_over and not self._ended:
            self._run()
        if not self._wait_for_end(deadline):
            self._close_timed_out()
            if not self._wait_for_end(Deadline(CUT_GRACE_S)):
                # The reading thread is stuck, for example in a logging handler. For other threads, this is the end.
                with contextlib.suppress(TimeoutError), holding(self._lock, Deadline(CUT_GRACE_S)):
                    self._finish(None)

    def _wait_for_end(self, deadline: Deadline) -> bool:
        with self._end_reached:
            while not self._ended:
                left = deadline.timeout(raise_if_elapsed=False)
                if self._taken_over or (left is not None and left <= 0):
                    return False
                self._end_reached.wait(left)
        thread = self.recv_events_thread
        if thread.is_alive() and thread is not threading.current_thread() and not sys.is_finalizing():
            # The thread has nothing left to do.
            thread.join(CUT_GRACE_S)
        return True

    def _close_timed_out(self) -> None:
        self._lost_exc = self._lost_exc or TimeoutError("timed out while closing connection")
        self._wire.cut()

    # When the reading thread cannot help

    def _check_reader(self) -> None:
        """Raise ConcurrencyError rather than wait for something that this same thread blocks."""
        if is_held(self._lock, *self._wire.locks):
            raise ConcurrencyError("called by a signal handler or a finalizer in the middle of another call")
        self._take_over_if_exiting()

    def _take_over_if_exiting(self) -> None:
        """Take over at interpreter exit, when other threads have stopped for good while holding locks."""
        if sys.is_finalizing() and not self._taken_over and not self._ended:
            self._taken_over = True
            self._renew_locks()

    def _renew_locks(self) -> None:
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._end_reached = threading.Condition()
        self._wire.renew_locks()

    def leave_to_parent(self) -> None:
        """In a forked child, abandon the connection, whose thread runs in the parent."""
        self._renew_locks()
        self._wire.leave()
        if not self._ended:
            self._queue.clear()
            self._finish(RuntimeError("the connection belongs to the process that was forked"))
            self._ended = True

    # The reading thread

    def _start(self) -> None:
        if self.ping_interval is not None:
            self._keepalive = KeepaliveSchedule(self.ping_interval, self.ping_timeout, time.monotonic())
        self.recv_events_thread.start()

    def _run(self) -> None:
        exc: BaseException | None = None
        try:
            while not self._wire.is_cut:
                self._check_clocks()
                with self._changed:
                    if self._paused:
                        self._changed.wait(self._next_timeout())
                        continue
                data = self._wire.read()
                if data is None:
                    writable = not self._flush()
                    self._wire.wait(readable=True, writable=writable, timeout=self._next_timeout())
                elif data:
                    self._receive(data)
                else:
                    break
        except OSError as error:
            exc = error
        except Exception as error:
            self.logger.exception("unexpected internal error")
            exc = error
        finally:
            self._end(exc)

    def _receive(self, data: bytes) -> None:
        with self._changed:
            self._alive = True
            # The peer does not read. When it resumes, one Pong is enough (RFC 6455 §5.5.3).
            self.protocol.hold_pongs = self._wire.backlog > WRITE_LIMIT
            for event in self.protocol.receive_data(data):
                self._dispatch(event)
            self._emit()
            if self.protocol.failed or self.protocol.close_expected():
                self._expect_end()
            full = self._queue_high is not None and len(self._queue) > self._queue_high
            self._paused = full and self._close_deadline is None
            self._changed.notify_all()
        self._flush()

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, Message):
            full = self._queue_high is not None and len(self._queue) > self._queue_high
            # Reading continues while the connection is closing, because the peer's Close frame is still to come.
            # The application needs no more messages then, so those from the first one that exceeds the queue on are
            # dropped. Each may be a fragment, so nothing may come after a gap.
            if self._close_deadline is None or not (self._dropping or full):
                self._queue.append(event)
            else:
                self._dropping = True
        elif isinstance(event, PongReceived):
            self._acknowledge(event.payload)
        elif isinstance(event, Failed):
            self.logger.info("connection failed: %s (%s)", event.fault.text, event.fault.section)

    def _flush(self) -> bool:
        """Write answers and output left by other threads, without waiting; return whether all of it was written."""
        if not self._wire.flush():
            return False
        protocol = self.protocol
        if protocol.hold_pongs:
            with self._lock:
                protocol.hold_pongs = False
                self._emit()
            return self._flush()
        # RFC 6455 §7.1.1, §7.1.7: the server closes TCP, and so does an endpoint that fails the connection.
        if protocol.failed or (protocol.role is Role.SERVER and protocol.close_expected()):
            # The peer closes TCP when it sees the end of the stream, perhaps in the middle of a message.
            return self._quiet_at is not None or self._wire.end_writing()
        return True

    def _resume(self) -> None:
        self._paused = False
        self._changed.notify_all()

    def _end(self, exc: BaseException | None) -> None:
        """Handle the end of TCP."""
        try:
            self._finish(exc)
            self._wire.close()
        finally:
            with self._end_reached:
                self._ended = True
                self._end_reached.notify_all()

    def _finish(self, exc: BaseException | None) -> None:
        """Release all waiting threads."""
        with self._changed:
            self._lost_exc = self._lost_exc or exc
            self.protocol.receive_eof()
            for event, ack_on_close in self._pings.clear():
                if ack_on_close:
                    event.set()
            self._changed.notify_all()

    # Timers, checked by the reading thread

    def _next_timeout(self) -> float | None:
        """Return the seconds until the next timer expires; None if there is none."""
        keepalive_at = None if self._keepalive is None else self._keepalive.due
        timeouts = [at - time.monotonic() for at in (keepalive_at, self._quiet_at) if at is not None]
        if self._close_deadline is not None:
            left = self._close_deadline.timeout(raise_if_elapsed=False)
            if left is not None:
                timeouts.append(left)
        return max(0.0, min(timeouts)) if timeouts else None

    def _check_clocks(self) -> None:
        if self._close_deadline is not None:
            left = self._close_deadline.timeout(raise_if_elapsed=False)
            if left is not None and left <= 0:
                self._close_timed_out()
        if self._quiet_at is not None and time.monotonic() >= self._quiet_at:
            self._quiet_at = None
        keepalive_at = None if self._keepalive is None else self._keepalive.due
        if keepalive_at is not None and time.monotonic() >= keepalive_at:
            self._keep_alive()
            self._flush()

    # Pings

    def _put_ping(self, payload: bytes, waiter: tuple[threading.Event, bool] | None) -> None:
        self.protocol.send_ping(payload)
        self._pings.add(payload, waiter, time.monotonic())

    def _acknowledge(self, payload: bytes) -> None:
        answered = self._pings.acknowledge(payload, time.monotonic())
        if answered is None:
            return
        if self._keepalive is not None:
            self._keepalive.pong_received()
        for (event, _), _ in answered:
            event.set()

    def _keep_alive(self) -> None:
        """Run the next step of keepalive: send a ping, or check for signs of life."""
        with self._lock:
            schedule = self._keepalive
            assert schedule is not None
            if self.protocol.state is not State.OPEN:
                self._keepalive = None
            elif schedule.ping_is_due:
                self._pings.drop_unawaited()
                self._alive = False
                schedule.ping(time.monotonic())
                schedule.backlog = self._wire.backlog
                self._put_ping(self._pings.new_payload(), None)
                self._emit()
            elif not schedule.check(self._alive, self._wire.backlog, self._paused):
                self.logger.info("connection failed: keepalive ping timeout")
                self._lost_exc = TimeoutError("keepalive ping timeout")
                self.protocol.fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
                self._emit()
                self._expect_end()
