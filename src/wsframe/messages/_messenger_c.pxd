# C names that _messenger_c shares with other compiled modules.

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from wsframe.codec._message_c cimport Message
from wsframe.codec._framing_c cimport Frame, FrameParser


# Keep the last written frame, if nobody else refers to it, to reuse its memory for a later large frame.
cdef int keep_spare(list output) except -1


cdef class Messenger:
    cdef readonly object role
    cdef public object state
    cdef list _extensions
    cdef public object frame_log
    cdef public bint hold_failure
    cdef public uint64_t bytes_received
    cdef public uint64_t bytes_sent
    cdef public uint64_t frames_received
    cdef public uint64_t frames_sent
    cdef public uint64_t messages_received
    cdef public uint64_t messages_sent
    cdef public uint64_t payload_bytes_received
    cdef public uint64_t payload_bytes_sent

    cdef public object _limits
    cdef public object _answer
    cdef public object _held_pong
    cdef public bint _failed
    cdef public bint _hold_pongs
    cdef public bint _sending_fragments
    cdef public bint _sending_plain
    # What the extensions are encoding, 0 for nothing; and the arguments of messages sent meanwhile.
    cdef unsigned char _encoding
    cdef list _deferred
    # The output, in order: first the list, then the first _tail_size bytes of _tail, in which small frames are
    # collected. _tail is a bytes object that we own, or NULL.
    cdef list _output
    cdef PyObject *_tail
    cdef Py_ssize_t _tail_size
    cdef FrameParser _parser
    cdef bint _masks
    # The incoming fragmented message: whether it is text, the part not handed out yet (None outside such a message),
    # the lengths of the fragments in that part, the number of fragments and bytes so far, and the validator of the
    # text if an extension has encoded it.
    cdef bint _is_text
    # Whether its text so far is known to be UTF-8.
    cdef bint _is_valid
    cdef readonly bytearray _fragments
    cdef list _lengths
    cdef Py_ssize_t _fragment_count
    cdef readonly Py_ssize_t _message_size
    cdef object _utf8
    cdef bytes _refused_text
    # Whether the incoming message, or the next one, is handed out fragment by fragment.
    cdef bint _streaming

    # Return the events that size bytes at data result in. For compiled callers; Python callers use receive_data().
    cdef list receive(self, const unsigned char *data, Py_ssize_t size)

    @cython.final
    cdef list _receive(self, const unsigned char *data, Py_ssize_t size)
    cdef object _receive_fragment(self, Frame frame)
    cdef Message _join(self)
    cdef object _decode(self, Frame frame)

    # Send a message, whole or its first fragment; data is a str or bytes-like.
    cdef int send_message(self, unsigned char opcode, object data, bint fin, object compress) except -1
    # Send a PreparedMessage.
    cdef int push(self, object message) except -1

    # Send the data frame that is next in order.
    @cython.final
    cdef int send_data(self, unsigned char opcode, object data, bint fin, object compress) except -1
    cdef Frame _encode(self, unsigned char first, bytes payload, object compress)
    cdef int _start_afresh(self) except -1
    cdef int _defer(self, unsigned char opcode, object data, bint fin, object compress) except -1
    cdef int _send_deferred(self) except -1

    @cython.final
    cdef int _write(self, unsigned char first, object data) except -1
    cdef int _refuse(self, unsigned char first) except -1

    @cython.final
    cdef int _write_frame(self, unsigned char first, const unsigned char *payload, Py_ssize_t size) except -1

    @cython.final
    cdef int _write_text(self, unsigned char first, object text) except -1

    @cython.final
    cdef uint32_t *_new_key(self, uint32_t *key) except? NULL

    @cython.final
    cdef int _write_uncopied(self, unsigned char first, bytes payload) except -1
    cdef int _append(self, bytes frame) except -1
    cdef bytes _take_joined(self)

    @cython.final
    cdef int _count_sent(self, Py_ssize_t size) noexcept
    cdef int _log_sent(self, unsigned char first, object data) except -1

    # Make room for size bytes at the end of the output.
    @cython.final
    cdef unsigned char *_room(self, Py_ssize_t size) except NULL
    cdef int _end_tail(self) except -1

    # Whether there is something to send.
    cdef bint has_output(self) except -1
    # Take it, as bytes objects in order. The caller keeps other code from sending until these are sent.
    cdef list take_output(self)
