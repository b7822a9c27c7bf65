"""Messages in and out of a connection, in C.

Twin of ``wsframe/messages/_messenger_py.py``; the contract is in ``messenger``.
"""

cimport cython
from cpython.buffer cimport PyBUF_FULL_RO, PyBUF_SIMPLE, PyBuffer_IsContiguous, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_Check,
    PyBytes_CheckExact,
    PyBytes_FromObject,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from cpython.list cimport PyList_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_CLEAR, Py_INCREF
from cpython.unicode cimport PyUnicode_AsUTF8String, PyUnicode_Check
from libc.stdint cimport uint32_t

from wsframe.codec cimport _masking_c as masking
from wsframe.codec._message_c cimport Message, new_message, plain_bytes
from wsframe.codec._framing_c cimport (
    BINARY,
    CONTINUATION,
    CONTROL,
    FIN,
    RSV1,
    TEXT,
    Frame,
    FrameParser,
    header_size,
    put_frame,
    put_header,
)
from wsframe.codec._utf8_c cimport str_utf8_size, str_write_utf8

from wsframe._checks import check_role, check_state
from wsframe.codec._utf8_c import Utf8Validator
from wsframe.constants import Opcode, Role, State
from wsframe.exceptions import Fault, InvalidState, PayloadTooBig, ProtocolError
from wsframe.limits import MAX_LENGTHS

__all__ = ["Messenger"]


cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    #define HAS_GIL 0
    #else
    #define HAS_GIL 1
    #endif
    """
    const bint HAS_GIL


cdef extern from *:
    """
    /* Shorten a bytes object that we own in place: unlike _PyBytes_Resize(), this cannot fail, and frees no memory. */
    static void cut_bytes(PyObject *data, Py_ssize_t size) {
        Py_SET_SIZE((PyVarObject *)data, size);
        PyBytes_AS_STRING(data)[size] = 0;
    }
    """
    void cut_bytes(PyObject *data, Py_ssize_t size)


cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(object)
    # Pointers, since Cython's own declarations return objects, and a second reference prevents resizing.
    PyObject *new_bytes "PyBytes_FromStringAndSize" (const char *data, Py_ssize_t size) except NULL
    int resize_bytes "_PyBytes_Resize" (PyObject **data, Py_ssize_t size) except -1


cdef enum:
    # Bytes from which a payload is sent uncopied, after a separate header, instead of being copied after its header.
    NO_COPY = 4096

    # Largest frame that is collected with others, and initial and maximum size of the buffer for them, in bytes.
    SMALL_FRAME = 1024
    FIRST_TAIL = 1024
    LARGEST_TAIL = 16 * 1024

    # Size, in bytes, of a written frame whose memory is kept for the next one.
    SPARE_MIN = 64 * 1024
    SPARE_MAX = 2 * 1024 * 1024

    # What the extensions are encoding: a message or its last fragment, or another fragment.
    ENCODING_WHOLE = 1
    ENCODING_FRAGMENT

cdef object CONNECTING = State.CONNECTING
cdef object OPEN = State.OPEN
cdef object CLOSED = State.CLOSED
cdef Py_ssize_t MOST_LENGTHS = MAX_LENGTHS

# A written frame whose memory is reused for the next large one, or NULL: allocating a new one may take as long as all
# the rest, since the system clears each of its pages.
cdef PyObject *spare = NULL


# Outside critical sections, where Cython warns about methods of Python objects.


cdef bytes joined(list output):
    return b"".join(output)


cdef int empty(list items) except -1:
    items.clear()
    return 0


cdef int keep_spare(list output) except -1:
    global spare
    cdef Py_ssize_t last = PyList_GET_SIZE(output) - 1
    if HAS_GIL and last >= 0 and SPARE_MIN <= PyBytes_GET_SIZE(<bytes>output[last]) <= SPARE_MAX:
        Py_CLEAR(spare)
        frame = output.pop()
        if Py_REFCNT(frame) == 1:
            Py_INCREF(frame)
            spare = <PyObject *>frame
    return 0


cdef bytes new_or_spare(Py_ssize_t size):
    global spare
    cdef bytes frame
    if spare == NULL or not size < PyBytes_GET_SIZE(<bytes>spare) <= 2 * size:
        return PyBytes_FromStringAndSize(NULL, size)
    # Always to a smaller size: at the same size, it would keep a hash that was computed before.
    resize_bytes(&spare, size)
    frame = <bytes>spare
    Py_CLEAR(spare)
    return frame


cdef class Messenger:
    # The first line is where inspect.signature() finds the arguments of a class in C.
    """Messenger(role, state, limits, extensions)
--

The part of a connection that every message passes through: frames to events, messages to frames.

    Args:
        role: Which end this is.
        state: The initial state.
        limits: Bounds on what the peer may send.
        extensions: The negotiated extensions, in encoding order.

    Raises:
        TypeError: If ``role`` is not a ``Role``, or ``state`` not a ``State``.
    """

    def __cinit__(self):
        # Receive and send nothing until __init__ has run.
        self.state = CLOSED
        self._output = []
        self._lengths = []
        self._deferred = []
        self._refused_text = b""
        self._extensions = []

    def __dealloc__(self):
        Py_CLEAR(self._tail)

    def __init__(self, role: Role, state: State, limits: Limits, extensions: Sequence[Extension]) -> None:
        check_role(role)
        check_state(state)
        self.role = role
        self._masks = role == Role.CLIENT
        self._limits = limits
        self._use(extensions)
        self.state = state

    def _use(self, extensions: Sequence[Extension]) -> None:
        """Get ready for frames, with these negotiated extensions."""
        cdef list agreed = list(extensions)
        self._parser = FrameParser(
            self.role,
            max_message_size=self._limits.max_message_size,
            max_fragment_size=self._limits.max_fragment_size,
            rsv1=any([extension.rsv1 for extension in agreed]),
        )
        self._extensions = agreed

    @property
    def extensions(self) -> list[Extension]:
        """The negotiated extensions, in encoding order."""
        return self._extensions

    @extensions.setter
    def extensions(self, extensions: Sequence[Extension]) -> None:
        self._extensions = list(extensions)

    @extensions.deleter
    def extensions(self) -> None:
        raise TypeError("extensions cannot be deleted")

    # Receiving

    def receive_data(self, data: Buffer) -> list[Event]:
        """Process the next bytes from the peer.

        Args:
            data: Any C-contiguous bytes-like object. It is not kept.

        Returns:
            The resulting events, in order; none after a Close frame or a violation (RFC 6455 §1.4, §7.1.7).

        Raises:
            InvalidState: If the state is CONNECTING.
        """
        cdef Py_buffer view
        if self.state is CONNECTING:
            raise InvalidState("cannot receive frames before the opening handshake is done")
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            return self.receive(<const unsigned char *>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    @cython.critical_section
    cdef list receive(self, const unsigned char *data, Py_ssize_t size):
        if self._parser is None:
            raise TypeError("Messenger.__init__() has not been called, or has failed")
        if self._failed or self.state is CLOSED:
            return []
        try:
            return self._receive(data, size)
        except BaseException:
            # The received data is lost, and further data would make no sense without it.
            self._failed = True
            raise

    @cython.nonecheck(False)
    cdef list _receive(self, const unsigned char *data, Py_ssize_t size):
        # Holds frames and whole messages first, then the events that they result in.
        cdef list events = []
        cdef Py_ssize_t count, i
        cdef Py_ssize_t kept = 0
        cdef Frame frame
        self._parser.whole_messages = (
            PyList_GET_SIZE(self._extensions) == 0 and not self._streaming and self.frame_log is None
        )
        self._parser.parse(data, size, events)
        count = PyList_GET_SIZE(events)
        self.bytes_received += size
        self.frames_received += count
        for i in range(count):
            event = events[i]
            if type(event) is not Message:
                frame = <Frame>event
                if self.frame_log is not None:
                    self.frame_log("<", frame)
                event = self._receive_control(frame) if frame.first & CONTROL else self._receive_fragment(frame)
                if event is None:
                    continue
            if type(event) is Message:
                self.messages_received += (<Message>event).fin
                self.payload_bytes_received += PyBytes_GET_SIZE((<Message>event).payload)
            elif type(event) is Fault:
                events[kept] = self._receive_fault(event, 0, self._refused_text, size)
                del events[kept + 1:]
                return events
            events[kept] = event
            kept += 1
        if kept < count:
            del events[kept:]
        if self._parser.fault is not None:
            events.append(self._receive_fault(
                self._parser.fault, self._parser.refused_length, self._parser.refused_payload, size
            ))
        return events

    cdef object _receive_fragment(self, Frame frame):
        """Process a data frame; return the message that it completes, if any, or a Fault.

        The parser has checked the order and size of the frames, and the text of those that no extension has encoded.
        """
        cdef unsigned char opcode = frame.first & 0x0F
        cdef bint fin = (frame.first & FIN) != 0
        cdef object payload = frame.payload
        cdef Message message
        if PyList_GET_SIZE(self._extensions):
            payload = self._decode(frame)
            if not PyBytes_Check(payload):
                return payload
        if opcode != CONTINUATION:
            if fin:
                self._streaming = False
                return new_message(opcode == TEXT, payload)
            self._is_text = opcode == TEXT
        # One growing buffer, so that memory depends on the message's size, not on its number of fragments.
        if self._fragments is None:
            self._fragments = bytearray()
            self._lengths = []
            self._fragment_count = self._message_size = 0
            self._is_valid = True
        self._fragment_count += 1
        limit = self._limits.max_fragments
        if limit is not None and self._fragment_count > limit:
            return Fault.TOO_MANY_FRAGMENTS
        self._message_size += PyBytes_GET_SIZE(payload)
        if self._streaming:
            if fin:
                self._streaming = False
                self._fragments = None
            message = new_message(self._is_text, payload)
            message.fin = fin
            # A fragment may begin or end within a character.
            message.is_valid = False
            return message
        self._fragments += payload
        if PyList_GET_SIZE(self._lengths) <= MOST_LENGTHS:
            self._lengths.append(PyBytes_GET_SIZE(payload))
        if not fin:
            return None
        message = self._join()
        self._fragments = None
        return message

    cdef Message _join(self):
        """Return the part assembled so far as a Message."""
        cdef Message message = new_message(self._is_text, bytes(self._fragments))
        message.is_valid = self._is_valid
        if PyList_GET_SIZE(self._lengths) <= MOST_LENGTHS:
            message.lengths = tuple(self._lengths)
        self._lengths = []
        return message

    @cython.critical_section
    def stream_message(self) -> Message | None:
        """Hand out the next fragmented message fragment by fragment, as Messages with ``fin``.

        Call this after handling all events.

        Returns:
            The part of the message received already, with ``fin`` False, or None.
        """
        cdef Message message
        self._streaming = True
        if not self._lengths:
            return None
        nothing = bytearray()
        message = self._join()
        message.fin = message.is_valid = False
        self._fragments = nothing
        return message

    def join_message(self, fragments: Sequence[Message]) -> Message | None:
        """Hand out the message whole after all.

        Args:
            fragments: All fragments of it handed out since ``stream_message``.

        Returns:
            The message, if the fragments complete it.
        """
        cdef list parts = list(fragments)
        cdef list lengths
        cdef Message first, message
        for part in parts:
            if type(part) is not Message:
                raise TypeError(f"fragments must be Messages, not {type(part).__name__}")
        if not parts:
            self._streaming = False
            return None
        first = <Message>parts[0]
        if first.fin:
            self._streaming = False
            return first
        payload = b"".join([(<Message>part).payload for part in parts])
        lengths = [PyBytes_GET_SIZE((<Message>part).payload) for part in parts[:MOST_LENGTHS + 1]]
        if (<Message>parts[-1]).fin:
            # The next message may be arriving already.
            message = new_message(first.is_text, payload)
            # Only text straight from the parser is known to be valid: these fragments come from the caller.
            message.is_valid = False
            if PyList_GET_SIZE(lengths) <= MOST_LENGTHS:
                message.lengths = tuple(lengths)
            self._streaming = False
            return message
        joined = bytearray(payload)
        self._streaming = False
        self._fragments = joined
        self._lengths = lengths
        self._is_valid = False
        return None

    cdef object _decode(self, Frame frame):
        """Pass a frame through the extensions, and check the decoded payload; return it, or a Fault."""
        cdef bint fin = (frame.first & FIN) != 0
        cdef object decoded = frame
        cdef bytes payload
        if frame.first & 0x0F:
            self._utf8 = Utf8Validator() if (frame.first & 0x0F) == TEXT else None
        room, too_big = self._limits.max_message_size, Fault.MESSAGE_TOO_BIG
        if room is not None and self._fragments is not None:
            room -= self._message_size
        limit = self._limits.max_fragment_size
        # As in the parser, a frame over both limits counts as a frame that is too big.
        if limit is not None and (room is None or limit <= room):
            room, too_big = limit, Fault.FRAGMENT_TOO_BIG
        try:
            for extension in reversed(self._extensions):
                decoded = extension.decode(decoded, max_size=room)
                if not isinstance(decoded, Frame):
                    raise TypeError(f"an extension must decode to a Frame, not {type(decoded).__name__}")
        except PayloadTooBig:
            return too_big
        except ProtocolError as exc:
            return exc.fault or Fault.INVALID_DEFLATE
        payload = (<Frame>decoded).payload
        # RFC 6455 §8.1, RFC 7692 §6.2: the decoded text must be UTF-8.
        if self._utf8 is not None and not (self._utf8.feed(payload) and (not fin or self._utf8.finish())):
            self._refused_text = payload
            return Fault.INVALID_UTF8_TEXT
        return payload

    # Sending

    def send_text(self, data: str | Buffer, fin: bool = True, compress: bool | None = None) -> None:
        """Send a text message, or its first fragment (RFC 6455 §5.6).

        Args:
            data: The text, or its UTF-8 encoding.
            fin: Whether this is the whole message.
            compress: Whether to compress the message, if compression was negotiated; None lets the extension decide.

        Raises:
            InvalidState: If the connection is not open.
            ProtocolError: If a fragmented message is in progress.
        """
        self.send_message(TEXT, data, fin, compress)

    def send_binary(self, data: Buffer, fin: bool = True, compress: bool | None = None) -> None:
        """Send a binary message, or its first fragment (RFC 6455 §5.6).

        Args:
            data: Any bytes-like object.
            fin: Whether this is the whole message.
            compress: Whether to compress the message, if compression was negotiated; None lets the extension decide.

        Raises:
            InvalidState: If the connection is not open.
            ProtocolError: If a fragmented message is in progress.
        """
        if PyUnicode_Check(data):
            raise TypeError("a bytes-like object is required, not 'str'")
        self.send_message(BINARY, data, fin, compress)

    def send_prepared(self, message: PreparedMessage) -> None:
        """Send a message prepared for many connections.

        Args:
            message: The message.

        Raises:
            InvalidState: If the connection is not open.
            ProtocolError: If a fragmented message is in progress.
        """
        self.push(message)

    cdef int push(self, object message) except -1:
        cdef object frame = None
        cdef bytes payload
        if self.state is not OPEN or self._sending_fragments:
            self._refuse_message()
        if self._encoding:
            return self._defer(0, message, True, None)
        if not PyList_GET_SIZE(self._extensions) and not self._masks:
            frame = message.plain_frame
        if frame is None:
            try:
                self._encoding = ENCODING_WHOLE
                try:
                    frame = message.serialize(self.role, self._extensions)
                finally:
                    self._encoding = 0
            except BaseException:
                self._start_afresh()
                raise
        payload = plain_bytes(message.payload)
        frame = plain_bytes(frame)
        opcode = message.opcode
        self._append(frame)
        self.messages_sent += 1
        self.payload_bytes_sent += PyBytes_GET_SIZE(payload)
        if self.frame_log is not None:
            self._log_sent(FIN | <int>opcode, payload)
        return self._send_deferred()

    def data_to_send(self) -> bytes:
        """Return the bytes to send to the peer now; the caller must send all of them, in order."""
        self.has_output()
        return self._take_joined()

    @cython.critical_section
    cdef bytes _take_joined(self):
        cdef bytes data
        self._end_tail()
        data = <bytes>self._output[0] if PyList_GET_SIZE(self._output) == 1 else joined(self._output)
        empty(self._output)
        self.bytes_sent += PyBytes_GET_SIZE(data)
        return data

    @cython.nonecheck(False)
    cdef bint has_output(self) except -1:
        if self._answer is not None and not (self.hold_failure and self._failed):
            self._send_close_frame(self._answer)
        return self._tail != NULL or PyList_GET_SIZE(self._output) > 0

    @cython.nonecheck(False)
    @cython.critical_section
    cdef list take_output(self):
        # Create the list first: that may run the garbage collector, and other code may then send something.
        cdef list empty = []
        cdef list output
        self._end_tail()
        output, self._output = self._output, empty
        return output

    @property
    @cython.critical_section
    def unsent_bytes(self) -> int:
        """Bytes that ``data_to_send`` would return now."""
        return sum([len(data) for data in self._output]) + self._tail_size

    @cython.critical_section
    def _discard_output(self) -> None:
        """Discard what is to be sent, since the peer is gone."""
        self._tail_size = 0
        Py_CLEAR(self._tail)
        empty(self._output)
        empty(self._deferred)

    def _refuse_message(self) -> NoReturn:
        if self.state is not OPEN:
            raise InvalidState(f"cannot send in state {self.state.name}")
        raise ProtocolError("a fragmented message is in progress")

    @cython.nonecheck(False)
    cdef int send_message(self, unsigned char opcode, object data, bint fin, object compress) except -1:
        if self.state is not OPEN or self._sending_fragments:
            self._refuse_message()
        if self._encoding:
            return self._defer(opcode, data, fin, compress)
        self._sending_plain = compress is False
        return self.send_data(opcode, data, fin, compress)

    def _send_data(self, opcode: Opcode, data: str | Buffer, fin: bool, compress: bool | None) -> None:
        """Send the data frame that is next in order."""
        self.send_data(opcode, data, fin, compress)

    @cython.nonecheck(False)
    cdef int send_data(self, unsigned char opcode, object data, bint fin, object compress) except -1:
        cdef Frame frame
        cdef unsigned char first = (FIN if fin else 0) | opcode
        if PyList_GET_SIZE(self._extensions) == 0 or self._sending_plain:
            self._write(first, data)
            self._sending_fragments = not fin
            self.messages_sent += opcode != CONTINUATION
            if self.frame_log is not None:
                self._log_sent(first, data)
            return 0
        if self._encoding:
            raise ProtocolError("a fragment is being sent")
        if PyUnicode_Check(data):
            data = PyUnicode_AsUTF8String(data)
        elif not PyBytes_CheckExact(data):
            # bytes() also accepts values that are not bytes-like, and would build something else from them.
            data = PyBytes_FromObject(memoryview(data))
        try:
            self._encoding = ENCODING_WHOLE if fin else ENCODING_FRAGMENT
            try:
                frame = self._encode(first, data, compress)
            finally:
                self._encoding = 0
            self._write(frame.first, frame.payload)
        except BaseException:
            # The peer never receives what the extensions have encoded.
            self._start_afresh()
            raise
        self._sending_fragments = not fin
        self.messages_sent += opcode != CONTINUATION
        # Count what the application has sent, not its encoded form.
        self.payload_bytes_sent += PyBytes_GET_SIZE(data) - PyBytes_GET_SIZE(frame.payload)
        if self.frame_log is not None:
            self._log_sent(frame.first, frame.payload)
        return self._send_deferred()

    cdef Frame _encode(self, unsigned char first, bytes payload, object compress):
        """Pass a frame through the extensions for encoding."""
        cdef Frame frame = Frame.__new__(Frame)
        cdef object encoded = frame
        frame.first = first
        frame.payload = payload
        for extension in self._extensions:
            encoded = extension.encode(encoded, compress)
            if not isinstance(encoded, Frame):
                raise TypeError(f"an extension must encode to a Frame, not {type(encoded).__name__}")
        return <Frame>encoded

    cdef int _start_afresh(self) except -1:
        """Reset the extensions: what they have encoded was not sent, so nothing may refer to it."""
        for extension in self._extensions:
            extension.standalone_sent()
        return self._send_deferred()

    cdef int _defer(self, unsigned char opcode, object data, bint fin, object compress) except -1:
        """Send a message after the one that an extension is encoding.

        Signal handlers, finalizers and tracers run meanwhile, and may send too.
        """
        if self._encoding == ENCODING_FRAGMENT:
            raise ProtocolError("a fragmented message is in progress")
        if opcode and not PyUnicode_Check(data):
            data = PyBytes_FromObject(memoryview(data))
        self._deferred.append((opcode, data, fin, compress))
        return 0

    cdef int _send_deferred(self) except -1:
        while PyList_GET_SIZE(self._deferred) and not self._encoding:
            opcode, data, fin, compress = self._deferred.pop(0)
            if self.state is not OPEN:
                self._deferred.clear()
            elif opcode:
                self.send_message(opcode, data, fin, compress)
            else:
                self.push(data)
        return 0

    def _send(self, opcode: Opcode, payload: Buffer, fin: bool = True, rsv1: bool = False) -> None:
        """Send a frame."""
        cdef uint64_t counted = self.payload_bytes_sent
        cdef unsigned char first = (FIN if fin else 0) | (RSV1 if rsv1 else 0) | <int>opcode
        self._write(first, payload)
        self.payload_bytes_sent = counted
        if self.frame_log is not None:
            self._log_sent(first, payload)

    @cython.nonecheck(False)
    cdef int _write(self, unsigned char first, object data) except -1:
        cdef Py_buffer view
        if PyUnicode_Check(data):
            return self._write_text(first, data)
        if PyBytes_Check(data):
            if PyBytes_GET_SIZE(data) >= NO_COPY and not self._masks and PyBytes_CheckExact(data):
                return self._write_uncopied(first, data)
            return self._write_frame(
                first, <const unsigned char *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)
            )
        PyObject_GetBuffer(data, &view, PyBUF_FULL_RO)
        try:
            if not PyBuffer_IsContiguous(&view, b"C"):
                return self._write(first, memoryview(data).tobytes())
            return self._write_frame(first, <const unsigned char *>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    cdef int _refuse(self, unsigned char first) except -1:
        if (first & 0x0F) != CONTINUATION or self.state is not OPEN:
            self._refuse_message()
        raise ProtocolError("there is no fragmented message to continue")

    # From here on, no foreign Python code runs between check_turn() and the end of the frame. Without a GIL, critical
    # sections keep other threads out meanwhile.

    @cython.critical_section
    cdef int _append(self, bytes frame) except -1:
        """Send a whole message whose frame is serialized already."""
        check_turn(self, BINARY)
        self._end_tail()
        self._output.append(frame)
        self.frames_sent += 1
        return 0

    @cython.nonecheck(False)
    @cython.critical_section
    cdef int _write_frame(self, unsigned char first, const unsigned char *payload, Py_ssize_t size) except -1:
        cdef uint32_t key
        cdef uint32_t *mask = self._new_key(&key)
        check_turn(self, first)
        put_frame(self._room(header_size(size, mask != NULL) + size), first, payload, size, mask)
        return self._count_sent(size)

    @cython.nonecheck(False)
    @cython.critical_section
    cdef int _write_uncopied(self, unsigned char first, bytes payload) except -1:
        cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
        cdef bytes header = PyBytes_FromStringAndSize(NULL, header_size(size, False))
        put_header(<unsigned char *>PyBytes_AS_STRING(header), first, size, NULL)
        check_turn(self, first)
        self._end_tail()
        self._output.append(header)
        try:
            self._output.append(payload)
        except MemoryError:
            # Never a header without its payload.
            self._output[-1] = b""
            raise
        return self._count_sent(size)

    @cython.critical_section
    cdef int _write_text(self, unsigned char first, object text) except -1:
        cdef uint32_t key
        cdef uint32_t *mask = self._new_key(&key)
        cdef Py_ssize_t size = str_utf8_size(text)
        cdef unsigned char *payload
        check_turn(self, first)
        payload = put_header(self._room(header_size(size, mask != NULL) + size), first, size, mask)
        str_write_utf8(text, payload, size)
        if mask != NULL:
            masking.mask_copy(payload, payload, <size_t>size, key, masking.kernel)
        return self._count_sent(size)

    @cython.nonecheck(False)
    cdef unsigned char *_room(self, Py_ssize_t size) except NULL:
        cdef Py_ssize_t room = 0
        cdef bytes frame
        if self._tail != NULL:
            room = PyBytes_GET_SIZE(<bytes>self._tail)
            if size <= room - self._tail_size:
                self._tail_size += size
                return <unsigned char *>PyBytes_AS_STRING(<bytes>self._tail) + self._tail_size - size
            self._end_tail()
        # The first frame by itself, since it is often the only one.
        if size > SMALL_FRAME or not PyList_GET_SIZE(self._output):
            frame = new_or_spare(size)
            self._output.append(frame)
            return <unsigned char *>PyBytes_AS_STRING(frame)
        self._tail = new_bytes(NULL, min(max(<Py_ssize_t>FIRST_TAIL, 2 * room), <Py_ssize_t>LARGEST_TAIL))
        self._tail_size = size
        return <unsigned char *>PyBytes_AS_STRING(<bytes>self._tail)

    @cython.nonecheck(False)
    cdef int _end_tail(self) except -1:
        cdef Py_ssize_t room
        if self._tail != NULL:
            room = PyBytes_GET_SIZE(<bytes>self._tail)
            if self._tail_size < room // 2:
                # Too much waste, should the transport have to keep it.
                self._output.append(PyBytes_FromStringAndSize(PyBytes_AS_STRING(<bytes>self._tail), self._tail_size))
            else:
                self._output.append(<bytes>self._tail)
                cut_bytes(self._tail, self._tail_size)
            self._tail_size = 0
            Py_CLEAR(self._tail)
        return 0

    cdef uint32_t *_new_key(self, uint32_t *key) except? NULL:
        """Generate a masking key if this end masks; return ``key`` in that case, and NULL otherwise."""
        if not self._masks:
            return NULL
        # RFC 6455 §5.1, §5.3: a client masks each frame with a fresh key.
        masking.write_masking_key(<unsigned char *>key)
        return key

    cdef int _count_sent(self, Py_ssize_t size) noexcept:
        self.frames_sent += 1
        self.payload_bytes_sent += size
        return 0

    cdef int _log_sent(self, unsigned char first, object data) except -1:
        cdef Frame frame = Frame.__new__(Frame)
        frame.first = first
        frame.payload = PyUnicode_AsUTF8String(data) if PyUnicode_Check(data) else PyBytes_FromObject(data)
        self.frame_log(">", frame)
        return 0


@cython.nonecheck(False)
cdef inline int check_turn(Messenger core, unsigned char first) except -1:
    """Check again whether this frame may be the next one: foreign Python code may have run since the last check."""
    if core.state is OPEN and core._sending_fragments == ((first & 0x0F) == CONTINUATION):
        return 0
    return 0 if first & CONTROL else core._refuse(first)
