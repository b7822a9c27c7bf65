"""``recv`` and ``send`` in C.

Twin of ``wsframe/asyncio/datapath/_queue_py.py``; the contract is in ``queue``.
"""

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF

from wsframe.codec._message_c cimport Message, message_data, plain_bytes
from wsframe.codec._framing_c cimport BINARY, TEXT
from wsframe.asyncio.datapath._stream_c cimport Stream

import asyncio
from asyncio import current_task
from types import AsyncGeneratorType

from wsframe.constants import State
from wsframe.exceptions import ConcurrencyError, ConnectionClosedOK
from wsframe.limits import SENDS_IN_A_ROW

__all__ = ["QueueStream", "Waiter"]


cdef extern from "Python.h":
    ctypedef int PySendResult
    const PySendResult PYGEN_ERROR
    const PySendResult PYGEN_NEXT
    PySendResult PyIter_Send(object iterator, object value, PyObject **result)
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1
    int PyErr_WarnFormat(object category, Py_ssize_t stack_level, const char *format, ...) except -1


cdef extern from *:
    """
    /* Sets the function that runs each step of an awaitable; Cython's own __next__ adds a traceback to each
     * StopIteration. */
    #define set_iternext(type, function) (((PyTypeObject *)(type))->tp_iternext = (function))

    /* Make Python subclasses inherit the type's slot for __anext__. They look up a method by name on each call unless
     * it is found as a slot wrapper. The wrapper of any other type identifies the slot. */
    static int wrap_anext(PyObject *type, PyObject *wrapper) {
    #ifndef PYPY_VERSION
        PyTypeObject *const me = (PyTypeObject *)type;
        PyObject *const own =
            PyDescr_NewWrapper(me, ((PyWrapperDescrObject *)wrapper)->d_base, (void *)me->tp_as_async->am_anext);
        if (own == NULL || PyDict_SetItemString(me->tp_dict, "__anext__", own) < 0) {
            Py_XDECREF(own);
            return -1;
        }
        Py_DECREF(own);
        PyType_Modified(me);
    #endif
        return 0;
    }

    /* End an iteration with a value. The awaiting code takes the value out of the exception at once and drops the
     * exception, so one object can be reused, unless other code has kept or modified it. It keeps small values alive
     * until the next use. */
    #if PY_VERSION_HEX >= 0x030C0000 && !defined(Py_GIL_DISABLED)
    static int is_as_new(PyStopIterationObject *stop) {
        return Py_REFCNT(stop) == 1 && stop->dict == NULL && stop->notes == NULL && stop->traceback == NULL &&
               stop->context == NULL && stop->cause == NULL && !stop->suppress_context &&
               PyTuple_GET_SIZE(stop->args) == 0;
    }
    #endif
    static void stop_iteration(PyObject *value) {
    #if PY_VERSION_HEX >= 0x030C0000 && !defined(Py_GIL_DISABLED)
        static PyStopIterationObject *stop;
        const int is_small =
            PyBytes_CheckExact(value) ? PyBytes_GET_SIZE(value) < 4096
                                      : PyUnicode_CheckExact(value) && PyUnicode_GET_LENGTH(value) < 1024;
        if (is_small) {
            if (stop == NULL || !is_as_new(stop)) {
                Py_CLEAR(stop);
                stop = (PyStopIterationObject *)PyObject_CallNoArgs(PyExc_StopIteration);
                if (stop == NULL)
                    return;
            }
            Py_INCREF(value);
            Py_XSETREF(stop->value, value);
            Py_INCREF(stop);
            PyErr_SetRaisedException((PyObject *)stop);
            return;
        }
    #endif
        PyErr_SetObject(PyExc_StopIteration, value);
    }

    /* The reference returned by PyIter_Send, or NULL with an exception set. */
    #define take_result(result) (result)
    """
    ctypedef PyObject *(*iternextfunc)(PyObject *)
    void set_iternext(object type, iternextfunc iternext)
    int wrap_anext(object type, object wrapper) except -1
    object take_result(PyObject *result)
    void stop_iteration(object value)


cdef enum:
    # Kinds of operations.
    RECEIVE = 0
    ITERATE
    TAKE
    SEND

    # Phases of an operation.
    NEW = 0
    WAITING
    # A coroutine has taken over.
    DELEGATED
    DONE

    # Outcomes of a step: an object to wait for, or the result.
    WAIT = 0
    RESULT

cdef int IN_A_ROW = SENDS_IN_A_ROW
cdef object OPEN = State.OPEN
cdef object CLOSED = State.CLOSED


cdef class QueueStream(Stream):
    # The first line is where inspect.signature() finds the arguments of a class in C.
    """QueueStream(protocol, write_high, queue_high, queue_low)
--

A stream that queues messages for ``recv()``.

    Args:
        protocol: The connection without I/O.
        write_high: Bytes in the write buffer above which sending pauses.
        queue_high: Messages that may wait before reading pauses; None for no limit.
        queue_low: Messages at which reading resumes; None to resume at once.
    """

    # The first waiting message, and those after it, starting at an index; None and empty if there are none.
    cdef Message _first
    cdef list _others
    cdef Py_ssize_t _next
    # -1 for no limit.
    cdef Py_ssize_t _queue_high
    cdef Py_ssize_t _queue_low
    # The waiter of recv().
    cdef Waiter _receiver
    # Whether recv_streaming() is running, or was left too early.
    cdef public bint _streaming
    # Whether recv() and send() raise ConnectionClosed before TCP has ended.
    cdef readonly bint _stopped
    # Whether messages are dropped that come after the application has closed the connection.
    cdef bint _dropping
    # Whether the application may still be answering a message that it has received.
    cdef bint _answering
    # Set while a fragmented message is being sent, which no other message may interrupt.
    cdef public object _fragments_sent
    cdef public int _sent_in_a_row

    def __init__(
        self, protocol: Connection, write_high: int, queue_high: int | None, queue_low: int | None
    ) -> None:
        Stream.__init__(self, protocol, write_high)
        self._queue_high = -1 if queue_high is None else queue_high
        self._queue_low = -1 if queue_low is None else queue_low

    def __cinit__(self, *args, **kwargs):
        self._others = []

    # Receiving

    @property
    def queue_depth(self) -> int:
        """Number of messages waiting to be received."""
        return self.depth()

    @cython.final
    cdef inline Py_ssize_t depth(self) noexcept:
        return (self._first is not None) + PyList_GET_SIZE(self._others) - self._next

    @cython.final
    cdef inline bint is_full(self) noexcept:
        return self._queue_high >= 0 and self.depth() >= self._queue_high

    @cython.final
    @cython.nonecheck(False)
    cdef inline Message front(self):
        """Return the next message without taking it; there must be one."""
        return self._first if self._first is not None else <Message>self._others[self._next]

    @cython.final
    cdef int put_back(self, Message message) except -1:
        """Put a message that was taken back to the front of the queue."""
        if self._first is not None:
            # Another message has arrived in the meantime.
            self._others.insert(self._next, self._first)
        self._first = message
        return 0

    @cython.final
    @cython.nonecheck(False)
    cdef int drop(self) except -1:
        """Take the next message out of the queue; there must be one."""
        if self._first is not None:
            self._first = None
            return 0
        self._others[self._next] = None
        self._next += 1
        if self._next == PyList_GET_SIZE(self._others):
            self._others.clear()
            self._next = 0
        return 0

    @cython.nonecheck(False)
    def __anext__(self) -> Awaitable[str | bytes]:
        cdef Operation operation = Operation.__new__(Operation)
        operation.stream = self
        operation.kind = ITERATE
        return operation

    @cython.nonecheck(False)
    def recv(self, decode: bool | None = None) -> str | bytes:
        """Receive the next complete message.

        The call may be cancelled at any time; the message is then left for the next call.

        Args:
            decode: True for str and False for bytes, regardless of the message type; by default, str for text
                messages and bytes for binary ones.

        Raises:
            ConnectionClosed: When the connection is closed and all its messages have been received, or when it
                fails because ``decode`` is True and a binary message is not UTF-8.
            ConcurrencyError: If another task is receiving.
            RuntimeError: If called from a thread other than the event loop's.
        """
        cdef Operation operation = Operation.__new__(Operation)
        operation.stream = self
        operation.kind = RECEIVE
        operation.option = decode
        return operation

    def _check_can_receive(self, method: str) -> None:
        """Raise an exception if called from another thread, or while another task is receiving."""
        self.check_thread()
        if self._receiver is not None or self._streaming:
            raise ConcurrencyError(
                f"cannot call {method} while another coroutine is already running recv or recv_streaming"
            )

    def _next_message(self) -> Awaitable[Message]:
        """Wait for a message, or for a fragment of the one being streamed, and take it from the queue."""
        cdef Operation operation = Operation.__new__(Operation)
        operation.stream = self
        operation.kind = TAKE
        return operation

    def stop_waiting(self) -> None:
        """Drop messages that arrive from now on, and do not wait for the end of TCP before raising ConnectionClosed.

        For connections that are ending, but whose peer may take its time. ``recv()`` still returns earlier messages.
        """
        self._stopped = self._dropping = True
        self._wake_receiver()

    def _give_back(self) -> None:
        """Rejoin a message whose fragments are in the queue, so that it is received whole after all."""
        cdef list fragments = []
        cdef list waiting = ([] if self._first is None else [self._first]) + self._others[self._next:]
        for message in waiting:
            fragments.append(message)
            if (<Message?>message).fin:
                break
        joined = self.protocol.join_message(fragments)
        # Only now, when nothing can fail any more.
        for _message in fragments:
            self.drop()
        if joined is not None:
            # The messages taken from the queue included the first one.
            self._first = joined

    @cython.nonecheck(False)
    cdef int handle(self, list events) except -1:
        for event in events:
            if type(event) is not Message:
                self._on_event(event)
            # Reading continues while the connection is closing, because the peer's Close frame is still to come.
            # The application needs no more messages then, so those from the first one that exceeds the queue on are
            # dropped. Each may be a fragment, so nothing may come after a gap.
            elif self.protocol.state is OPEN or not (self._dropping or self.is_full()):
                if self._first is None and not PyList_GET_SIZE(self._others):
                    self._first = <Message?>event
                else:
                    self._others.append(event)
            else:
                self._dropping = True
        if self.depth():
            if self._receiver is not None:
                self._receiver.resume()
            # Reading does not pause while the connection is closing: see above.
            if self._queue_high >= 0 and self.depth() > self._queue_high and self.protocol.state is OPEN:
                self.pause_reading()
        return 0

    def _has_answers_to_come(self) -> bool:
        return self.depth() > 0 or self._answering

    def _wake_receiver(self) -> None:
        """Make recv() check again in the next iteration of the event loop."""
        if self._receiver is not None:
            self._receiver.resume_soon()

    # Sending

    @cython.nonecheck(False)
    def send(
        self,
        message: str | Buffer | PreparedMessage | Iterable[str | Buffer] | AsyncIterable[str | Buffer],
        text: bool | None = None,
        *,
        compress: bool | None = None,
    ) -> Coroutine[Any, Any, None]:
        """Send a message.

        The call waits while the write buffer is above its limit. Cancelling it never leaves a partial frame on
        the wire; cancelling it between two fragments closes the connection.

        Args:
            message: A str for a text message, a bytes-like object for a binary one, a prepared message, or
                an iterable or asynchronous iterable of str or bytes-like objects, which are sent as the
                fragments of one message.
            text: True to send bytes, which must be UTF-8, as text, and False to send a str as binary.
            compress: Whether to compress the message if compression was negotiated; None leaves it to the
                extension, which does not compress messages below its threshold.

        Raises:
            ConnectionClosed: When the connection is closed.
            TypeError: If ``message`` has another type, is a mapping, or mixes str and bytes.
            RuntimeError: If called from a thread other than the event loop's.
        """
        cdef Operation operation = Operation.__new__(Operation)
        operation.stream = self
        operation.kind = SEND
        operation.message = message
        operation.option = text
        operation.compress = compress
        return operation

    def push(self, message: PreparedMessage) -> None:
        """Send a message at once, regardless of the write buffer; used by ``broadcast``.

        Raises:
            ConcurrencyError: If a fragmented message is being sent.
            InvalidState: If the connection is not open.
            BufferError: If too much data is waiting to be sent and the policy is to wait.
            RuntimeError: If called from a thread other than the event loop's.
        """
        cdef bytes payload
        self.check_thread()
        if self._fragments_sent is not None:
            raise ConcurrencyError("sending a fragmented message")
        if self.writing_paused and not self._admit():
            return
        self.protocol.push(message)
        payload = plain_bytes(message.payload)
        self.flush_joined(PyBytes_GET_SIZE(payload))


@cython.final
@cython.freelist(64)
cdef class Operation:
    """The awaitable that ``recv`` and ``send`` return: it runs once, when awaited, like an ``async def`` coroutine."""

    cdef QueueStream stream
    cdef unsigned char kind
    cdef unsigned char phase
    # The arguments of send(); recv() keeps its decode argument in the first option.
    cdef object message
    cdef object option
    cdef object compress
    # The waiter that recv() waits for.
    cdef Waiter waiter
    # The coroutine that has taken over, and the outcome of a step.
    cdef object coroutine
    cdef object value

    def __dealloc__(self):
        if self.phase == NEW and self.stream is not None:
            PyErr_WarnFormat(RuntimeWarning, 1, b"coroutine '%s' was never awaited", self.name())

    cdef const char *name(self) noexcept:
        if self.kind == SEND:
            return b"Connection.send"
        return b"Connection.__anext__" if self.kind == ITERATE else b"Connection.recv"

    @property
    def __name__(self) -> str:
        return self.name().decode()

    @cython.nonecheck(False)
    def __await__(self):
        if self.phase != NEW:
            raise RuntimeError("cannot reuse already awaited coroutine")
        return self

    def __iter__(self):
        # Supports "yield from" with the result of __await__().
        return self

    def __next__(self):
        return self.send(None)

    def send(self, value):
        cdef int outcome = self.step(value)
        value, self.value = self.value, None
        if outcome == RESULT:
            raise StopIteration(value)
        return value

    def throw(self, kind, value=None, traceback=None):
        if self.phase == DELEGATED:
            return self.coroutine.throw(kind if value is None else value)
        self.abandon()
        if isinstance(kind, type):
            value = kind() if value is None else value if isinstance(value, BaseException) else kind(value)
        else:
            value = kind
        if traceback is not None:
            value = value.with_traceback(traceback)
        raise value

    def close(self):
        if self.phase == DELEGATED:
            self.coroutine.close()
        self.abandon()

    @cython.nonecheck(False)
    cdef int step(self, object value) except -1:
        """Continue until there is an object to wait for, or a result."""
        cdef PySendResult sent
        cdef PyObject *result = NULL
        if self.phase == DONE or self.stream is None:
            raise RuntimeError("cannot reuse already awaited coroutine")
        if self.phase != DELEGATED:
            return self.send_message() if self.kind == SEND else self.receive()
        try:
            sent = PyIter_Send(self.coroutine, value, &result)
            if sent == PYGEN_ERROR:
                take_result(result)
        except BaseException:
            self.abandon()
            raise
        self.value = take_result(result)
        if sent == PYGEN_NEXT:
            return WAIT
        self.abandon()
        return RESULT

    cdef int delegate(self, object coroutine) except -1:
        """Let a coroutine do the rest."""
        self.phase = DELEGATED
        self.coroutine = coroutine
        return self.step(None)

    cdef int abandon(self) except -1:
        """Finish the operation."""
        if self.waiter is not None:
            self.stream._receiver = self.waiter = None
        self.phase = DONE
        self.coroutine = None
        return 0

    @cython.nonecheck(False)
    cdef int receive(self) except -1:
        cdef QueueStream stream = self.stream
        cdef Waiter waiter = self.waiter
        # Until the operation waits, and if anything fails.
        self.phase = DONE
        if waiter is not None:
            stream._receiver = self.waiter = None
            waiter.check()
        else:
            stream.check_thread()
            if (stream._receiver is not None or stream._streaming) and self.kind != TAKE:
                stream._check_can_receive("recv")
        if stream.depth():
            return self.take()
        if stream.protocol.state is CLOSED:
            return self.raise_end(stream.close_exc)
        # The application asks for the next message: it has answered the earlier ones.
        stream._answering = False
        if stream.protocol.hold_failure:
            stream._release_failure()
        if stream._stopped:
            return self.raise_end(stream.protocol.describe_end())
        stream._sent_in_a_row = 0
        waiter = Waiter.__new__(Waiter)
        waiter.loop = stream.loop
        waiter._asyncio_future_blocking = True
        stream._receiver = self.waiter = self.value = waiter
        self.phase = WAITING
        return WAIT

    cdef int raise_end(self, object exc) except -1:
        if self.kind == ITERATE and isinstance(exc, ConnectionClosedOK):
            raise StopAsyncIteration
        raise exc

    @cython.nonecheck(False)
    cdef int take(self) except -1:
        """Take the next message from the queue, which must not be empty; the message stays there if anything fails."""
        cdef QueueStream stream = self.stream
        cdef Message message = stream.front()
        cdef object value
        cdef object error = None
        if self.kind == TAKE:
            value = message
        elif self.option is None:
            value = message_data(message)
        elif not self.option:
            value = message.payload
        else:
            try:
                value = message.payload.decode()
            except UnicodeDecodeError as exc:
                value, error = None, exc
        stream.drop()
        if stream.reading_paused and (stream._queue_low < 0 or stream.depth() <= stream._queue_low):
            try:
                stream.resume_reading()
            except BaseException:
                stream.put_back(message)
                raise
        stream._answering = True
        if error is not None:
            return self.delegate(stream._refuse_text(error))
        self.value = value
        return RESULT

    @cython.nonecheck(False)
    cdef int send_message(self) except -1:
        cdef QueueStream stream = self.stream
        cdef object message = self.message
        cdef bint is_text = type(message) is str
        self.phase = DONE
        self.message = None
        stream.check_thread()
        if (
            (is_text or type(message) is bytes)
            and stream.protocol.state is OPEN
            and stream._fragments_sent is None
            and not stream.writing_paused
        ):
            stream.protocol.send_message(
                TEXT if (is_text if self.option is None else self.option) else BINARY, message, True, self.compress
            )
            stream.flush_joined(len(message))
            stream._sent_in_a_row += 1
            if stream._sent_in_a_row >= IN_A_ROW or stream.writing_paused or stream._transport_closing:
                return self.delegate(stream._drain())
            return RESULT
        return self.delegate(stream._send(message, self.option, self.compress))


@cython.nonecheck(False)
cdef PyObject *operation_iternext(PyObject *me) except? NULL:
    cdef Operation self = <Operation>me
    cdef int outcome = self.step(None)
    cdef object value = self.value
    self.value = None
    if outcome == WAIT:
        Py_INCREF(value)
        return <PyObject *>value
    # Without an exception, the result is None. Other values are not tuples, so each becomes the only argument.
    if value is not None:
        stop_iteration(value)
    return NULL


@cython.final
@cython.freelist(64)
cdef class Waiter:
    # The first line is where inspect.signature() finds the arguments of a class in C.
    """Waiter(loop)
--

A future for a single task, compatible with ``asyncio.Future`` as far as tasks need it.

    If no task is running, ``wake`` resumes the task immediately, in the task's own context. Otherwise, or if
    that context is already entered, the event loop resumes the task in its next iteration.

    Args:
        loop: The event loop of the task.
    """

    cdef object loop
    cdef object callback
    cdef object context
    cdef bint done
    cdef bint cancelled
    cdef object cancel_message
    # Tasks check this attribute of the objects that they wait for.
    cdef public bint _asyncio_future_blocking

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def __await__(self):
        if not self.done:
            self._asyncio_future_blocking = True
            yield self
        self.check()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop, which a task compares with its own."""
        return self.loop

    def add_done_callback(self, callback: Callable[[Waiter], object], *, context: contextvars.Context) -> None:
        """Set the single callback, which resumes the task."""
        self.callback = callback
        self.context = context

    def result(self) -> None:
        """Return None if the task was woken.

        Raises:
            CancelledError: If the waiter was cancelled.
        """
        self.check()

    cdef int check(self) except -1:
        if self.cancelled:
            raise asyncio.CancelledError(*([] if self.cancel_message is None else [self.cancel_message]))
        return 0

    def cancel(self, msg: Any = None) -> bool:
        """Resume the task with CancelledError; return whether it was still waiting."""
        if self.done:
            return False
        self.resume_soon()
        self.cancelled = True
        self.cancel_message = msg
        return True

    def wake_soon(self) -> None:
        """Resume the task in the next iteration of the event loop."""
        self.resume_soon()

    def wake(self) -> None:
        """Resume the task now if possible, otherwise in the next iteration of the event loop."""
        self.resume()

    cdef int resume_soon(self) except -1:
        if not self.done:
            self.done = True
            if self.callback is not None:
                try:
                    self.loop.call_soon(self._run, context=self.context)
                except BaseException:
                    self.done = False
                    raise
        return 0

    def _run(self) -> None:
        """Resume the task only once: an exception may have followed the scheduled call."""
        callback, self.callback = self.callback, None
        if callback is not None:
            callback(self)

    cdef int resume(self) except -1:
        cdef object callback = self.callback
        cdef object context = self.context
        if self.done or callback is None or current_task(self.loop) is not None:
            return self.resume_soon()
        try:
            PyContext_Enter(context)
        except RuntimeError:
            # A context cannot be entered twice: we are already running in the task's own.
            return self.resume_soon()
        self.done = True
        self.callback = None
        try:
            callback(self)
        finally:
            PyContext_Exit(context)
        return 0


set_iternext(Operation, <iternextfunc>operation_iternext)
wrap_anext(QueueStream, AsyncGeneratorType.__dict__["__anext__"])
