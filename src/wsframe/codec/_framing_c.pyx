"""Frames (RFC 6455 §5) in C.

Twin of ``wsframe/codec/_framing_py.py``; the contract is in ``wsframe.codec``.
"""

cimport cython
from cpython.buffer cimport PyBUF_FULL_RO, PyBUF_SIMPLE, PyBuffer_IsContiguous, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_Check, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.long cimport PyLong_AsLongAndOverflow
from cpython.object cimport PyObject
from cpython.ref cimport Py_CLEAR
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from wsframe.codec cimport _masking_c as masking
from wsframe.codec cimport _utf8_c as utf8
from wsframe.codec._message_c cimport new_message, plain_bytes

from wsframe._checks import check_count, check_role
from wsframe.constants import SENDABLE_CLOSE_CODES, Opcode, Role
from wsframe.exceptions import Fault
from wsframe.limits import MAX_LENGTH

__all__ = ["Frame", "FrameParser", "serialize_frame"]


cdef extern from "Python.h":
    # Pointers, since Cython's own declarations return objects, and a second reference prevents resizing.
    PyObject *new_bytes "PyBytes_FromStringAndSize" (const char *data, Py_ssize_t size) except NULL
    int resize_bytes "_PyBytes_Resize" (PyObject **data, Py_ssize_t size) except -1
    const Py_ssize_t PY_SSIZE_T_MAX


cdef enum:
    # Indices of FAULTS; 0 is no fault.
    RSV1_SET = 1
    RSV2_SET
    RSV3_SET
    UNKNOWN_OPCODE
    CONTROL_FRAME_FRAGMENTED
    CONTINUATION_WITHOUT_START
    DATA_FRAME_INSIDE_MESSAGE
    UNMASKED_FRAME
    MASKED_FRAME
    CONTROL_FRAME_TOO_LONG
    CLOSE_PAYLOAD_TOO_SHORT
    LENGTH_NOT_MINIMAL
    LENGTH_TOP_BIT_SET
    FRAGMENT_TOO_BIG
    MESSAGE_TOO_BIG
    BAD_CLOSE_CODE
    INVALID_UTF8_REASON
    INVALID_UTF8_TEXT

cdef tuple FAULTS = (
    None,
    Fault.RSV1_SET,
    Fault.RSV2_SET,
    Fault.RSV3_SET,
    Fault.UNKNOWN_OPCODE,
    Fault.CONTROL_FRAME_FRAGMENTED,
    Fault.CONTINUATION_WITHOUT_START,
    Fault.DATA_FRAME_INSIDE_MESSAGE,
    Fault.UNMASKED_FRAME,
    Fault.MASKED_FRAME,
    Fault.CONTROL_FRAME_TOO_LONG,
    Fault.CLOSE_PAYLOAD_TOO_SHORT,
    Fault.LENGTH_NOT_MINIMAL,
    Fault.LENGTH_TOP_BIT_SET,
    Fault.FRAGMENT_TOO_BIG,
    Fault.MESSAGE_TOO_BIG,
    Fault.BAD_CLOSE_CODE,
    Fault.INVALID_UTF8_REASON,
    Fault.INVALID_UTF8_TEXT,
)

cdef enum:
    MASK = 0x80

    # Initial allocation for an incomplete payload of at least this size: few such payloads stay smaller.
    FIRST_ROOM = 4096

# The members by value; None where RFC 6455 §5.2 reserves the opcode.
cdef tuple OPCODES = tuple({opcode.value: opcode for opcode in Opcode}.get(value) for value in range(16))

# The fault of each first byte, by whether RSV1 has a meaning: 256 outside a message, then 256 inside one.
cdef unsigned char FIRST_FAULTS[2][512]

# Whether each code below 5000 may appear in a Close frame (RFC 6455 §7.4).
cdef unsigned char CLOSE_CODE_OK[5000]


@cython.freelist(256)
cdef class Frame:
    # The first line is where inspect.signature() finds the arguments of a class in C.
    """Frame(opcode, payload=b'', fin=True, rsv1=False, rsv2=False, rsv3=False)
--

A frame as on the wire, unmasked (RFC 6455 §5.2).

    Attributes:
        opcode: An ``Opcode``.
        payload: The payload, as bytes.
        fin: Whether this is the final fragment of its message.
        rsv1: First reserved bit; permessage-deflate uses it (RFC 7692 §6).
        rsv2: Second reserved bit.
        rsv3: Third reserved bit.

    Raises:
        TypeError: If ``payload`` is not bytes.
        ValueError: If ``opcode`` is not one that RFC 6455 defines.
    """

    def __cinit__(self):
        # Never None, even if __init__ fails or never runs.
        self.payload = b""

    def __init__(
        self,
        opcode: int,
        payload: bytes = b"",
        fin: bool = True,
        rsv1: bool = False,
        rsv2: bool = False,
        rsv3: bool = False,
    ) -> None:
        # A member needs no check; the look-up costs more than everything else here.
        cdef unsigned char first = first_byte(
            opcode if type(opcode) is Opcode else Opcode(opcode), fin, rsv1, rsv2, rsv3
        )
        self.payload = plain_bytes(payload)
        self.first = first

    @property
    def opcode(self):
        return OPCODES[self.first & 0x0F]

    @property
    def fin(self):
        return (self.first & FIN) != 0

    @property
    def rsv1(self):
        return (self.first & RSV1) != 0

    @property
    def rsv2(self):
        return (self.first & RSV2) != 0

    @property
    def rsv3(self):
        return (self.first & RSV3) != 0

    def __eq__(self, other: object) -> Any:
        if type(other) is not type(self):
            return NotImplemented
        return self.first == (<Frame>other).first and self.payload == (<Frame>other).payload

    def __hash__(self) -> int:
        return hash((self.first, self.payload))

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = self.opcode, self.payload, self.fin, self.rsv1, self.rsv2, self.rsv3
        return type(self), arguments, getattr(self, "__dict__", None)

    def __repr__(self) -> str:
        bits = "".join([f", {name}=True" for name in ("rsv1", "rsv2", "rsv3") if getattr(self, name)])
        return f"Frame(Opcode.{self.opcode.name}, {self.payload!r}, fin={self.fin}{bits})"


@cython.final
cdef class FrameParser:
    # The first line is where inspect.signature() finds the arguments of a class in C.
    """FrameParser(role, *, max_message_size=1048576, max_fragment_size=None, rsv1=False)
--

Split a byte stream into frames (RFC 6455 §5.2).

    State        needs            next
    HEADER       2 bytes          LENGTH
    LENGTH       0, 2 or 8 bytes  KEY if the MASK bit is set, else PAYLOAD
    KEY          4 bytes          PAYLOAD
    PAYLOAD      payload_length   HEADER, or CLOSED after a Close frame
    CLOSED       nothing          CLOSED: data after a Close frame is discarded (RFC 6455 §1.4)

    A violation sets ``fault`` and stops the parser for good. Frames completed before it are
    still returned, so the result never depends on how the stream was cut into reads. Each check
    runs as soon as its bytes have arrived: a header is checked before its payload is accepted, and
    text is refused at the first byte that cannot be UTF-8.

    Args:
        role: The role of this endpoint: a server requires masked frames, a client unmasked ones (§5.1).
        max_message_size: Limit on the payload of a message over all its fragments, in bytes; None for no limit.
        max_fragment_size: Limit on the payload of one data frame, in bytes; None for no limit.
        rsv1: Whether an extension gives RSV1 a meaning, on the first frame of a message. The text of a
            message with RSV1 is not checked, since its UTF-8 appears only after the extension has decoded
            it. Each of its frames may exceed each limit by 1/8 plus 64 bytes, since incompressible data
            grows. Its total size over all fragments is not limited, since each fragment may grow. The
            extension enforces the limits on the decoded data.

    Attributes:
        fault: The ``Fault`` that stopped the parser, or None.
        refused_length: Payload length, in bytes, announced by the frame that exceeds a limit; 0 otherwise.
        refused_payload: The part received of a payload that is not UTF-8, unmasked; empty otherwise.
        pending_bytes: Bytes received of an incomplete frame.

    Raises:
        TypeError: If ``role`` is not a ``Role``, or a limit is not an int.
        ValueError: If a limit is negative or above 2**62.
    """

    def __init__(
        self,
        role: Role,
        *,
        max_message_size: int | None = 1048576,
        max_fragment_size: int | None = None,
        rsv1: bool = False,
    ) -> None:
        # Parse nothing while this runs, or after it has failed.
        self._closed = True
        self._first_faults = NULL
        check_role(role)
        check_count("max_message_size: a limit", max_message_size)
        check_count("max_fragment_size: a limit", max_fragment_size)
        self._reset()
        self.fault = None
        self.refused_length = 0
        self.refused_payload = b""
        self._in_message = False
        self._message_size = 0
        self._check_text = False
        self._encoded = False
        self._utf8.missing = 0
        self._mask_bit = MASK if role == Role.SERVER else 0
        self._max_message_size = check_limit(max_message_size)
        # No wrap-around: a limit is at most 2**62.
        self._max_encoded_size = self._max_message_size + self._max_message_size // 8 + 64
        self._max_fragment_size = check_limit(max_fragment_size)
        self._max_encoded_fragment_size = self._max_fragment_size + self._max_fragment_size // 8 + 64
        self._first_faults = FIRST_FAULTS[1 if rsv1 else 0]
        self._closed = False

    def __cinit__(self):
        self.refused_payload = b""
        self._closed = True
        self._first_faults = NULL
        self._partial = NULL

    def __dealloc__(self):
        Py_CLEAR(self._partial)

    @property
    def pending_bytes(self) -> int:
        return self._header_size + self._received if self._in_payload else self._stashed

    @cython.critical_section
    def feed(self, data: Buffer) -> list[Frame]:
        """Parse the next piece of the stream.

        Args:
            data: Any C-contiguous bytes-like object. It is not kept.

        Returns:
            The frames completed by this piece, in order; an empty list once ``fault`` is set or a
            Close frame was returned.
        """
        cdef list frames = []
        cdef Py_buffer view
        if self._closed:
            self.check_initialized()
            return frames
        if PyBytes_Check(data):
            self.parse(<const unsigned char *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), frames)
            return frames
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self.parse(<const unsigned char *>view.buf, view.len, frames)
        finally:
            PyBuffer_Release(&view)
        return frames

    cdef int check_initialized(self) except -1:
        if self._first_faults == NULL:
            raise TypeError("FrameParser.__init__() has not been called, or has failed")
        return 0

    cdef int parse(self, const unsigned char *data, Py_ssize_t size, list frames) except -1:
        """Append to ``frames`` the frames completed by ``size`` bytes at ``data``.

        Nothing in here runs foreign Python code: it allocates only bytes and frames, which the garbage collector does
        not track. So nobody can feed this parser or release ``data`` while it runs.
        """
        try:
            return self._parse(data, size, frames)
        except BaseException:
            # Out of memory: the position in the stream is lost, so the rest must not be parsed as frames.
            self._closed = True
            self._reset()
            raise

    @cython.nonecheck(False)
    cdef int _parse(self, const unsigned char *data, Py_ssize_t size, list frames) except -1:
        cdef Header header
        cdef Py_ssize_t pos = 0
        cdef Py_ssize_t taken
        cdef Py_ssize_t header_size
        cdef bytes payload
        while pos < size and not self._closed:
            if self._in_payload:
                taken = size - pos
                # No wrap-around: the length is at most 2**62, and exceeds the bytes received.
                if self._header.length - <uint64_t>self._received < <uint64_t>taken:
                    taken = <Py_ssize_t>(self._header.length - <uint64_t>self._received)
                self._extend_payload(data + pos, taken)
                pos += taken
                if <uint64_t>self._received == self._header.length and self._in_payload:
                    payload = <bytes>self._partial
                    self._reset()
                    # The pieces of a text frame were validated as they arrived.
                    self._complete(self._header.first, payload, frames, True)
                continue
            if self._stashed:
                taken = min(size - pos, <Py_ssize_t>sizeof(self._stash) - self._stashed)
                memcpy(self._stash + self._stashed, data + pos, <size_t>taken)
                header_size = self._read_header(self._stash, self._stashed + taken, &header)
                if header_size == 0 and not header.fault:
                    self._stashed += taken
                    return 0
                # The stash alone was not a complete header, so this is positive.
                pos += header_size - self._stashed
                self._stashed = 0
            else:
                header_size = self._read_header(data + pos, size - pos, &header)
                if header_size == 0 and not header.fault:
                    # At most 13 bytes: 14 always make a complete header.
                    self._stashed = size - pos
                    memcpy(self._stash, data + pos, <size_t>self._stashed)
                    return 0
                pos += header_size
            if header.fault:
                if header.fault in (FRAGMENT_TOO_BIG, MESSAGE_TOO_BIG):
                    self.refused_length = header.length
                self._stop(header.fault)
                return 0
            if not header.first & CONTROL:
                if header.first & 0x0F:
                    self._in_message = True
                    self._check_text = (header.first & (RSV1 | 0x0F)) == TEXT
                    self._encoded = (header.first & RSV1) != 0
                if not self._encoded:
                    # No wrap-around: the sum passed the limit, which is at most 2**62.
                    self._message_size += header.length
            if header.length > <uint64_t>(size - pos):
                self._in_payload = True
                self._header = header
                self._header_size = header_size
                self._received = 0
                continue
            # At most the bytes in data, so it fits.
            taken = <Py_ssize_t>header.length
            payload = PyBytes_FromStringAndSize(NULL, taken)
            self._copy(<unsigned char *>PyBytes_AS_STRING(payload), data + pos, taken, header.key)
            pos += taken
            self._complete(header.first, payload, frames, False)
        return 0

    @cython.nonecheck(False)
    cdef Py_ssize_t _read_header(self, const unsigned char *data, Py_ssize_t size, Header *header) except -1:
        """Read and check a header; return its size, or 0 if it is incomplete or faulty. Needs at least 1 byte."""
        cdef Py_ssize_t end = 2
        cdef uint64_t length
        cdef bint encoded
        cdef int i
        header.first = data[0]
        header.fault = self._first_faults[(256 if self._in_message else 0) + data[0]]
        if header.fault or size < 2:
            return 0
        length = data[1]
        # RFC 6455 §5.1: a client masks every frame, a server masks none.
        if (length & MASK) != self._mask_bit:
            header.fault = UNMASKED_FRAME if self._mask_bit else MASKED_FRAME
            return 0
        length &= 0x7F
        if data[0] & CONTROL:
            # RFC 6455 §5.5: at most 125 bytes, so the extended forms are refused from this byte alone.
            if length > 125:
                header.fault = CONTROL_FRAME_TOO_LONG
                return 0
            if length == 1 and (data[0] & 0x0F) == CLOSE:
                header.fault = CLOSE_PAYLOAD_TOO_SHORT
                return 0
        else:
            if length == 126:
                end = 4
                if size < end:
                    return 0
                length = <uint64_t>data[2] << 8 | data[3]
                if length < 126:
                    header.fault = LENGTH_NOT_MINIMAL
                    return 0
            elif length == 127:
                end = 10
                if size < end:
                    return 0
                length = 0
                for i in range(2, 10):
                    length = length << 8 | data[i]
                if length >> 63:
                    header.fault = LENGTH_TOP_BIT_SET
                    return 0
                if length < 65536:
                    header.fault = LENGTH_NOT_MINIMAL
                    return 0
            # RFC 6455 §10.4: before any resource is spent on the payload.
            header.length = length
            encoded = (data[0] & RSV1) != 0 if data[0] & 0x0F else self._encoded
            if length > (self._max_encoded_fragment_size if encoded else self._max_fragment_size):
                header.fault = FRAGMENT_TOO_BIG
                return 0
            # No wrap-around: the message's size so far has already passed this limit.
            if length > (self._max_encoded_size if encoded else self._max_message_size) - self._message_size:
                header.fault = MESSAGE_TOO_BIG
                return 0
        header.length = length
        header.key = 0
        if self._mask_bit:
            if size < end + 4:
                return 0
            header.key = masking.mask_load_key(data + end, 0)
            end += 4
        return end

    cdef inline int _copy(
        self, unsigned char *target, const unsigned char *data, Py_ssize_t size, uint32_t key
    ) except -1:
        if self._mask_bit:
            masking.mask_copy(target, data, <size_t>size, key, masking.kernel)
        else:
            memcpy(target, data, <size_t>size)
        return 0

    cdef int _extend_payload(self, const unsigned char *data, Py_ssize_t size) except -1:
        """Add a piece to the incomplete payload, at least 1 byte and at most the bytes missing."""
        # Both are at most the payload length, so at most PY_SSIZE_T_MAX whenever the allocation below succeeds.
        cdef uint64_t needed = <uint64_t>self._received + <uint64_t>size
        cdef uint64_t room
        cdef unsigned char *target
        if self._partial == NULL or needed > <uint64_t>PyBytes_GET_SIZE(<bytes>self._partial):
            # Grow with the bytes received, never with the announced length: a peer pays for the memory that it makes
            # us hold. Double, and end at exactly the length, so that the object becomes the frame's payload.
            room = min(self._header.length, max(<uint64_t>FIRST_ROOM, 2 * needed))
            if room > <uint64_t>PY_SSIZE_T_MAX:
                raise MemoryError
            if self._partial == NULL:
                self._partial = new_bytes(NULL, <Py_ssize_t>room)
            else:
                resize_bytes(&self._partial, <Py_ssize_t>room)
        target = <unsigned char *>PyBytes_AS_STRING(<bytes>self._partial) + self._received
        self._copy(target, data, size, masking.mask_turn_key(self._header.key, <size_t>self._received))
        self._received += size
        # RFC 6455 §8.1: fail as soon as the text cannot be UTF-8.
        if self._check_text and not self._header.first & CONTROL:
            if not utf8.utf8_take(&self._utf8, target, <size_t>size, utf8.kernel):
                self.refused_payload = PyBytes_AS_STRING(<bytes>self._partial)[:self._received]
                self._stop(INVALID_UTF8_TEXT)
        return 0

    @cython.nonecheck(False)
    cdef inline int _complete(self, unsigned char first, bytes payload, list frames, bint validated) except -1:
        """Check a complete frame, and append it to ``frames`` unless it has a fault."""
        cdef Frame frame
        cdef unsigned char fault
        if first & CONTROL:
            if (first & 0x0F) == CLOSE:
                fault = check_close_payload(payload)
                if fault:
                    if fault == INVALID_UTF8_REASON:
                        self.refused_payload = payload[2:]
                    return self._stop(fault)
                self._closed = True
        else:
            if self._check_text:
                if not validated and not utf8.utf8_take(
                    &self._utf8,
                    <const unsigned char *>PyBytes_AS_STRING(payload),
                    <size_t>PyBytes_GET_SIZE(payload),
                    utf8.kernel,
                ) or (first & FIN and self._utf8.missing):
                    self.refused_payload = payload
                    return self._stop(INVALID_UTF8_TEXT)
            if first & FIN:
                self._in_message = False
                self._message_size = 0
                self._check_text = False
            # Neither a continuation nor a fragment; a reserved bit can only be set if an extension is in use.
            if self.whole_messages and first > FIN:
                frames.append(new_message(first == (FIN | TEXT), payload))
                return 0
        frame = Frame.__new__(Frame)
        frame.first = first
        frame.payload = payload
        frames.append(frame)
        return 0

    cdef int _stop(self, unsigned char fault) except -1:
        self.fault = FAULTS[fault]
        self._closed = True
        return self._reset()

    cdef int _reset(self) except -1:
        """Discard the incomplete frame."""
        self._stashed = 0
        self._in_payload = False
        self._received = 0
        Py_CLEAR(self._partial)
        return 0


def serialize_frame(
    opcode: int,
    payload: Buffer,
    *,
    fin: bool = True,
    rsv1: bool = False,
    rsv2: bool = False,
    rsv3: bool = False,
    mask: bytes | bytearray | None = None,
) -> bytes:
    """Serialize one frame (RFC 6455 §5.2), its length in the fewest bytes.

    Nothing else is checked, so that a conformance test can write frames that violate the protocol.

    Args:
        opcode: 0 to 15.
        payload: Any bytes-like object.
        fin: Whether this is the final fragment of its message.
        rsv1: First reserved bit.
        rsv2: Second reserved bit.
        rsv3: Third reserved bit.
        mask: The masking key, 4 bytes, or None for an unmasked frame. A client must use a fresh key from
            ``new_masking_key`` for each frame (RFC 6455 §5.3).

    Returns:
        The header followed by the payload, which is masked if there is a key.

    Raises:
        TypeError: If ``payload`` or ``mask`` is not bytes-like.
        ValueError: If ``opcode`` is out of range, or ``mask`` is not 4 bytes long.
    """
    cdef unsigned char first = first_byte(opcode, fin, rsv1, rsv2, rsv3)
    cdef uint32_t key = 0
    cdef Py_buffer view
    if PyBytes_Check(payload):
        if mask is not None:
            masking.load_mask(mask, &key)
        return write_frame(
            first, <const unsigned char *>PyBytes_AS_STRING(payload), PyBytes_GET_SIZE(payload),
            NULL if mask is None else &key,
        )
    PyObject_GetBuffer(payload, &view, PyBUF_FULL_RO)
    try:
        if not PyBuffer_IsContiguous(&view, b"C"):
            return serialize_frame(
                opcode, memoryview(payload).tobytes(), fin=fin, rsv1=rsv1, rsv2=rsv2, rsv3=rsv3, mask=mask
            )
        if mask is not None:
            masking.load_mask(mask, &key)
        return write_frame(first, <const unsigned char *>view.buf, view.len, NULL if mask is None else &key)
    finally:
        PyBuffer_Release(&view)


cdef bytes write_frame(unsigned char first, const unsigned char *payload, Py_ssize_t size, const uint32_t *key):
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, header_size(size, key != NULL) + size)
    put_frame(<unsigned char *>PyBytes_AS_STRING(frame), first, payload, size, key)
    return frame


cdef Py_ssize_t header_size(Py_ssize_t size, bint masked) except -1:
    if size > PY_SSIZE_T_MAX - 64:
        raise MemoryError
    return (2 if size < 126 else 4 if size < 65536 else 10) + (4 if masked else 0)


cdef unsigned char *put_header(
    unsigned char *target, unsigned char first, Py_ssize_t size, const uint32_t *key
) noexcept:
    cdef unsigned char mask_bit = 0 if key == NULL else MASK
    cdef int i
    target[0] = first
    if size < 126:
        target[1] = mask_bit | <unsigned char>size
        target += 2
    elif size < 65536:
        target[1] = mask_bit | 126
        target[2] = <unsigned char>(size >> 8)
        target[3] = <unsigned char>(size & 0xFF)
        target += 4
    else:
        target[1] = mask_bit | 127
        for i in range(8):
            target[2 + i] = <unsigned char>(<uint64_t>size >> (56 - 8 * i) & 0xFF)
        target += 10
    if key != NULL:
        memcpy(target, key, 4)
        target += 4
    return target


cdef int put_frame(
    unsigned char *target, unsigned char first, const unsigned char *payload, Py_ssize_t size, const uint32_t *key
) except -1:
    target = put_header(target, first, size, key)
    if key == NULL:
        memcpy(target, payload, <size_t>size)
    else:
        masking.mask_copy(target, payload, <size_t>size, key[0], masking.kernel)
    return 0


cdef int first_byte(object opcode, object fin, object rsv1, object rsv2, object rsv3) except -1:
    cdef int overflow = 0
    cdef long value = PyLong_AsLongAndOverflow(opcode, &overflow)
    if overflow or not 0 <= value <= 15:
        raise ValueError("opcode must be between 0 and 15")
    return (
        <int>value
        | (FIN if fin else 0)
        | (RSV1 if rsv1 else 0)
        | (RSV2 if rsv2 else 0)
        | (RSV3 if rsv3 else 0)
    )


cdef uint64_t check_limit(object limit) except? 1:
    if limit is None:
        return MAX_LENGTH
    if not 0 <= limit <= MAX_LENGTH:
        raise ValueError("a limit must be between 0 and 2**62")
    return limit


cdef unsigned char check_close_payload(bytes payload) except? 255:
    """Check the payload of a Close frame, which is empty or has at least 2 bytes (RFC 6455 §5.5.1, §7.4)."""
    cdef const unsigned char *data = <const unsigned char *>PyBytes_AS_STRING(payload)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(payload)
    cdef int code
    cdef utf8.utf8_state state
    if size == 0:
        return 0
    code = data[0] << 8 | data[1]
    if code >= 5000 or not CLOSE_CODE_OK[code]:
        return BAD_CLOSE_CODE
    state.missing = 0
    if not utf8.utf8_take(&state, data + 2, <size_t>(size - 2), utf8.kernel) or state.missing:
        return INVALID_UTF8_REASON
    return 0


cdef unsigned char check_first_byte(int first, bint in_message, bint rsv1) except? 255:
    """Check the first byte of a frame: FIN, RSV1 to RSV3 and opcode (RFC 6455 §5.2, §5.4, §5.5)."""
    cdef int opcode = first & 0x0F
    # RFC 7692 §6: RSV1 belongs on the first frame of a message, never on a continuation or control frame.
    if first & RSV1 and not (rsv1 and (opcode == TEXT or opcode == BINARY)):
        return RSV1_SET
    if first & RSV2:
        return RSV2_SET
    if first & RSV3:
        return RSV3_SET
    if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        return UNKNOWN_OPCODE
    if opcode & CONTROL:
        return 0 if first & FIN else CONTROL_FRAME_FRAGMENTED
    if opcode == CONTINUATION:
        return 0 if in_message else CONTINUATION_WITHOUT_START
    return DATA_FRAME_INSIDE_MESSAGE if in_message else 0


def _fill_tables():
    cdef int i
    for i in range(1024):
        FIRST_FAULTS[i >> 9][i & 511] = check_first_byte(i & 255, i >> 8 & 1, i >> 9)
    for i in range(5000):
        CLOSE_CODE_OK[i] = i in SENDABLE_CLOSE_CODES or i >= 3000


_fill_tables()
