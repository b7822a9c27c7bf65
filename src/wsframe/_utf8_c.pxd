# C names that _utf8_c shares with other compiled modules.

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t


cdef extern from "utf8.h" nogil:
    ctypedef struct utf8_state:
        uint8_t missing
    ctypedef bint (*utf8_kernel)(const unsigned char *text, size_t length) noexcept
    bint utf8_take(utf8_state *state, const unsigned char *text, size_t length, utf8_kernel kernel) noexcept


# The kernel in use, in every module that validates.
cdef utf8_kernel kernel


cdef class Utf8Validator:
    cdef readonly bint valid
    cdef utf8_state _state


# Make the str of text that is valid UTF-8. Any other gives nonsense, but is safe.
cdef str utf8_to_str(const unsigned char *text, Py_ssize_t size)

# The following take a str or an instance of a subclass, and do not check that it is one.

# How many bytes it has as UTF-8; raises what text.encode() raises.
cdef Py_ssize_t str_utf8_size(object text) except -1

# Write these bytes to target, where there is room for them or more, and return how many they are; raises what
# text.encode() raises. The contents of what room there is more may change.
cdef Py_ssize_t str_write_utf8(object text, unsigned char *target, Py_ssize_t room) except -1
