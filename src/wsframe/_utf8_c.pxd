# C names that _utf8_c shares with other compiled modules.

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t


cdef extern from "utf8.h" nogil:
    ctypedef struct utf8_state:
        uint8_t missing
    ctypedef size_t (*utf8_kernel)(const unsigned char *text, size_t length) noexcept
    ctypedef struct utf8_kernel_entry:
        const char *name
        utf8_kernel run
    const utf8_kernel_entry *utf8_kernel_at(size_t index) noexcept
    bint utf8_take(utf8_state *state, const unsigned char *text, size_t length, utf8_kernel kernel) noexcept


# The kernel in use, in every module that validates.
cdef utf8_kernel kernel


cdef class Utf8Validator:
    cdef readonly bint valid
    cdef utf8_state _state
