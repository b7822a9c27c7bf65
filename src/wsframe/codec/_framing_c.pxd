# C names that _framing_c shares with other compiled modules.

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from wsframe.codec._utf8_c cimport utf8_state


# Fields of a frame's first byte (RFC 6455 §5.2).
cdef enum:
    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA

    FIN = 0x80
    RSV1 = 0x40
    RSV2 = 0x20
    RSV3 = 0x10
    # The opcode bit that distinguishes control frames from data frames.
    CONTROL = 0x08


cdef struct Header:
    uint64_t length
    uint32_t key
    # Index of a Fault in FAULTS, 0 for none.
    unsigned char fault
    # The frame's first byte: FIN, RSV1 to RSV3 and the opcode.
    unsigned char first


cdef class Frame:
    cdef readonly bytes payload
    # As on the wire.
    cdef unsigned char first


cdef class FrameParser:
    cdef readonly object fault
    cdef readonly uint64_t refused_length
    cdef readonly bytes refused_payload
    # Whether single-frame messages are returned as Messages: for compiled callers that use no extension.
    cdef bint whole_messages
    cdef uint64_t _max_message_size
    cdef uint64_t _max_encoded_size
    cdef uint64_t _max_fragment_size
    cdef uint64_t _max_encoded_fragment_size
    # The faults of first bytes: 256 outside a message, then 256 inside one; NULL until __init__ has run.
    cdef const unsigned char *_first_faults
    cdef unsigned char _mask_bit
    cdef bint _closed

    # The message in progress: whether there is one, its size so far, whether its text is checked, and whether an
    # extension has encoded it.
    cdef bint _in_message
    cdef bint _check_text
    cdef bint _encoded
    cdef uint64_t _message_size
    cdef utf8_state _utf8

    # The bytes received of an incomplete header.
    cdef unsigned char _stash[14]
    cdef Py_ssize_t _stashed

    # The frame whose payload is incomplete. _partial is a bytes object that we own, with room for at least _received
    # bytes, or NULL before the first byte; nobody else sees it until it is full.
    cdef bint _in_payload
    cdef Header _header
    cdef Py_ssize_t _header_size
    cdef Py_ssize_t _received
    cdef PyObject *_partial

    # Raise TypeError unless __init__ has run.
    cdef int check_initialized(self) except -1
    # Append to frames what size bytes at data complete: Frames, unless whole_messages is set. For compiled callers;
    # Python callers use feed().
    cdef int parse(self, const unsigned char *data, Py_ssize_t size, list frames) except -1
    cdef int _parse(self, const unsigned char *data, Py_ssize_t size, list frames) except -1
    cdef Py_ssize_t _read_header(self, const unsigned char *data, Py_ssize_t size, Header *header) except -1
    cdef int _copy(self, unsigned char *target, const unsigned char *data, Py_ssize_t size, uint32_t key) except -1
    cdef int _extend_payload(self, const unsigned char *data, Py_ssize_t size) except -1
    cdef int _complete(self, unsigned char first, bytes payload, list frames, bint validated) except -1
    cdef int _stop(self, unsigned char fault) except -1
    cdef int _reset(self) except -1


# Serialize one frame; key points to a loaded masking key, or is NULL for an unmasked frame.
cdef bytes write_frame(unsigned char first, const unsigned char *payload, Py_ssize_t size, const uint32_t *key)

# The same in two steps, into the caller's memory: header_size() returns the size of the header for a payload of size
# bytes; put_frame() writes the frame to target, which must have room for it.
cdef Py_ssize_t header_size(Py_ssize_t size, bint masked) except -1
cdef int put_frame(
    unsigned char *target, unsigned char first, const unsigned char *payload, Py_ssize_t size, const uint32_t *key
) except -1

# Write only the header, and return where the payload goes.
cdef unsigned char *put_header(
    unsigned char *target, unsigned char first, Py_ssize_t size, const uint32_t *key
) noexcept
