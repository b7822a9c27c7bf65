# C names that _utf8_c shares with other compiled modules.

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t


cdef extern from "kernels/utf8.h" nogil:
    ctypedef struct utf8_state:
        uint8_t missing
    ctypedef bint (*utf8_kernel)(const unsigned char *text, size_t length) noexcept
    bint utf8_take(utf8_state *state, const unsigned char *text, size_t length, utf8_kernel kernel) noexcept


# The kernel in use, in every module that validates.
cdef utf8_kernel kernel


cdef class Utf8Validator:
    cdef readonly bint valid
    cdef utf8_state _state


# Decode valid UTF-8 to a str. Invalid input gives nonsense, but is safe.
cdef str utf8_to_str(const unsigned char *text, Py_ssize_t size)

# The following functions take a str or an instance of a subclass, and do not check the type.

# Return the size of its UTF-8 encoding in bytes; raise what text.encode() raises.
cdef Py_ssize_t str_utf8_size(object text) except -1

# Write its UTF-8 encoding to target, whose room must be large enough, and return the size; raise what text.encode()
# raises. The contents of any remaining room may change.
cdef Py_ssize_t str_write_utf8(object text, unsigned char *target, Py_ssize_t room) except -1
