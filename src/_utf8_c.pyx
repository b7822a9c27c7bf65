"""Incremental UTF-8 validation (RFC 3629, RFC 6455 §8.1) in C. Rank 1. Twin of ``wsframe/_utf8_py.py``."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

__all__ = ["Utf8Validator"]


cdef class Utf8Validator:
    # The first line is where inspect.signature() finds the arguments of a class in C.
    """Utf8Validator()
--

Validate a byte stream as UTF-8, piece by piece (RFC 3629).

    The verdict falls with the first byte that no continuation can make valid: overlong forms, surrogates
    and code points above U+10FFFF are refused at their second byte at the latest.

    Attributes:
        valid: False once the stream cannot be UTF-8 any more.
    """

    def __init__(self) -> None:
        self.valid = True
        self._state.missing = 0

    @cython.critical_section
    def feed(self, data: bytes | bytearray | memoryview) -> bool:
        """Take the next piece of the stream.

        Args:
            data: Any C-contiguous bytes-like object.

        Returns:
            Whether everything so far can still become valid UTF-8.
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
        """Tell the verdict on the whole stream, and get ready for the next one.

        Returns:
            Whether all that was fed is valid UTF-8 and does not end within a character.
        """
        cdef bint verdict = self.valid and not self._state.missing
        self.valid = True
        self._state.missing = 0
        return verdict


def _kernels():
    """Name the kernels that this processor can run, best first."""
    names = []
    while utf8_kernel_at(len(names)) != NULL:
        names.append(utf8_kernel_at(len(names)).name.decode())
    return names


def _select_kernel(name):
    """Use one kernel from now on: for tests and benchmarks."""
    global kernel
    kernel = utf8_kernel_at(_kernels().index(name)).run


kernel = utf8_kernel_at(0).run
