"""Reads and writes of a connection in C. Rank 5. Twin of ``wsframe/asyncio/_stream_py.py``; see ``stream``."""

from cpython.buffer cimport PyObject_CheckBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from cpython.list cimport PyList_GET_SIZE
from cpython.unicode cimport PyUnicode_Check
from libc.stdint cimport uint64_t

from wsframe._core_c cimport Core, keep_spare
from wsframe._events_c cimport Message, message_data
from wsframe._framing_c cimport BINARY, TEXT

import weakref

from wsframe.constants import State
from wsframe.limits import JOINED_BYTES, PARSE_SIZE, READ_SIZE

__all__ = ["CallbackStream", "Stream"]


cdef extern from "Python.h":
    object PyContext_CopyCurrent()
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1
    unsigned long PyThread_get_thread_ident()


cdef extern from "asyncio/sockets.h":
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
    # Bytes from which a write takes long enough for other threads to run meanwhile.
    LONG_WRITE = 64 * 1024
    # Bytes that frames have on average, from which copying them together costs more than writing them in pieces.
    LONG_PIECE = 1024
    # Pieces that leave in one write.
    MAX_PIECES = 64
    # Reads in a row until others get their turn.
    READS_IN_A_ROW = 16
    # Connections that are read from until others get their turn.
    AT_A_TIME = 256
    # Connections that the event loop itself watches, if we read from them. More are watched together: that takes a
    # system call more each time, and less for each connection.
    FEW = 8

cdef Py_ssize_t JOINED = JOINED_BYTES
cdef Py_ssize_t AT_ONCE = PARSE_SIZE
cdef object CONNECTING = State.CONNECTING
cdef object CLOSING = State.CLOSING
cdef object CLOSED = State.CLOSED

# Transports whose socket takes bytes directly while their own buffer is empty.
cdef set SOCKET_TRANSPORTS = {
    ("asyncio.selector_events", "_SelectorSocketTransport"),
    ("uvloop.loop", "TCPTransport"),
    ("uvloop.loop", "UnixTransport"),
}

cdef object shares = weakref.WeakKeyDictionary()


cdef class Share:
    """What the connections of an event loop share.

    The read buffer: ``get_buffer``, the read and ``buffer_updated`` follow one another without anything in between, so
    an idle connection needs none of its own. And the end of a turn of the event loop, at which they write what they
    have sent behind their first message in it.
    """

    def __cinit__(self):
        self.joining = []

    def end_turn(self) -> None:
        cdef list streams = self.joining
        self.joining = []
        for stream in streams:
            try:
                (<Stream>stream).join()
            except Exception as exc:
                (<Stream>stream).loop.call_exception_handler({"message": "cannot write", "exception": exc})


cdef Share share_of(object loop):
    cdef Share share = shares.get(loop)
    if share is None:
        share = shares[loop] = Share.__new__(Share)
        share.buffer = memoryview(bytearray(READ_SIZE))
    return share


cdef class Watch:
    """One file descriptor that tells which connections have something to read.

    The event loop has one to look after then and not all of them: what it does for each in Python is a loop in C here.
    It keeps this object, which keeps the connections, as long as there are any.
    """

    def __cinit__(self):
        self.fd = -1
        self.streams = []
        self.free = []

    def __dealloc__(self):
        if self.fd >= 0:
            watch_close(self.fd)

    cdef bint add(self, Stream stream) except -1:
        """Watch a connection; return whether that is possible."""
        cdef Py_ssize_t number
        if self.fd < 0:
            self.fd = watch_open()
            if self.fd < 0:
                return False
            stream.loop.add_reader(self.fd, self.read_ready)
        if not self.free:
            self.free.append(len(self.streams))
            self.streams.append(None)
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
        """Watch a connection no more."""
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
        """Some have something to read."""
        cdef ready all[AT_A_TIME]
        cdef int count = watch_ready(self.fd, all, AT_A_TIME)
        cdef int i
        cdef uint64_t number
        for i in range(count):
            number = watch_number(&all[i])
            # Those before may have ended this one.
            if number < <uint64_t>len(self.streams):
                stream = self.streams[number]
                if stream is not None:
                    (<Stream>stream).read_watched()


cdef bint watch(Stream stream) except -1:
    """Watch a connection together with the others of its event loop; return whether that is possible."""
    cdef Share share = stream._share
    cdef Watch watch = None if share.watch is None else share.watch()
    if watch is None:
        watch = Watch.__new__(Watch)
        share.watch = weakref.ref(watch)
    return watch.add(stream)


cdef Core no_protocol = Core.__new__(Core)
cdef Share no_share = Share.__new__(Share)


cdef class Stream:
    # The first line is where inspect.signature() finds the arguments of a class in C.
    """Stream(protocol, write_high)
--

From a read to messages, and from messages to a write.

    What is sent while a read is being handled is written at its end, in one piece; what is sent otherwise, at once or
    together with more that is sent in the same turn of the event loop.

    Args:
        protocol: The connection without I/O.
        write_high: Bytes in the write buffer above which sending pauses.
    """

    def __cinit__(self, *args, **kwargs):
        # Until __init__ and _attach have run, and if they never do, nothing is received or sent.
        self.protocol = no_protocol
        self._share = no_share
        self._fd = -1
        self._joined_bytes = -1

    def __init__(self, protocol: Connection, write_high: int) -> None:
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
            # It may have something to write already.
            self._transport_writes = True

    def _attach(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Read from and write to a transport."""
        self.transport = transport
        self.loop = loop
        self._thread = PyThread_get_thread_ident()
        self._share = share_of(loop)
        self._buffer = self._share.buffer
        self._bytes = <unsigned char *>PyByteArray_AS_STRING(self._buffer.obj)
        self._size = len(self._buffer)

    def _detach(self) -> None:
        """The TCP connection is gone."""
        self.read_no_more()
        self._fd = -1
        self._reads = False

    # Reading

    def _take_reads(self) -> None:
        """Read without the transport's help from now on, if that is faster."""
        cdef object kind = type(self)
        if (
            self._fd >= 0
            and type(self._transport).__module__ == "asyncio.selector_events"
            and hasattr(self.loop, "_add_reader")
            and hasattr(self.loop, "_remove_reader")
            and kind.get_buffer is Stream.get_buffer
            and kind.buffer_updated is Stream.buffer_updated
            and self._transport.is_reading()
        ):
            # In place of the transport's reader, which comes back when the transport resumes reading.
            if self._has_reader or self._watch is None and (self._share.readers < FEW or not watch(self)):
                self.loop._add_reader(self._fd, self._read_ready)
                self._share.readers += not self._has_reader
                self._has_reader = True
            else:
                self.loop._remove_reader(self._fd)
                self._context = PyContext_CopyCurrent()
            self._reads = True

    def _read_ready(self) -> None:
        """The event loop has seen something to read."""
        if self._fd >= 0 and self._transport.is_reading():
            self.read()

    cdef int read_no_more(self) except -1:
        """Have nobody watch, be it for a while."""
        # Held here, since it may let go of itself.
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
        """The watch has seen something to read."""
        cdef object context = self._context
        if not self._transport.is_reading():
            # It has been paused, or is closing.
            return self.read_no_more()
        PyContext_Enter(context)
        try:
            self.read()
        finally:
            PyContext_Exit(context)
        return 0

    cdef int give_reads_back(self) except -1:
        """Have the transport read."""
        if self._reads:
            self._reads = False
            self.read_no_more()
            if self._transport.is_reading():
                self._transport.pause_reading()
                self._transport.resume_reading()
        return 0

    cdef int read(self) except -1:
        cdef Py_ssize_t size
        for _round in range(READS_IN_A_ROW):
            size = read_now(self._fd, self._bytes, self._size)
            if size <= 0:
                if size == 0:
                    # It is the end. The transport knows what to do when it meets it.
                    self.give_reads_back()
                elif not would_block():
                    self.read_failed()
                return 0
            self.alive = True
            self.receive(self._bytes, size)
            # What is handled may have closed the connection, or paused reading.
            if size < self._size or not self._reads or self._fd < 0 or not self._transport.is_reading():
                return 0
        return 0

    cdef int read_failed(self) except -1:
        """Have the transport handle an error of the socket, which tells of a reset but once."""
        try:
            PyErr_SetFromErrno(OSError)
        except OSError as exc:
            self._transport._fatal_error(exc, "cannot read")
        return 0

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        cdef Py_ssize_t size = min(<Py_ssize_t>nbytes, self._size)
        self.alive = True
        if self.protocol.state is CONNECTING:
            if not self._ending:
                self._on_handshake_data(self._buffer[:size])
        else:
            self.receive(self._bytes, size)
            if self._reads:
                # Somebody has paused the transport and resumed it.
                self._take_reads()

    def _receive(self, data: bytes | memoryview) -> None:
        """Handle bytes that came behind the opening handshake."""
        cdef bytes copy = bytes(data)
        self.receive(<const unsigned char *>PyBytes_AS_STRING(copy), PyBytes_GET_SIZE(copy))

    cdef int receive(self, const unsigned char *data, Py_ssize_t size) except -1:
        cdef Core protocol = self.protocol
        cdef Py_ssize_t end = 0
        if protocol._hold_pongs and not self._write_paused:
            protocol.hold_pongs = self._transport.get_write_buffer_size() > self._write_high
        self._corked = True
        try:
            while end < size:
                data += end
                size -= end
                end = min(size, AT_ONCE)
                self.handle(protocol.receive(data, end))
        except Exception:
            self._application_failed()
        finally:
            self._corked = False
        if protocol._failed and not self._ending and self._has_answers_to_come():
            self._hold_failure()
        return self.flush()

    cdef int handle(self, list events) except -1:
        """Handle the events of a read; what is sent meanwhile is written together."""
        raise NotImplementedError

    def _has_answers_to_come(self) -> bool:
        """Tell whether the application may still answer what has been received."""
        return False

    def pause_reading(self) -> None:
        """Stop reading from the peer, so that TCP makes it wait."""
        if not self.reading_paused and not self._transport.is_closing():
            self.reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read from the peer again."""
        if self.reading_paused:
            self.reading_paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
                if self._reads:
                    self._take_reads()

    # Writing

    def _check_thread(self) -> None:
        """Refuse to be used by another thread than the event loop's."""
        self.check_thread()

    cdef int check_thread(self) except -1:
        if self._thread != PyThread_get_thread_ident() and self._thread:
            raise RuntimeError(
                "called from another thread than the event loop's; "
                "use loop.call_soon_threadsafe() or asyncio.run_coroutine_threadsafe()"
            )
        return 0

    def _flush_joined(self, size: int) -> None:
        """Write a message of that many bytes at once, or together with others sent in this turn of the event loop."""
        self.flush_joined(size)

    cdef int flush_joined(self, Py_ssize_t size) except -1:
        if self._corked:
            return 0
        if self._joined_bytes < 0:
            self._joined_bytes = 0
            if not PyList_GET_SIZE(self._share.joining):
                self.loop.call_soon(self._share.end_turn)
            self._share.joining.append(self)
        else:
            # At least 2 bytes of header, so that an empty message counts too.
            self._joined_bytes += 2 + size
            if self._joined_bytes <= JOINED:
                return 0
            self._joined_bytes = 0
        return self.flush()

    cdef int join(self) except -1:
        cdef bint joined = self._joined_bytes > 0
        self._joined_bytes = -1
        if joined and self.protocol.state is not CLOSED:
            self.flush()
        return 0

    def _flush(self) -> None:
        """Write what there is to send, and end the TCP connection when its time has come."""
        self.flush()

    cdef int flush(self) except -1:
        cdef Core protocol = self.protocol
        cdef list output
        if self._corked:
            return 0
        if self._has_idle_timeout and self._idle_timer is None:
            self._watch_idleness()
        output = protocol.output()
        while PyList_GET_SIZE(output):
            self.write(output)
            if protocol._masks:
                # All of it is ours: these are no payloads of the application.
                keep_spare(output)
            output.clear()
            # The transport may have called the application, and that may have sent something.
            output = protocol.output()
        if protocol.state is CLOSING or (protocol._failed and not protocol.failure_held):
            self._end()
        return 0

    cdef int write(self, list output) except -1:
        """Write some bytes objects one behind the other."""
        cdef Py_ssize_t count = PyList_GET_SIZE(output)
        cdef Py_ssize_t size = 0
        cdef Py_ssize_t i
        for i in range(count):
            size += PyBytes_GET_SIZE(<bytes>output[i])
        self.protocol.bytes_sent += size
        self._transport_closing = self._transport.is_closing()
        if self._transport_closing:
            return 0
        if self._fd >= 0:
            if self._transport_writes:
                self._transport_writes = self._transport.get_write_buffer_size() != 0
            if not self._transport_writes and count <= MAX_PIECES and (count == 1 or size >= count * LONG_PIECE):
                size = self.write_pieces(output, size)
                if size == 0:
                    return 0
        if self._fd >= 0 and not self._transport_writes:
            output = [b"".join(output)]
            size = self.write_pieces(output, size)
            if size == 0:
                return 0
        # The transport may call the application. What that sends comes behind all of this.
        self.protocol._output = []
        self._corked = True
        try:
            self.write_rest(output, size)
        finally:
            self._corked = False
        self._transport_closing = self._transport.is_closing()
        return 0

    cdef int write_rest(self, list output, Py_ssize_t size) except -1:
        """Have the transport write the last ``size`` bytes."""
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
            # Not writelines(): in some versions of asyncio, it never pauses writing.
            self._transport.write(rest)
            for rest in output[first + 1:]:
                self._transport.write(rest)
        return 0

    cdef Py_ssize_t write_pieces(self, list output, Py_ssize_t size) except -1:
        """Write to the socket; return how many of ``size`` bytes are left, which are the transport's business."""
        cdef piece pieces[MAX_PIECES]
        cdef int count = <int>PyList_GET_SIZE(output)
        cdef Py_ssize_t written
        cdef int i
        for i in range(count):
            pieces[i].iov_base = PyBytes_AS_STRING(<bytes>output[i])
            pieces[i].iov_len = <size_t>PyBytes_GET_SIZE(<bytes>output[i])
        if size < LONG_WRITE:
            written = write_now(self._fd, pieces, count)
        else:
            with nogil:
                written = write_now(self._fd, pieces, count)
        if written == size:
            return 0
        # The transport waits until it can write the rest, and finds out what is wrong if it cannot.
        self._transport_writes = True
        return size - written if written > 0 else size


cdef class CallbackStream(Stream):
    # The first line is where inspect.signature() finds the arguments of a class in C.
    """CallbackStream(protocol, write_high)
--

A stream that hands messages to a method.

    Args:
        protocol: The connection without I/O.
        write_high: Bytes in the write buffer above which sending pauses.
    """

    def message_received(self, data: str | bytes) -> None:
        """A message came: text as str, binary as bytes."""

    def send(self, data: str | Buffer | PreparedMessage, *, compress: bool | None = None) -> None:
        """Send a message.

        It is written at the end of the read that is being handled, or else at once. What the transport
        cannot write yet is kept, up to ``Limits.max_send_buffer``; ``pause_writing`` tells when to stop.

        Args:
            data: A str for a text message, a bytes-like object for a binary one, or a prepared message.
            compress: Whether to compress the message if that was agreed on; None leaves it to the threshold.

        Raises:
            InvalidState: If the connection is not open.
            TypeError: If ``data`` is none of these.
            BufferError: If too much is waiting to be sent, and the policy is to wait.
            RuntimeError: If the caller is in another thread than the event loop.
        """
        self.check_thread()
        if self._write_paused and not self._admit():
            return
        if PyUnicode_Check(data):
            self.protocol.send_message(TEXT, data, True, compress)
        elif PyObject_CheckBuffer(data):
            self.protocol.send_message(BINARY, data, True, compress)
        else:
            self._send_other(data)
        self.flush()

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
