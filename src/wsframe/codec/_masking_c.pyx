"""Masking (RFC 6455 §5.3) in C.

Twin of ``wsframe/codec/_masking_py.py``; the contract is in ``wsframe.codec``.
"""

import os

from cpython.buffer cimport PyBUF_FULL_RO, PyBuffer_IsContiguous, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_Check, PyByteArray_CheckExact, PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_Check, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.long cimport PyLong_AsLongAndOverflow
from cpython.memoryview cimport PyMemoryView_Check
from libc.stdint cimport uint32_t
from libc.string cimport memcpy

__all__ = ["apply_mask", "apply_mask_inplace", "new_masking_key"]


cdef extern from *:
    """
    #define POOL_SIZE 4096
    /* With a GIL, one pool serves all threads. Without, two threads could take the same key: each has its own pool. */
    #ifndef Py_GIL_DISABLED
    #define HAS_GIL 1
    #else
    #define HAS_GIL 0
    #endif
    #ifndef Py_GIL_DISABLED
    #define POOL_STORAGE static
    #elif defined(_MSC_VER)
    #define POOL_STORAGE static __declspec(thread)
    #else
    #define POOL_STORAGE static __thread
    #endif
    POOL_STORAGE unsigned char pool[POOL_SIZE];
    POOL_STORAGE Py_ssize_t pool_used = POOL_SIZE;
    """
    const Py_ssize_t POOL_SIZE
    const bint HAS_GIL
    unsigned char *pool
    Py_ssize_t pool_used


cdef extern from "Python.h":
    # Cython's own declaration ignores exceptions.
    int buffer_to_contiguous "PyBuffer_ToContiguous" (
        void *target, const Py_buffer *view, Py_ssize_t size, char order
    ) except -1

# The default phase, without a conversion.
cdef object ZERO = 0


def apply_mask(data: bytes | bytearray | memoryview, mask: bytes | bytearray) -> bytes:
    """Mask or unmask a payload (RFC 6455 §5.3).

    Args:
        data: The payload: any bytes-like object.
        mask: The masking key, 4 bytes.

    Returns:
        ``data`` XORed with ``mask`` repeated, as new bytes of the same length.

    Raises:
        TypeError: If ``data`` or ``mask`` is not bytes-like.
        ValueError: If ``mask`` is not 4 bytes long.
    """
    cdef uint32_t key
    cdef Py_buffer view
    cdef unsigned char *target
    load_mask(mask, &key)
    if PyBytes_Check(data):
        result = PyBytes_FromStringAndSize(NULL, PyBytes_GET_SIZE(data))
        target = <unsigned char *>PyBytes_AS_STRING(result)
        mask_copy(target, <const unsigned char *>PyBytes_AS_STRING(data), <size_t>PyBytes_GET_SIZE(data), key, kernel)
        return result
    PyObject_GetBuffer(data, &view, PyBUF_FULL_RO)
    try:
        result = PyBytes_FromStringAndSize(NULL, view.len)
        target = <unsigned char *>PyBytes_AS_STRING(result)
        if PyBuffer_IsContiguous(&view, b"C"):
            mask_copy(target, <const unsigned char *>view.buf, <size_t>view.len, key, kernel)
        else:
            buffer_to_contiguous(target, &view, view.len, b"C")
            mask_copy(target, target, <size_t>view.len, key, kernel)
    finally:
        PyBuffer_Release(&view)
    return result


def apply_mask_inplace(buffer: Buffer, mask: bytes | bytearray, phase: int = 0) -> None:
    """Mask or unmask a writable buffer in place (RFC 6455 §5.3).

    Args:
        buffer: The payload, or a part of it: any writable, C-contiguous bytes-like object.
        mask: The masking key, 4 bytes.
        phase: Index, 0 to 3, of the key byte for the first byte of ``buffer``.

    Raises:
        TypeError: If ``buffer`` is not bytes-like or not writable, or ``mask`` is not bytes-like.
        ValueError: If ``mask`` is not 4 bytes long, ``phase`` is out of range, or ``buffer`` is not contiguous.
    """
    cdef uint32_t key
    cdef Py_buffer view
    cdef unsigned char *target
    cdef int overflow = 0
    cdef long shift
    load_mask(mask, &key)
    if phase is not ZERO:
        shift = PyLong_AsLongAndOverflow(phase, &overflow)
        if overflow or not 0 <= shift <= 3:
            raise ValueError("phase must be between 0 and 3")
        key = mask_turn_key(key, <size_t>shift)
    if HAS_GIL and PyByteArray_CheckExact(buffer):
        # No code that could resize it runs meanwhile.
        target = <unsigned char *>PyByteArray_AS_STRING(buffer)
        mask_copy(target, target, <size_t>PyByteArray_GET_SIZE(buffer), key, kernel)
        return
    PyObject_GetBuffer(buffer, &view, PyBUF_FULL_RO)
    try:
        if view.readonly:
            raise TypeError("buffer must be writable")
        if not PyBuffer_IsContiguous(&view, b"C"):
            raise ValueError("buffer must be contiguous")
        mask_copy(<unsigned char *>view.buf, <const unsigned char *>view.buf, <size_t>view.len, key, kernel)
    finally:
        PyBuffer_Release(&view)


def new_masking_key() -> bytes:
    """Return an unpredictable masking key from a pool filled by ``os.urandom`` (RFC 6455 §5.3, §10.3).

    Returns:
        4 bytes. A forked child never reuses its parent's keys.
    """
    cdef unsigned char key[4]
    write_masking_key(key)
    return PyBytes_FromStringAndSize(<const char *>key, 4)


cdef int load_mask(object mask, uint32_t *key) except -1:
    if PyBytes_Check(mask):
        if PyBytes_GET_SIZE(mask) == 4:
            key[0] = mask_load_key(<const unsigned char *>PyBytes_AS_STRING(mask), 0)
            return 0
    elif PyByteArray_Check(mask):
        if PyByteArray_GET_SIZE(mask) == 4:
            key[0] = mask_load_key(<const unsigned char *>PyByteArray_AS_STRING(mask), 0)
            return 0
    elif PyMemoryView_Check(mask):
        return load_mask(bytes(mask), key)
    else:
        raise TypeError(f"mask must be bytes-like, not {type(mask).__name__}")
    raise ValueError("mask must contain 4 bytes")


cdef int write_masking_key(unsigned char *key) except -1:
    global pool_used
    if pool_used >= POOL_SIZE:
        # While os.urandom has released the GIL, another thread may fill the pool too. The bytes it left there are lost,
        # and none are used twice, since no other thread runs between the next two statements.
        fresh = os.urandom(POOL_SIZE)
        if not PyBytes_Check(fresh):
            raise TypeError(f"os.urandom() must return bytes, not {type(fresh).__name__}")
        if PyBytes_GET_SIZE(fresh) != POOL_SIZE:
            raise ValueError(f"os.urandom() must return {POOL_SIZE} bytes, not {len(fresh)}")
        memcpy(pool, PyBytes_AS_STRING(fresh), <size_t>POOL_SIZE)
        pool_used = 0
    memcpy(key, pool + pool_used, 4)
    pool_used += 4
    return 0


def _forget_pool():
    global pool_used
    pool_used = POOL_SIZE


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def _kernels():
    """Return the names of the kernels that this processor can run, best first."""
    names = []
    while mask_kernel_at(len(names)) != NULL:
        names.append(mask_kernel_at(len(names)).name.decode())
    return names


def _select_kernel(name):
    """Select a kernel by name, for tests and benchmarks."""
    global kernel
    kernel = mask_kernel_at(_kernels().index(name)).run


kernel = mask_kernel_at(0).run
