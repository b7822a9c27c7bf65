# C names that _stream_c shares with _queue_c.

from wsframe.messages._messenger_c cimport Messenger


cdef class Share:
    # A memoryview of the read buffer for transports, and another that keeps its memory in place.
    cdef object buffer
    cdef object pin
    # Number of connections that are handling data, one within a callback of another.
    cdef Py_ssize_t parsing
    cdef list joining
    # Number of connections that the event loop itself watches.
    cdef int readers
    # A weak reference to the Watch, since it refers to the connections, and they refer to the event loop.
    cdef object watch

    cdef int join(self, Stream stream) except -1


cdef class Watch:
    cdef object __weakref__
    cdef int fd
    # The connections by number, and the free numbers.
    cdef list streams
    cdef list free

    cdef bint add(self, Stream stream) except -1
    cdef int remove(self, Stream stream) except -1
    cdef int end_unless_used(self, object loop) except -1
    cdef int read(self, Stream stream) except -1


cdef class Stream:
    cdef readonly Messenger protocol
    cdef object _transport
    cdef readonly object loop
    # Whether any data has arrived since keepalive last checked.
    cdef public bint alive
    cdef public bint reading_paused
    cdef readonly object _write_high
    cdef public bint writing_paused
    cdef readonly bint _corked
    # Whether the end of the TCP connection has begun.
    cdef public bint _ending
    # Runs while an extension holds memory that an idle connection does not need.
    cdef public bint _has_idle_timeout
    cdef public object _idle_timer
    # Bytes sent in this iteration of the event loop after the first write; -1 until that write.
    cdef Py_ssize_t _joined_bytes
    cdef unsigned long _thread
    cdef Share _share
    # The read buffer that the connections share, and its size in bytes.
    cdef unsigned char *_bytes
    cdef Py_ssize_t _size
    # A memoryview of another buffer, if the transport has delivered while the shared one was in use; whether received
    # data is being handled; and the data that has arrived in the meantime.
    cdef object _own_buffer
    cdef bint _receiving
    cdef list _received_meanwhile
    # The socket, if it may be written directly; _transport_writes says whether the transport may have bytes to write
    # first.
    cdef int _fd
    # Whether we read the socket directly, and whether the event loop watches it for us. Otherwise, the Watch that
    # watches it and its number there, and the context for callbacks, in which the event loop would run them.
    cdef bint _reads
    cdef bint _has_reader
    cdef Watch _watch
    cdef Py_ssize_t _number
    cdef object _context
    cdef bint _transport_writes
    # Whether the transport was closing when last checked.
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
