# C names that _masking_c shares with other compiled modules.

from libc.stddef cimport size_t
from libc.stdint cimport uint32_t


cdef extern from "kernels/mask.h" nogil:
    ctypedef void (*mask_kernel)(unsigned char *dst, const unsigned char *src, size_t length, uint32_t key) noexcept
    ctypedef struct mask_kernel_entry:
        const char *name
        mask_kernel run
    const mask_kernel_entry *mask_kernel_at(size_t index) noexcept
    uint32_t mask_load_key(const unsigned char *key, size_t phase) noexcept
    uint32_t mask_turn_key(uint32_t key, size_t phase) noexcept
    void mask_copy(
        unsigned char *dst, const unsigned char *src, size_t length, uint32_t key, mask_kernel kernel
    ) noexcept


# The kernel in use, in every module that masks.
cdef mask_kernel kernel

# Write a masking key, 4 unpredictable bytes (RFC 6455 §10.3).
cdef int write_masking_key(unsigned char *key) except -1

# Check a masking key, and load it.
cdef int load_mask(object mask, uint32_t *key) except -1
