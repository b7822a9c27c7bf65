"""Reads and writes of a connection in C.

Twin of ``wsframe/asyncio/datapath/_stream_py.py``; the contract is in ``stream``.
"""

cimport cython
from cpython.buffer cimport PyObject_CheckBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromObject, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from cpython.list cimport PyList_GET_SIZE
from cpython.unicode cimport PyUnicode_Check
from libc.stdint cimport uint64_t

from wsframe.messages._messenger_c cimport Messenger, keep_spare
from wsframe.codec._message_c cimport Message, message_data
from wsframe.codec._framing_c cimport BINARY, TEXT

import weakref

from wsframe.constants import CloseCode, State
from wsframe.limits import JOINED_BYTES, PARSE_SIZE, READ_SIZE

__all__ = ["CallbackStream", "Stream"]


cdef extern from "Python.h":
    object PyContext_CopyCurrent()
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1
    unsigned long PyThread_get_thread_ident()


cdef extern from "wsframe/asyncio/datapath/sockets.h":
    ctypedef struct piece:
        char *iov_base
        size_t iov_len
    Py_ssize_t write_now(int fd, piece *pieces, int count) nogil
    Py_ssize_t read_now(int fd, void *buffer, Py_ssize_t size)
    bint would_block()
    ctypedef struct ready:
        pass
    int watch_open()
    void watch_close(int watch)
    int watch_add(int watch, int fd, uint64_t number)
    void watch_remove(int watch, int fd)
    int watch_ready(int watch, ready *all, int size)
    uint64_t watch_number(const ready *one)


cdef enum:
    # Bytes from which a write takes long enough to let other threads run.
    LONG_WRITE = 64 * 1024
    # Average frame size in bytes from which joining frames by copying costs more than writing them in pieces.
    LONG_PIECE = 1024
    # Maximum number of pieces in one write.
    MAX_PIECES = 64
    # Consecutive reads before returning to the event loop.
    READS_IN_A_ROW = 16
    # Connections to read from before returning to the event loop.
    AT_A_TIME = 256
    # Number of connections read directly that the event loop itself watches. Any more are watched together: that costs
    # one more system call each time, but less for each connection.
    FEW = 8

cdef Py_ssize_t JOINED = JOINED_BYTES
cdef Py_ssize_t AT_ONCE = PARSE_SIZE
cdef object INTERNAL_ERROR = CloseCode.INTERNAL_ERROR
cdef object CONNECTING = State.CONNECTING
cdef object OPEN = State.OPEN
cdef object CLOSING = State.CLOSING
cdef object CLOSED = State.CLOSED

# Transports whose socket may be written directly while their own buffer is empty.
cdef set SOCKET_TRANSPORTS = {
    ("asyncio.selector_events", "_SelectorSocketTransport"),
    ("uvloop.loop", "TCPTransport"),
    ("uvloop.loop", "UnixTransport"),
}

cdef object shares = weakref.WeakKeyDictionary()


cdef class Share:
    """State shared by the connections of an event loop.

    The read buffer: nothing runs between ``get_buffer``, the read and ``buffer_updated``, so an idle connection needs
    no buffer of its own. And the end of an iteration of the event loop, when connections write the messages that they
    have sent in it after their first one.
    """

    def __cinit__(self):
        self.joining = []

    def end_turn(self) -> None:
        cdef Py_ssize_t number = 0
        cdef object interrupt = None
        # Iterate in place, since there may be no memory for a copy of the list.
        while number < PyList_GET_SIZE(self.joining):
            stream = self.joining[number]
            number += 1
            try:
                self.join(<Stream?>stream)
            except BaseException as exc:
                # KeyboardInterrupt: write the others first.
                interrupt = exc
        self.joining.clear()
        if interrupt is not None:
            raise interrupt

    cdef int join(self, Stream stream) except -1:
        try:
            stream.join()
        except Exception as exc:
            stream.loop.call_exception_handler({"message": "cannot write", "exception": exc})
        return 0


cdef Share share_of(object loop):
    cdef Share share = shares.get(loop)
    if share is None:
        share = Share.__new__(Share)
        # A second, private view keeps the memory in place.
        share.pin = memoryview(bytearray(READ_SIZE))
        share.buffer = memoryview(share.pin.obj)
        shares[loop] = share
    return share


cdef class Watch:
    """A single file descriptor that reports which connections have data to read.

    The event loop then watches one descriptor instead of all of them, and the work that it would do in Python for each
    becomes a loop in C. The event loop keeps this object alive, and this object the connections, as long as there are
    any.
    """

    def __cinit__(self):
        self.fd = -1
        self.streams = []
        self.free = []

    def __dealloc__(self):
        if self.fd >= 0:
            watch_close(self.fd)

    cdef bint add(self, Stream stream) except -1:
        """Start watching a connection; return whether that is possible."""
        cdef Py_ssize_t number
        if self.fd < 0:
            self.fd = watch_open()
            if self.fd < 0:
                return False
            try:
                stream.loop.add_reader(self.fd, self.read_ready)
            except BaseException:
                watch_close(self.fd)
                self.fd = -1
                raise
        if not self.free:
            self.streams.append(None)
            try:
                self.free.append(PyList_GET_SIZE(self.streams) - 1)
            except MemoryError:
                self.streams.pop()
                raise
        number = self.free[-1]
        if watch_add(self.fd, stream._fd, <uint64_t>number) < 0:
            self.end_unless_used(stream.loop)
            return False
        self.free.pop()
        self.streams[number] = stream
        stream._watch = self
        stream._number = number
        return True

    cdef int remove(self, Stream stream) except -1:
        """Stop watching a connection."""
        watch_remove(self.fd, stream._fd)
        self.streams[stream._number] = None
        self.free.append(stream._number)
        stream._watch = None
        return self.end_unless_used(stream.loop)

    cdef int end_unless_used(self, object loop) except -1:
        if len(self.free) == len(self.streams):
            if not loop.is_closed():
                loop.remove_reader(self.fd)
            watch_close(self.fd)
            self.fd = -1
            self.streams = []
            self.free = []
        return 0

    def read_ready(self) -> None:
        """Read from the connections that have data to read."""
        cdef ready all[AT_A_TIME]
        cdef int count = watch_ready(self.fd, all, AT_A_TIME)
        cdef int i
        cdef uint64_t number
        for i in range(count):
            number = watch_number(&all[i])
            # Connections handled before may have ended this one.
            if number < <uint64_t>PyList_GET_SIZE(self.streams):
                stream = self.streams[number]
                if stream is not None:
                    self.read(<Stream?>stream)

    cdef int read(self, Stream stream) except -1:
        try:
            stream.read_watched()
        except Exception as exc:
            # The other connections have data to read, too.
            stream.loop.call_exception_handler({"message": "cannot read", "exception": exc})
        return 0


cdef bint watch(Stream stream) except -1:
    """Start watching a connection together with the others of its event loop; return whether that is possible."""
    cdef Share share = stream._share
    cdef Watch watch = None if share.watch is None else share.watch()
    if watch is None:
        watch = Watch.__new__(Watch)
        share.watch = weakref.ref(watch)
    return watch.add(stream)


cdef Messenger no_protocol = Messenger.__new__(Messenger)
cdef Share no_share = Share.__new__(Share)


cdef class Stream:
    # The first line is where inspect.signature() finds the arguments of a class in C.
    """Stream(protocol, write_high)
--

Turn reads into messages, and messages into writes.

    Data sent while a read is being handled is written in one piece when the read has been handled. Other data is
    written at once, or together with more data sent in the same iteration of the event loop.

    Args:
        protocol: The connection without I/O.
        write_high: Bytes in the write buffer above which sending pauses.
    """

    def __cinit__(self, *args, **kwargs):
        # Until __init__ and _attach have run, nothing is received or sent.
        self.protocol = no_protocol
        self._share = no_share
        self._fd = -1
        self._joined_bytes = -1
        self._received_meanwhile = []

    def __init__(self, protocol: Connection, write_high: int) -> None:
        if not isinstance(protocol, Messenger):
            raise TypeError(f"protocol must be a Connection, not {type(protocol).__name__}")
        self.protocol = protocol
        self._write_high = write_high

    @property
    def state(self) -> State:
        """The state of the connection."""
        return self.protocol.state

    # The transport

    @property
    def transport(self) -> asyncio.Transport:
        return self._transport

    @transport.setter
    def transport(self, transport: asyncio.Transport) -> None:
        self.give_reads_back()
        self._transport = transport
        self._fd = -1
        if (type(transport).__module__, type(transport).__qualname__) in SOCKET_TRANSPORTS:
            self._fd = transport.get_extra_info("socket").fileno()
            # The transport may already have data to write.
            self._transport_writes = True

    def _attach(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Read from and write to a transport."""
        self.transport = transport
        self.loop = loop
        self._thread = PyThread_get_thread_ident()
        self._share = share_of(loop)
        self._bytes = <unsigned char *>PyByteArray_AS_STRING(self._share.pin.obj)
        self._size = PyByteArray_GET_SIZE(self._share.pin.obj)

    def _detach(self) -> None:
        """Handle the loss of the TCP connection."""
        self.read_no_more()
        self._fd = -1
        self._reads = False

    # Reading

    def _take_reads(self) -> None:
        """From now on, read without the transport if that is faster."""
        if self._why_not_direct()[0] is None and self._transport.is_reading():
            # Replaces the transport's reader, which is restored when the transport resumes reading.
            if self._has_reader or self._watch is None and (self._share.readers < FEW or not watch(self)):
                self.loop._add_reader(self._fd, self._read_ready)
                self._share.readers += not self._has_reader
                self._has_reader = True
            else:
                self.loop._remove_reader(self._fd)
                self._context = PyContext_CopyCurrent()
            self._reads = True

    def _why_not_direct(self) -> tuple[str | None, str | None]:
        """Return why the socket is not read and not written without the transport; None where it is."""
        cdef object transport = self._transport
        cdef object kind = type(self)
        name = f"{type(transport).__module__}.{type(transport).__qualname__}"
        if self._fd < 0:
            reason = f"{name} is not known"
            return reason, reason
        if type(transport).__module__ != "asyncio.selector_events":
            return f"{name} reads by itself", None
        needed = (self.loop, "_add_reader"), (self.loop, "_remove_reader"), (transport, "_fatal_error")
        for owner, attribute in needed:
            if not hasattr(owner, attribute):
                return f"{type(owner).__name__} has no {attribute}", None
        if kind.get_buffer is not Stream.get_buffer or kind.buffer_updated is not Stream.buffer_updated:
            return f"{kind.__qualname__} overrides get_buffer or buffer_updated", None
        return None, None

    def _read_ready(self) -> None:
        """Read; called by the event loop when the socket is readable."""
        if self._fd >= 0 and self._transport.is_reading():
            self.read()

    cdef int read_no_more(self) except -1:
        """Stop watching the socket, possibly temporarily."""
        # Keeps a reference, since the watch may release its own.
        cdef Watch watch = self._watch
        if watch is not None:
            watch.remove(self)
            self._context = None
        elif self._has_reader:
            self._has_reader = False
            self._share.readers -= 1
            self.loop._remove_reader(self._fd)
        return 0

    cdef int read_watched(self) except -1:
        """Read; called by the watch when the socket is readable."""
        cdef object context = self._context
        if not self._transport.is_reading():
            # Reading has been paused, or the transport is closing.
            return self.read_no_more()
        try:
            PyContext_Enter(context)
        except RuntimeError:
            # A context cannot be entered twice: an event loop is running within a callback of this connection.
            return self.read()
        try:
            self.read()
        finally:
            PyContext_Exit(context)
        return 0

    cdef int give_reads_back(self) except -1:
        """Let the transport read again."""
        if self._reads:
            self._reads = False
            self.read_no_more()
            if self._transport.is_reading():
                try:
                    self._transport.pause_reading()
                finally:
                    self._transport.resume_reading()
        return 0

    @cython.nonecheck(False)
    cdef int read(self) except -1:
        cdef unsigned char *target = self._bytes
        cdef Py_ssize_t room = self._size
        cdef Py_ssize_t size
        cdef bytes own
        if self._share.parsing:
            # An event loop runs within a callback: earlier data has not been parsed yet.
            own = PyBytes_FromStringAndSize(NULL, AT_ONCE)
            target = <unsigned char *>PyBytes_AS_STRING(own)
            room = AT_ONCE
        for _round in range(READS_IN_A_ROW):
            size = read_now(self._fd, target, room)
            if size <= 0:
                if size == 0:
                    # End of stream: let the transport find and handle it.
                    self.give_reads_back()
                elif not would_block():
                    self.read_failed()
                return 0
            self.alive = True
            self.receive(target, size)
            # Handling the data may have closed the connection or paused reading.
            if size < room or not self._reads or self._fd < 0 or not self._transport.is_reading():
                return 0
        return 0

    cdef int read_failed(self) except -1:
        """Pass a socket error to the transport, because the socket reports a reset only once."""
        try:
            PyErr_SetFromErrno(OSError)
        except OSError as exc:
            self._transport._fatal_error(exc, "cannot read")
        return 0

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._share.parsing:
            # A transport delivers while earlier data has not been parsed yet.
            self._own_buffer = memoryview(bytearray(AT_ONCE))
            return self._own_buffer
        return self._share.buffer

    def buffer_updated(self, nbytes: int) -> None:
        cdef object view = self._own_buffer
        cdef Py_ssize_t size = nbytes
        if size < 0:
            size = 0
        self.alive = True
        if view is not None:
            self._own_buffer = None
            return self._take(view[:size])
        size = min(size, self._size)
        if self.protocol.state is CONNECTING:
            if not self._ending:
                self._on_handshake_data(self._share.pin[:size])
        else:
            self.receive(self._bytes, size)
            if self._reads:
                # The transport has been paused and resumed by other code.
                self._take_reads()

    def _receive(self, data: bytes | memoryview) -> None:
        """Handle bytes received after the opening handshake."""
        cdef bytes copy = PyBytes_FromObject(data)
        self.receive(<const unsigned char *>PyBytes_AS_STRING(copy), PyBytes_GET_SIZE(copy))

    def _take(self, data: memoryview) -> None:
        """Handle data received in this connection's own buffer."""
        if self.protocol.state is not CONNECTING:
            self._receive(data)
        elif not self._ending:
            self._on_handshake_data(data)

    @cython.nonecheck(False)
    cdef int receive(self, const unsigned char *data, Py_ssize_t size) except -1:
        cdef Messenger protocol = self.protocol
        cdef Share share = self._share
        cdef bint was_corked = self._corked
        cdef bytes piece
        if self._receiving:
            # A callback of this same connection makes its transport deliver: queue the data after the current data.
            self._received_meanwhile.append(PyBytes_FromStringAndSize(<const char *>data, size))
            return 0
        self._receiving = True
        share.parsing += 1
        self._corked = True
        try:
            if protocol._hold_pongs and not self.writing_paused:
                protocol.hold_pongs = self._transport.get_write_buffer_size() > self._write_high
            self.parse(data, size)
            while PyList_GET_SIZE(self._received_meanwhile):
                piece = <bytes>self._received_meanwhile.pop(0)
                self.parse(<const unsigned char *>PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece))
        except Exception:
            self._application_failed()
        except BaseException:
            # KeyboardInterrupt: data not yet handled is lost, and so is the connection.
            self.interrupted()
            raise
        finally:
            self._corked = was_corked
            self._receiving = False
            share.parsing -= 1
        if protocol._failed and not self._ending and self._has_answers_to_come():
            self._hold_failure()
        return self.flush()

    cdef int interrupted(self) except -1:
        if self.protocol.state is OPEN:
            self.protocol.fail(INTERNAL_ERROR)
        return self.flush_later()

    @cython.nonecheck(False)
    cdef int parse(self, const unsigned char *data, Py_ssize_t size) except -1:
        cdef Py_ssize_t end
        while size > 0:
            end = min(size, AT_ONCE)
            self.handle(self.protocol.receive(data, end))
            data += end
            size -= end
        return 0

    cdef int handle(self, list events) except -1:
        """Handle the events of a read; data sent during that is written together."""
        raise NotImplementedError

    def _has_answers_to_come(self) -> bool:
        """Return whether the application may still answer messages already received."""
        return False

    def pause_reading(self) -> None:
        """Stop reading from the peer, so that TCP flow control makes it wait."""
        if not self.reading_paused and not self._transport.is_closing():
            self._transport.pause_reading()
            self.reading_paused = True

    def resume_reading(self) -> None:
        """Resume reading from the peer."""
        if self.reading_paused:
            # Set first, because the transport may deliver at once, and reading may have to pause again.
            self.reading_paused = False
            try:
                if not self._transport.is_closing():
                    self._transport.resume_reading()
                    if self._reads:
                        self._take_reads()
            except BaseException:
                self.reading_paused = True
                raise

    # Writing

    def _check_thread(self) -> None:
        """Raise RuntimeError if called from a thread other than the event loop's."""
        self.check_thread()

    cdef int check_thread(self) except -1:
        if self._thread != PyThread_get_thread_ident() and self._thread:
            raise RuntimeError(
                "called from another thread than the event loop's; "
                "use loop.call_soon_threadsafe() or asyncio.run_coroutine_threadsafe()"
            )
        return 0

    def _flush_joined(self, size: int) -> None:
        """Write a message of ``size`` bytes at once, or with others sent in this iteration of the event loop."""
        self.flush_joined(size)

    @cython.nonecheck(False)
    cdef int flush_joined(self, Py_ssize_t size) except -1:
        if self._corked:
            return 0
        if self._joined_bytes < 0:
            self.flush()
            return self.begin_joining()
        # Add the minimum header size of 2 bytes, so that an empty message counts too.
        self._joined_bytes += 2 + size
        if self._joined_bytes <= JOINED:
            return 0
        self._joined_bytes = 0
        return self.flush()

    cdef int begin_joining(self) except -1:
        """From now on, write sent data at the end of this iteration of the event loop."""
        cdef Share share = self._share
        try:
            if not PyList_GET_SIZE(share.joining):
                self.loop.call_soon(share.end_turn)
            share.joining.append(self)
        except Exception:
            # Out of memory, or the event loop is closed: write each message at once.
            return 0
        self._joined_bytes = 0
        return 0

    cdef int join(self) except -1:
        cdef bint joined = self._joined_bytes > 0
        self._joined_bytes = -1
        if joined and self.protocol.state is not CLOSED:
            self.flush()
        return 0

    def _flush(self) -> None:
        """Write pending output, and end the TCP connection when it is due."""
        self.flush()

    @cython.nonecheck(False)
    cdef int flush(self) except -1:
        cdef Messenger protocol = self.protocol
        if self._corked:
            return 0
        # Calls to the transport run Python code: signal handlers, finalizers and tracers may run, and the transport may
        # call the application. Data that they send is written by this loop, after the rest.
        self._corked = True
        try:
            while protocol.has_output():
                self.write()
        except BaseException as exc:
            self._corked = False
            # Retry only after these: other exceptions might not be temporary, and would recur forever.
            if not isinstance(exc, Exception) or isinstance(exc, MemoryError):
                self.flush_later()
            raise
        self._corked = False
        if self._has_idle_timeout and self._idle_timer is None:
            self._watch_idleness()
        if protocol.state is CLOSING or (protocol._failed and not protocol.failure_held):
            self._end()
        return 0

    cdef int flush_later(self) except -1:
        """Write pending output in the next iteration of the event loop."""
        try:
            self.loop.call_soon(self._flush)
        except Exception:
            # Then it is written with the next message.
            return 0
        return 0

    @cython.nonecheck(False)
    cdef int write(self) except -1:
        """Write pending output."""
        cdef list output, pieces
        cdef Py_ssize_t count, i
        cdef Py_ssize_t size = 0
        cdef bint closing = self._transport.is_closing()
        if self._transport_writes and self._fd >= 0 and not closing:
            self._transport_writes = self._transport.get_write_buffer_size() != 0
        # Takes all pending output out of shared state.
        output = self.protocol.take_output()
        count = PyList_GET_SIZE(output)
        for i in range(count):
            size += PyBytes_GET_SIZE(<bytes>output[i])
        self.protocol.bytes_sent += size
        self._transport_closing = closing
        if closing or not size:
            return 0
        pieces = output
        if self._fd >= 0 and not self._transport_writes:
            if count > 1 and (count > MAX_PIECES or size < count * LONG_PIECE):
                try:
                    pieces = [b"".join(output)]
                except MemoryError:
                    pieces = output
            size = self.write_pieces(pieces, size)
        if size:
            try:
                self.write_rest(pieces, size)
            except BaseException:
                # It is unknown how much was written: the next data might be mistaken for the rest of a frame.
                self.abort()
                raise
            self._transport_closing = self._transport.is_closing()
        if self.protocol._masks:
            # These bytes objects are all ours, none is a payload of the application.
            keep_spare(output)
        return 0

    cdef int abort(self) except -1:
        try:
            self._transport.abort()
        except NotImplementedError:
            # Transports other than asyncio's own need not support it.
            return 0
        return 0

    cdef int write_rest(self, list output, Py_ssize_t size) except -1:
        """Write the last ``size`` bytes through the transport."""
        cdef Py_ssize_t first = PyList_GET_SIZE(output)
        cdef Py_ssize_t found = 0
        while found < size:
            first -= 1
            found += PyBytes_GET_SIZE(<bytes>output[first])
        rest = output[first] if found == size else memoryview(output[first])[found - size:]
        if first == PyList_GET_SIZE(output) - 1:
            self._transport.write(rest)
        elif size < LONG_WRITE:
            self._transport.write(b"".join([rest, *output[first + 1:]]))
        else:
            # Not writelines(): in some versions of asyncio, that never pauses writing.
            self._transport.write(rest)
            for rest in output[first + 1:]:
                if self._transport.is_closing():
                    # pause_writing() has closed it.
                    return 0
                self._transport.write(rest)
        return 0

    @cython.nonecheck(False)
    cdef Py_ssize_t write_pieces(self, list output, Py_ssize_t size) except -1:
        """Write to the socket; return how many of ``size`` bytes are left for the transport."""
        cdef piece pieces[MAX_PIECES]
        cdef Py_ssize_t count = PyList_GET_SIZE(output)
        cdef Py_ssize_t first = 0
        cdef Py_ssize_t written, together
        cdef int taken
        while first < count:
            together = 0
            taken = 0
            while taken < MAX_PIECES and first < count:
                pieces[taken].iov_base = PyBytes_AS_STRING(<bytes>output[first])
                pieces[taken].iov_len = <size_t>PyBytes_GET_SIZE(<bytes>output[first])
                together += PyBytes_GET_SIZE(<bytes>output[first])
                taken += 1
                first += 1
            if together < LONG_WRITE:
                written = write_now(self._fd, pieces, taken)
            else:
                with nogil:
                    written = write_now(self._fd, pieces, taken)
            size -= max(written, 0)
            if written != together:
                # The transport waits until it can write the rest, and handles the error if it cannot.
                self._transport_writes = True
                return size
        return 0


cdef class CallbackStream(Stream):
    # The first line is where inspect.signature() finds the arguments of a class in C.
    """CallbackStream(protocol, write_high)
--

A stream that passes messages to a method.

    Args:
        protocol: The connection without I/O.
        write_high: Bytes in the write buffer above which sending pauses.
    """

    def message_received(self, data: str | bytes) -> None:
        """Called when a message arrives: text as str, binary as bytes."""

    @cython.nonecheck(False)
    def send(self, data: str | Buffer | PreparedMessage, *, compress: bool | None = None) -> None:
        """Send a message.

        The message is written when the current read has been handled, or else at once. Data that the transport
        cannot write yet is buffered up to ``Limits.max_send_buffer``; ``pause_writing`` signals when to stop.

        Args:
            data: A str for a text message, a bytes-like object for a binary one, or a prepared message.
            compress: Whether to compress the message if compression was negotiated; None decides by the threshold.

        Raises:
            InvalidState: If the connection is not open.
            TypeError: If ``data`` has another type.
            BufferError: If too much data is waiting to be sent and the policy is to wait.
            RuntimeError: If called from a thread other than the event loop's.
        """
        self.check_thread()
        if self.writing_paused and not self._admit():
            return
        if PyUnicode_Check(data):
            self.protocol.send_message(TEXT, data, True, compress)
        elif PyObject_CheckBuffer(data):
            self.protocol.send_message(BINARY, data, True, compress)
        else:
            self._send_other(data)
        self.flush()

    @cython.nonecheck(False)
    cdef int handle(self, list events) except -1:
        cdef object hook = None
        for event in events:
            if type(event) is Message:
                if hook is None:
                    hook = self.message_received
                hook(message_data(<Message>event))
            else:
                self._on_event(event)
        return 0
