"""Incremental UTF-8 validation (RFC 3629, RFC 6455 §8.1) in C.

Twin of ``wsframe/codec/_utf8_py.py``; the contract is in ``wsframe.codec``.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

__all__ = ["Utf8Validator"]


cdef extern from "kernels/transcode.h" nogil:
    ctypedef struct transcode_shape:
        size_t length
        int width
    ctypedef transcode_shape (*transcode_measurer)(const unsigned char *text, size_t size) noexcept
    ctypedef struct transcode_kernel:
        const char *name
        utf8_kernel validate
        transcode_measurer measure
        void (*decode1)(const unsigned char *text, size_t size, uint8_t *out, size_t length) noexcept
        void (*decode2)(const unsigned char *text, size_t size, uint16_t *out, size_t length) noexcept
        void (*decode4)(const unsigned char *text, size_t size, uint32_t *out, size_t length) noexcept
        size_t (*size1)(const uint8_t *text, size_t length) noexcept
        size_t (*size2)(const uint16_t *text, size_t length) noexcept
        size_t (*size4)(const uint32_t *text, size_t length) noexcept
        size_t (*encode1)(const uint8_t *text, size_t length, unsigned char *out, size_t room) noexcept
        size_t (*encode2)(const uint16_t *text, size_t length, unsigned char *out, size_t room) noexcept
        size_t (*encode4)(const uint32_t *text, size_t length, unsigned char *out, size_t room) noexcept
    transcode_shape transcode_measure(
        const unsigned char *text, size_t size, transcode_measurer measure
    ) noexcept
    const transcode_kernel *transcode_kernel_at(size_t index) noexcept
    const size_t TRANSCODE_SURROGATE


cdef extern from *:
    """
    #if PY_VERSION_HEX < 0x030C0000
    /* Strings from extensions that still use the pre-3.3 Unicode API have no canonical data before this. */
    #define text_is_ready(text) (PyUnicode_READY(text) == 0)
    #else
    #define text_is_ready(text) 1
    #endif
    """
    bint text_is_ready(object text)
    str PyUnicode_New(Py_ssize_t length, Py_UCS4 widest)
    str PyUnicode_FromOrdinal(int point)
    void *PyUnicode_DATA(object text)
    int PyUnicode_KIND(object text)
    bint PyUnicode_IS_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    bytes PyUnicode_AsUTF8String(object text)


cdef const transcode_kernel *transcoder


cdef class Utf8Validator:
    # The first line is where inspect.signature() finds the arguments of a class in C.
    """Utf8Validator()
--

Validate a byte stream as UTF-8, piece by piece (RFC 3629).

    Validation fails at the first byte after which no continuation can be valid: overlong forms, surrogates
    and code points above U+10FFFF are refused at their second byte at the latest.

    Attributes:
        valid: False once the stream cannot be UTF-8.
    """

    def __init__(self) -> None:
        self.valid = True
        self._state.missing = 0

    @cython.critical_section
    def feed(self, data: bytes | bytearray | memoryview) -> bool:
        """Validate the next piece of the stream.

        Args:
            data: Any C-contiguous bytes-like object.

        Returns:
            Whether the stream so far is, or can still become, valid UTF-8.
        """
        cdef Py_buffer view
        if not self.valid:
            return False
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self.valid = utf8_take(&self._state, <const unsigned char *>view.buf, <size_t>view.len, kernel)
            return self.valid
        finally:
            PyBuffer_Release(&view)

    @cython.critical_section
    def finish(self) -> bool:
        """End the stream, return whether it is valid, and reset for the next one.

        Returns:
            Whether the whole stream is valid UTF-8 and does not end within a character.
        """
        cdef bint verdict = self.valid and not self._state.missing
        self.valid = True
        self._state.missing = 0
        return verdict


cdef str utf8_to_str(const unsigned char *text, Py_ssize_t size):
    cdef transcode_shape shape = transcode_measure(text, <size_t>size, transcoder.measure)
    cdef str result
    if shape.width == 0:
        if size == 1:
            # Python caches these.
            return PyUnicode_FromOrdinal(text[0])
        result = PyUnicode_New(size, 0x7F)
        memcpy(PyUnicode_DATA(result), text, <size_t>size)
    elif shape.width == 1:
        if size == 2 and shape.length == 1:
            return PyUnicode_FromOrdinal((text[0] & 0x03) << 6 | (text[1] & 0x3F))
        result = PyUnicode_New(<Py_ssize_t>shape.length, 0xFF)
        transcoder.decode1(text, <size_t>size, <uint8_t *>PyUnicode_DATA(result), shape.length)
    elif shape.width == 2:
        result = PyUnicode_New(<Py_ssize_t>shape.length, 0xFFFF)
        transcoder.decode2(text, <size_t>size, <uint16_t *>PyUnicode_DATA(result), shape.length)
    else:
        result = PyUnicode_New(<Py_ssize_t>shape.length, 0x10FFFF)
        transcoder.decode4(text, <size_t>size, <uint32_t *>PyUnicode_DATA(result), shape.length)
    return result


cdef Py_ssize_t str_utf8_size(object text) except -1:
    cdef size_t size, length
    cdef int kind
    if not text_is_ready(text):
        raise MemoryError
    length = <size_t>PyUnicode_GET_LENGTH(text)
    if PyUnicode_IS_ASCII(text):
        return <Py_ssize_t>length
    kind = PyUnicode_KIND(text)
    if kind == 1:
        size = transcoder.size1(<const uint8_t *>PyUnicode_DATA(text), length)
    elif kind == 2:
        size = transcoder.size2(<const uint16_t *>PyUnicode_DATA(text), length)
    else:
        size = transcoder.size4(<const uint32_t *>PyUnicode_DATA(text), length)
    if size == TRANSCODE_SURROGATE:
        # Let CPython raise the UnicodeEncodeError.
        PyUnicode_AsUTF8String(text)
    return <Py_ssize_t>size


cdef Py_ssize_t str_write_utf8(object text, unsigned char *target, Py_ssize_t room) except -1:
    cdef size_t size, length = <size_t>PyUnicode_GET_LENGTH(text)
    cdef int kind
    if PyUnicode_IS_ASCII(text):
        memcpy(target, PyUnicode_DATA(text), length)
        return <Py_ssize_t>length
    kind = PyUnicode_KIND(text)
    if kind == 1:
        size = transcoder.encode1(<const uint8_t *>PyUnicode_DATA(text), length, target, <size_t>room)
    elif kind == 2:
        size = transcoder.encode2(<const uint16_t *>PyUnicode_DATA(text), length, target, <size_t>room)
    else:
        size = transcoder.encode4(<const uint32_t *>PyUnicode_DATA(text), length, target, <size_t>room)
    if size == TRANSCODE_SURROGATE:
        # Let CPython raise the UnicodeEncodeError.
        PyUnicode_AsUTF8String(text)
    return <Py_ssize_t>size


cdef int check_str(object text) except -1:
    if not isinstance(text, str):
        raise TypeError(f"text must be str, not {type(text).__name__}")
    return 0


def _decode(data: bytes | bytearray | memoryview) -> str:
    """Decode valid UTF-8 to a str, for tests and benchmarks."""
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        return utf8_to_str(<const unsigned char *>view.buf, view.len)
    finally:
        PyBuffer_Release(&view)


def _encode(text: str) -> bytes:
    """Encode a str to UTF-8, for tests and benchmarks."""
    cdef Py_ssize_t size
    check_str(text)
    size = str_utf8_size(text)
    result = PyBytes_FromStringAndSize(NULL, size)
    str_write_utf8(text, <unsigned char *>PyBytes_AS_STRING(result), size)
    return result


def _encode_at_once(text: str, room: int = 0) -> bytes:
    """Encode a str to UTF-8 without computing its size first, with more room than it needs, for tests."""
    cdef Py_ssize_t most
    check_str(text)
    if room < 0:
        raise ValueError("room must not be negative")
    most = 4 * PyUnicode_GET_LENGTH(text) + <Py_ssize_t>room
    target = PyBytes_FromStringAndSize(NULL, most)
    return target[: str_write_utf8(text, <unsigned char *>PyBytes_AS_STRING(target), most)]


def _kernels():
    """Return the names of the kernels that this processor can run, best first."""
    names = []
    while transcode_kernel_at(len(names)) != NULL:
        names.append(transcode_kernel_at(len(names)).name.decode())
    return names


def _select_kernel(name):
    """Select a kernel by name, for tests and benchmarks."""
    global kernel, transcoder
    transcoder = transcode_kernel_at(_kernels().index(name))
    kernel = transcoder.validate


_select_kernel(_kernels()[0])
