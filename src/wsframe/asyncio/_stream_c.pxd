# C names that _stream_c shares with _queue_c.

from wsframe._core_c cimport Core


cdef class Share:
    # A memoryview of the read buffer for transports, and one that keeps its memory in place.
    cdef object buffer
    cdef object pin
    # How many connections are handling what was read, one within a callback of another.
    cdef Py_ssize_t parsing
    cdef list joining
    # How many the event loop watches.
    cdef int readers
    # A weak reference to the Watch, since that knows the connections, and they know the event loop.
    cdef object watch

    cdef int join(self, Stream stream) except -1


cdef class Watch:
    cdef object __weakref__
    cdef int fd
    # The connections by number, and the numbers that are free.
    cdef list streams
    cdef list free

    cdef bint add(self, Stream stream) except -1
    cdef int remove(self, Stream stream) except -1
    cdef int end_unless_used(self, object loop) except -1
    cdef int read(self, Stream stream) except -1


cdef class Stream:
    cdef readonly Core protocol
    cdef object _transport
    cdef readonly object loop
    # Whether anything came since keepalive has looked.
    cdef public bint alive
    cdef public bint reading_paused
    cdef readonly object _write_high
    cdef public bint _write_paused
    cdef readonly bint _corked
    # Whether the end of the TCP connection has begun.
    cdef public bint _ending
    # Runs while an extension holds memory that an idle connection does not need.
    cdef public bint _has_idle_timeout
    cdef public object _idle_timer
    # Bytes sent in this turn of the event loop behind what was written at once; -1 at its beginning.
    cdef Py_ssize_t _joined_bytes
    cdef unsigned long _thread
    cdef Share _share
    # The read buffer that the connections share, and its size in bytes.
    cdef unsigned char *_bytes
    cdef Py_ssize_t _size
    # A memoryview of another one, if the transport has delivered while that was in use; whether what was read is being
    # handled, and what has come meanwhile.
    cdef object _own_buffer
    cdef bint _receiving
    cdef list _received_meanwhile
    # The socket, if it may be written to, and whether the transport may still have bytes to write before.
    cdef int _fd
    # Whether we read from the socket ourselves, and whether the event loop watches it for us. Or else what watches it
    # now, and under which number; and the context for callbacks, in which they would run if the event loop called them.
    cdef bint _reads
    cdef bint _has_reader
    cdef Watch _watch
    cdef Py_ssize_t _number
    cdef object _context
    cdef bint _transport_writes
    # Whether the transport was closing when it was last looked at.
    cdef bint _transport_closing

    # Reading
    cdef int read_no_more(self) except -1
    cdef int read_watched(self) except -1
    cdef int give_reads_back(self) except -1
    cdef int read(self) except -1
    cdef int read_failed(self) except -1
    cdef int receive(self, const unsigned char *data, Py_ssize_t size) except -1
    cdef int interrupted(self) except -1
    cdef int parse(self, const unsigned char *data, Py_ssize_t size) except -1
    cdef int handle(self, list events) except -1

    # Writing
    cdef int check_thread(self) except -1
    cdef int flush_joined(self, Py_ssize_t size) except -1
    cdef int begin_joining(self) except -1
    cdef int join(self) except -1
    cdef int flush(self) except -1
    cdef int flush_later(self) except -1
    cdef int write(self) except -1
    cdef int abort(self) except -1
    cdef int write_rest(self, list output, Py_ssize_t size) except -1
    cdef Py_ssize_t write_pieces(self, list output, Py_ssize_t size) except -1
