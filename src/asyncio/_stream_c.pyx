"""A connection's data path in C. Rank 5. Twin of ``wsframe/asyncio/_stream_py.py``; the contract is in ``stream``."""

cimport cython
from cpython.buffer cimport PyObject_CheckBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_SetFromErrno
from cpython.list cimport PyList_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.unicode cimport PyUnicode_Check
from libc.stdint cimport uint64_t

from wsframe._core_c cimport Core, keep_spare
from wsframe._events_c cimport Message, message_data

import asyncio
import weakref
from asyncio import current_task
from types import AsyncGeneratorType

from wsframe.constants import State
from wsframe.exceptions import ConcurrencyError, ConnectionClosedOK
from wsframe.limits import JOINED_BYTES, PARSE_SIZE, READ_SIZE, SENDS_IN_A_ROW

__all__ = ["CallbackStream", "QueueStream", "Stream", "Waiter"]


cdef extern from "Python.h":
    ctypedef int PySendResult
    const PySendResult PYGEN_ERROR
    const PySendResult PYGEN_NEXT
    PySendResult PyIter_Send(object iterator, object value, PyObject **result)
    object PyContext_CopyCurrent()
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1
    unsigned long PyThread_get_thread_ident()
    int PyErr_WarnFormat(object category, Py_ssize_t stack_level, const char *format, ...) except -1


cdef extern from *:
    """
    #ifdef _WIN32
    typedef struct { char *iov_base; size_t iov_len; } piece;
    static Py_ssize_t write_now(int fd, piece *pieces, int count) {
        (void)fd, (void)pieces, (void)count;
        return -1;
    }
    static Py_ssize_t read_now(int fd, void *buffer, Py_ssize_t size) {
        (void)fd, (void)buffer, (void)size;
        return 0;
    }
    static int would_block(void) { return 0; }
    #else
    #include <errno.h>
    #include <sys/socket.h>
    #include <sys/uio.h>
    #ifndef MSG_NOSIGNAL /* CPython ignores SIGPIPE anyway */
    #define MSG_NOSIGNAL 0
    #endif
    typedef struct iovec piece;
    static Py_ssize_t write_now(int fd, piece *pieces, int count) {
        struct msghdr message = {0};
        if (count == 1)
            return (Py_ssize_t)send(fd, pieces->iov_base, pieces->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
        message.msg_iov = pieces;
        message.msg_iovlen = count;
        return (Py_ssize_t)sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    static Py_ssize_t read_now(int fd, void *buffer, Py_ssize_t size) {
        return (Py_ssize_t)recv(fd, buffer, (size_t)size, MSG_DONTWAIT);
    }
    static int would_block(void) { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }
    #endif

    /* Sockets watched together, each under a number. */
    #ifdef __linux__
    #include <sys/epoll.h>
    #include <unistd.h>
    typedef struct epoll_event ready;
    static int watch_open(void) { return epoll_create1(EPOLL_CLOEXEC); }
    static void watch_close(int watch) { close(watch); }
    static int watch_add(int watch, int fd, uint64_t number) {
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = number};
        return epoll_ctl(watch, EPOLL_CTL_ADD, fd, &event);
    }
    static void watch_remove(int watch, int fd) {
        struct epoll_event event = {0};
        epoll_ctl(watch, EPOLL_CTL_DEL, fd, &event);
    }
    static int watch_ready(int watch, ready *all, int size) { return epoll_wait(watch, all, size, 0); }
    static uint64_t watch_number(const ready *one) { return one->data.u64; }
    #else
    typedef struct { char none; } ready;
    static int watch_open(void) { return -1; }
    static void watch_close(int watch) { (void)watch; }
    static int watch_add(int watch, int fd, uint64_t number) { return (void)watch, (void)fd, (void)number, -1; }
    static void watch_remove(int watch, int fd) { (void)watch, (void)fd; }
    static int watch_ready(int watch, ready *all, int size) { return (void)watch, (void)all, (void)size, 0; }
    static uint64_t watch_number(const ready *one) { return (void)one, 0; }
    #endif

    /* What an awaitable does with each step; Cython's own __next__ adds a traceback to each StopIteration. */
    #define set_iternext(type, function) (((PyTypeObject *)(type))->tp_iternext = (function))

    /* Have classes in Python inherit what the type does for __anext__; they look a method up by its name each time,
     * unless it is found as a slot's wrapper. Any other type's tells what that slot is. */
    static int wrap_anext(PyObject *type, PyObject *wrapper) {
    #ifndef PYPY_VERSION
        PyTypeObject *const me = (PyTypeObject *)type;
        PyObject *const own =
            PyDescr_NewWrapper(me, ((PyWrapperDescrObject *)wrapper)->d_base, (void *)me->tp_as_async->am_anext);
        if (own == NULL || PyDict_SetItemString(me->tp_dict, "__anext__", own) < 0) {
            Py_XDECREF(own);
            return -1;
        }
        Py_DECREF(own);
        PyType_Modified(me);
    #endif
        return 0;
    }
    """
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
    ctypedef PyObject *(*iternextfunc)(PyObject *)
    void set_iternext(object type, iternextfunc iternext)
    int wrap_anext(object type, object wrapper) except -1


cdef enum:
    TEXT = 0x1
    BINARY = 0x2

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

    # Kinds of operations.
    RECEIVE = 0
    ITERATE
    TAKE
    SEND

    # Phases of an operation.
    NEW = 0
    WAITING
    # A coroutine has taken over.
    DELEGATED
    DONE

    # What a step comes to: something to wait for, or the result.
    WAIT = 0
    RESULT

cdef Py_ssize_t JOINED = JOINED_BYTES
cdef Py_ssize_t AT_ONCE = PARSE_SIZE
cdef int IN_A_ROW = SENDS_IN_A_ROW
cdef object CONNECTING = State.CONNECTING
cdef object OPEN = State.OPEN
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

    cdef object buffer
    cdef list joining
    # How many the event loop watches.
    cdef int readers
    # A weak reference to the Watch, since that knows the connections, and they know the event loop.
    cdef object watch

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

    cdef object __weakref__
    cdef int fd
    # The connections by number, and the numbers that are free.
    cdef list streams
    cdef list free

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

    cdef readonly Core protocol
    cdef object _transport
    cdef readonly object loop
    # Whether anything came since keepalive has looked.
    cdef public bint alive
    cdef public bint reading_paused
    cdef readonly object _write_high
    cdef public bint _write_paused
    cdef readonly bint _corked
    # Whether the end of the TCP connection has begun.
    cdef public bint _ending
    # Runs while an extension holds memory that an idle connection does not need.
    cdef public bint _has_idle_timeout
    cdef public object _idle_timer
    # Bytes sent in this turn of the event loop behind what was written at once; -1 at its beginning.
    cdef Py_ssize_t _joined_bytes
    cdef unsigned long _thread
    cdef Share _share
    # A memoryview, its bytes and their number.
    cdef object _buffer
    cdef unsigned char *_bytes
    cdef Py_ssize_t _size
    # The socket, if it may be written to, and whether the transport may still have bytes to write before.
    cdef int _fd
    # Whether we read from the socket ourselves, and whether the event loop watches it for us. Or else what watches it
    # now, and under which number; and the context for callbacks, in which they would run if the event loop called them.
    cdef bint _reads
    cdef bint _has_reader
    cdef Watch _watch
    cdef Py_ssize_t _number
    cdef object _context
    cdef bint _transport_writes
    # Whether the transport was closing when it was last looked at.
    cdef bint _transport_closing

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

    cdef inline int check_thread(self) except -1:
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


cdef class QueueStream(Stream):
    # The first line is where inspect.signature() finds the arguments of a class in C.
    """QueueStream(protocol, write_high, queue_high, queue_low)
--

A stream that queues messages for ``recv()``.

    Args:
        protocol: The connection without I/O.
        write_high: Bytes in the write buffer above which sending pauses.
        queue_high: Messages that wait before reading pauses; None for no limit.
        queue_low: Messages at which it resumes; None for at once.
    """

    # The message that waits first, and those behind it from an index on; None and empty if there are none.
    cdef Message _first
    cdef list _others
    cdef Py_ssize_t _next
    # -1 for no limit.
    cdef Py_ssize_t _queue_high
    cdef Py_ssize_t _queue_low
    # Who waits in recv().
    cdef Waiter _receiver
    # Whether somebody is in recv_streaming(), or has left it too early.
    cdef public bint _streaming
    # Whether a message was handed out that the application may still be answering.
    cdef bint _answering
    # Set while a fragmented message is being sent, which no other message may interrupt.
    cdef public object _fragments_sent
    cdef public int _sent_in_a_row

    def __init__(
        self, protocol: Connection, write_high: int, queue_high: int | None, queue_low: int | None
    ) -> None:
        Stream.__init__(self, protocol, write_high)
        self._queue_high = -1 if queue_high is None else queue_high
        self._queue_low = -1 if queue_low is None else queue_low

    def __cinit__(self, *args, **kwargs):
        self._others = []

    # Receiving

    @property
    def queue_depth(self) -> int:
        """Messages that wait to be received."""
        return self.depth()

    cdef inline Py_ssize_t depth(self) noexcept:
        return (self._first is not None) + PyList_GET_SIZE(self._others) - self._next

    cdef inline bint is_full(self) noexcept:
        return self._queue_high >= 0 and self.depth() >= self._queue_high

    cdef Message pop(self):
        """Take the next message; there is one."""
        cdef Message message = self._first
        if message is not None:
            self._first = None
            return message
        message = <Message>self._others[self._next]
        self._others[self._next] = None
        self._next += 1
        if self._next == PyList_GET_SIZE(self._others):
            self._others.clear()
            self._next = 0
        return message

    def __anext__(self) -> Awaitable[str | bytes]:
        cdef Operation operation = Operation.__new__(Operation)
        operation.stream = self
        operation.kind = ITERATE
        return operation

    def recv(self, decode: bool | None = None) -> str | bytes:
        """Receive the next message, whole.

        It may be cancelled at any time; the message is then there for the next call.

        Args:
            decode: True for a str and False for bytes, whatever the message is; by default, text comes as
                str and binary as bytes.

        Raises:
            ConnectionClosed: When the connection is closed and all its messages have been received, or fails
                because ``decode`` is True and a binary message is not UTF-8.
            ConcurrencyError: If another task is receiving.
            RuntimeError: If the caller is in another thread than the event loop.
        """
        cdef Operation operation = Operation.__new__(Operation)
        operation.stream = self
        operation.kind = RECEIVE
        operation.option = decode
        return operation

    def _check_can_receive(self, method: str) -> None:
        """Refuse to receive in another thread, and while somebody else does."""
        self.check_thread()
        if self._receiver is not None or self._streaming:
            raise ConcurrencyError(
                f"cannot call {method} while another coroutine is already running recv or recv_streaming"
            )

    def _next_message(self) -> Awaitable[Message]:
        """Wait for a message, or for a fragment of the one that is being streamed, and take it from the queue."""
        cdef Operation operation = Operation.__new__(Operation)
        operation.stream = self
        operation.kind = TAKE
        return operation

    def _give_back(self) -> None:
        """Have a message handed out whole after all of which fragments are in the queue."""
        cdef list fragments = []
        while self.depth() and not (fragments and (<Message>fragments[-1]).fin):
            fragments.append(self.pop())
        message = self.protocol.join_message(fragments)
        if message is not None:
            # What was taken from the queue included its first.
            self._first = message

    cdef int handle(self, list events) except -1:
        for event in events:
            if type(event) is not Message:
                self._on_event(event)
            # Reading goes on while the connection is closing, since the peer's Close frame is still to come.
            # The application has said that it wants no more, so what exceeds the queue is not kept.
            elif self.protocol.state is OPEN or not self.is_full():
                if self._first is None and not PyList_GET_SIZE(self._others):
                    self._first = <Message>event
                else:
                    self._others.append(event)
        if self.depth():
            if self._receiver is not None:
                self._receiver.resume()
            # Nor does reading pause while the connection is closing: see above.
            if self._queue_high >= 0 and self.depth() > self._queue_high and self.protocol.state is OPEN:
                self.pause_reading()
        return 0

    def _has_answers_to_come(self) -> bool:
        return self.depth() > 0 or self._answering

    def _wake_receiver(self) -> None:
        """Have recv() look again, in the next turn of the event loop."""
        if self._receiver is not None:
            self._receiver.resume_soon()

    # Sending

    def send(
        self,
        message: str | Buffer | PreparedMessage | Iterable[str | Buffer] | AsyncIterable[str | Buffer],
        text: bool | None = None,
        *,
        compress: bool | None = None,
    ) -> Coroutine[Any, Any, None]:
        """Send a message.

        The call waits while the write buffer is above its limit. Cancelling it never leaves half a frame on
        the wire; cancelling it between two fragments closes the connection.

        Args:
            message: A str for a text message, a bytes-like object for a binary one, a prepared message, or
                an iterable or asynchronous iterable of str or bytes-like objects, which become the
                fragments of one message.
            text: True to send bytes, which must be UTF-8, as text, and False to send a str as binary.
            compress: Whether to compress the message if that was agreed on; None leaves it to the
                extension, which does not compress messages below its threshold.

        Raises:
            ConnectionClosed: When the connection is closed.
            TypeError: If ``message`` is none of these, a mapping, or a mix of str and bytes.
            RuntimeError: If the caller is in another thread than the event loop.
        """
        cdef Operation operation = Operation.__new__(Operation)
        operation.stream = self
        operation.kind = SEND
        operation.message = message
        operation.option = text
        operation.compress = compress
        return operation

    def push(self, message: PreparedMessage) -> None:
        """Send a message at once, whatever waits in the write buffer; ``broadcast`` uses it.

        Raises:
            ConcurrencyError: If a fragmented message is being sent.
            InvalidState: If the connection is not open.
            BufferError: If too much is waiting to be sent, and the policy is to wait.
        """
        if self._fragments_sent is not None:
            raise ConcurrencyError("sending a fragmented message")
        if self._write_paused and not self._admit():
            return
        self.protocol.push(message)
        self.flush_joined(PyBytes_GET_SIZE(<bytes>message.payload))


@cython.final
@cython.freelist(64)
cdef class Operation:
    """What ``recv`` and ``send`` return: it runs when it is awaited, once, like the coroutine of an ``async def``."""

    cdef QueueStream stream
    cdef unsigned char kind
    cdef unsigned char phase
    # What send() was given; recv() has its decode in the first option.
    cdef object message
    cdef object option
    cdef object compress
    # What recv() waits for.
    cdef Waiter waiter
    # The coroutine that has taken over, and what a step has come to.
    cdef object coroutine
    cdef object value

    def __dealloc__(self):
        if self.phase == NEW and self.stream is not None:
            PyErr_WarnFormat(RuntimeWarning, 1, b"coroutine '%s' was never awaited", self.name())

    cdef const char *name(self) noexcept:
        if self.kind == SEND:
            return b"Connection.send"
        return b"Connection.__anext__" if self.kind == ITERATE else b"Connection.recv"

    @property
    def __name__(self) -> str:
        return self.name().decode()

    def __await__(self):
        if self.phase != NEW:
            raise RuntimeError("cannot reuse already awaited coroutine")
        return self

    def __iter__(self):
        # For those who write "yield from" and what __await__() returns.
        return self

    def __next__(self):
        return self.send(None)

    def send(self, value):
        cdef int outcome = self.step(value)
        value, self.value = self.value, None
        if outcome == RESULT:
            raise StopIteration(value)
        return value

    def throw(self, kind, value=None, traceback=None):
        if self.phase == DELEGATED:
            return self.coroutine.throw(kind if value is None else value)
        self.abandon()
        if isinstance(kind, type):
            value = kind() if value is None else value if isinstance(value, BaseException) else kind(value)
        else:
            value = kind
        if traceback is not None:
            value = value.with_traceback(traceback)
        raise value

    def close(self):
        if self.phase == DELEGATED:
            self.coroutine.close()
        self.abandon()

    cdef int step(self, object value) except -1:
        """Go on until there is something to wait for, or a result."""
        cdef PySendResult sent
        cdef PyObject *result = NULL
        if self.phase == DONE or self.stream is None:
            raise RuntimeError("cannot reuse already awaited coroutine")
        if self.phase != DELEGATED:
            return self.send_message() if self.kind == SEND else self.receive()
        try:
            sent = PyIter_Send(self.coroutine, value, &result)
            if sent == PYGEN_ERROR:
                take_result(result)
        except BaseException:
            self.abandon()
            raise
        self.value = take_result(result)
        if sent == PYGEN_NEXT:
            return WAIT
        self.abandon()
        return RESULT

    cdef int delegate(self, object coroutine) except -1:
        """Have a coroutine do the rest."""
        self.phase = DELEGATED
        self.coroutine = coroutine
        return self.step(None)

    cdef int abandon(self) except -1:
        """Be done."""
        if self.waiter is not None:
            self.stream._receiver = self.waiter = None
        self.phase = DONE
        self.coroutine = None
        return 0

    cdef int receive(self) except -1:
        cdef QueueStream stream = self.stream
        cdef Waiter waiter = self.waiter
        # Until it waits, and if anything goes wrong.
        self.phase = DONE
        if waiter is not None:
            stream._receiver = self.waiter = None
            waiter.check()
        else:
            stream.check_thread()
            if (stream._receiver is not None or stream._streaming) and self.kind != TAKE:
                stream._check_can_receive("recv")
        if stream.depth():
            return self.take(stream.pop())
        if stream.protocol.state is CLOSED:
            exc = stream.close_exc
            if self.kind == ITERATE and isinstance(exc, ConnectionClosedOK):
                raise StopAsyncIteration
            raise exc
        # The application has come back for more: what there was to answer is answered.
        stream._answering = False
        if stream.protocol.hold_failure:
            stream._release_failure()
        stream._sent_in_a_row = 0
        waiter = Waiter.__new__(Waiter)
        waiter.loop = stream.loop
        waiter._asyncio_future_blocking = True
        stream._receiver = self.waiter = self.value = waiter
        self.phase = WAITING
        return WAIT

    cdef int take(self, Message message) except -1:
        cdef QueueStream stream = self.stream
        stream._answering = True
        if stream.reading_paused and (stream._queue_low < 0 or stream.depth() <= stream._queue_low):
            stream.resume_reading()
        if self.kind == TAKE:
            self.value = message
        elif self.option is None:
            self.value = message_data(message)
        elif not self.option:
            self.value = message.payload
        else:
            try:
                self.value = message.payload.decode()
            except UnicodeDecodeError as exc:
                return self.delegate(stream._refuse_text(exc))
        return RESULT

    cdef int send_message(self) except -1:
        cdef QueueStream stream = self.stream
        cdef object message = self.message
        cdef bint is_text = type(message) is str
        self.phase = DONE
        self.message = None
        stream.check_thread()
        if (
            (is_text or type(message) is bytes)
            and stream.protocol.state is OPEN
            and stream._fragments_sent is None
            and not stream._write_paused
        ):
            stream.protocol.send_message(
                TEXT if (is_text if self.option is None else self.option) else BINARY, message, True, self.compress
            )
            stream.flush_joined(len(message))
            stream._sent_in_a_row += 1
            if stream._sent_in_a_row >= IN_A_ROW or stream._write_paused or stream._transport_closing:
                return self.delegate(stream._drain())
            return RESULT
        return self.delegate(stream._send(message, self.option, self.compress))


cdef extern from *:
    """
    /* End an iteration with a value. Whoever has awaited takes it out of the exception at once and drops that, so one
     * serves again and again, unless somebody else has kept it. It keeps small values alive until the next one. */
    static void stop_iteration(PyObject *value) {
    #if PY_VERSION_HEX >= 0x030C0000 && !defined(Py_GIL_DISABLED)
        static PyStopIterationObject *stop;
        const int is_small =
            PyBytes_CheckExact(value) ? PyBytes_GET_SIZE(value) < 4096
                                      : PyUnicode_CheckExact(value) && PyUnicode_GET_LENGTH(value) < 1024;
        if (is_small) {
            if (stop == NULL || Py_REFCNT(stop) != 1) {
                Py_XDECREF(stop);
                stop = (PyStopIterationObject *)PyObject_CallNoArgs(PyExc_StopIteration);
                if (stop == NULL)
                    return;
            }
            Py_INCREF(value);
            Py_XSETREF(stop->value, value);
            Py_INCREF(stop);
            PyErr_SetRaisedException((PyObject *)stop);
            return;
        }
    #endif
        PyErr_SetObject(PyExc_StopIteration, value);
    }

    /* The reference that PyIter_Send has given, or NULL with an exception set. */
    #define take_result(result) (result)
    """
    object take_result(PyObject *result)
    void stop_iteration(object value)


cdef PyObject *operation_iternext(PyObject *me) except? NULL:
    cdef Operation self = <Operation>me
    cdef int outcome = self.step(None)
    cdef object value = self.value
    self.value = None
    if outcome == WAIT:
        Py_INCREF(value)
        return <PyObject *>value
    # Without an exception, the result is None; the others are no tuples, so they are taken for the only argument.
    if value is not None:
        stop_iteration(value)
    return NULL


@cython.final
@cython.freelist(64)
cdef class Waiter:
    # The first line is where inspect.signature() finds the arguments of a class in C.
    """Waiter(loop)
--

What one task waits for; compatible with ``asyncio.Future`` as far as tasks need it.

    ``wake`` resumes the task right there, in its own context, if no task is running. Otherwise, and if that
    context is the one that is running already, the task is resumed by the event loop in its next turn.

    Args:
        loop: The event loop of the task.
    """

    cdef object loop
    cdef object callback
    cdef object context
    cdef bint done
    cdef bint cancelled
    cdef object cancel_message
    # Tasks look for this attribute on what they are given to wait for.
    cdef public bint _asyncio_future_blocking

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def __await__(self):
        if not self.done:
            self._asyncio_future_blocking = True
            yield self
        self.check()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop; a task checks that it is its own."""
        return self.loop

    def add_done_callback(self, callback: Callable[[Waiter], object], *, context: contextvars.Context) -> None:
        """Take the one callback that resumes the task."""
        self.callback = callback
        self.context = context

    def result(self) -> None:
        """Return if the task was woken.

        Raises:
            CancelledError: If it was cancelled.
        """
        self.check()

    cdef int check(self) except -1:
        if self.cancelled:
            raise asyncio.CancelledError(*([] if self.cancel_message is None else [self.cancel_message]))
        return 0

    def cancel(self, msg: Any = None) -> bool:
        """Have the task resumed with CancelledError; return whether it was still waiting."""
        if self.done:
            return False
        self.cancelled = True
        self.cancel_message = msg
        self.resume_soon()
        return True

    def wake_soon(self) -> None:
        """Resume the task in the next turn of the event loop."""
        self.resume_soon()

    def wake(self) -> None:
        """Resume the task now if that can be, in the next turn of the event loop if not."""
        self.resume()

    cdef int resume_soon(self) except -1:
        if not self.done:
            self.done = True
            if self.callback is not None:
                self.loop.call_soon(self.callback, self, context=self.context)
        return 0

    cdef int resume(self) except -1:
        cdef object callback = self.callback
        cdef object context = self.context
        if self.done or callback is None or current_task(self.loop) is not None:
            return self.resume_soon()
        try:
            PyContext_Enter(context)
        except RuntimeError:
            # A context cannot be entered twice: we are running in the task's own.
            return self.resume_soon()
        self.done = True
        try:
            callback(self)
        finally:
            PyContext_Exit(context)
        return 0


set_iternext(Operation, <iternextfunc>operation_iternext)
wrap_anext(QueueStream, AsyncGeneratorType.__dict__["__anext__"])
