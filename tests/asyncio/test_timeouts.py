"""A limit of time for a coroutine, and the ends of streams, with and without TLS."""

from __future__ import annotations

import asyncio
import gc
import ssl
import time
from types import SimpleNamespace

import pytest
from support import soon

from wsframe.asyncio.datapath.ending import end_writing
from wsframe.asyncio.timeouts import within


async def give(value, turns=0):
    for _ in range(turns):
        await asyncio.sleep(0)
    return value


# Limits of time


@pytest.mark.parametrize("seconds", [None, 30])
@pytest.mark.parametrize("turns", [0, 3])
async def test_result_within_the_limit_is_returned(seconds, turns):
    assert await within(seconds, give("a", turns)) == "a"


@pytest.mark.parametrize("seconds", [None, 30])
async def test_exception_within_the_limit_is_raised(seconds):
    async def fail():
        await asyncio.sleep(0)
        raise LookupError("a")

    with pytest.raises(LookupError, match="a"):
        await within(seconds, fail())


@pytest.mark.parametrize("seconds", [0, 0.01])
async def test_exceeding_the_limit_is_a_timeout_error(seconds):
    begun, cancelled = [], []

    async def wait():
        begun.append(True)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(TimeoutError, match=f"timed out after {seconds} s") as info:
        await within(seconds, wait())
    assert isinstance(info.value.__cause__, asyncio.CancelledError)
    assert cancelled == begun


async def test_result_after_cancellation_is_returned():
    async def stubborn():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "a"

    assert await within(0, stubborn()) == "a"


async def test_self_cancellation_is_not_a_timeout():
    async def cancel():
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    with pytest.raises(asyncio.CancelledError):
        await within(30, cancel())


@pytest.mark.parametrize("seconds", [None, 30])
async def test_cancellation_at_each_step_is_raised_and_results_are_discarded(seconds):
    # From the first turn on: before it, the coroutine is not there yet.
    for step in range(1, 30):
        given, discarded = [], []

        async def work(given=given):
            value = await give(object(), 5)
            given.append(value)
            return value

        task = asyncio.ensure_future(within(seconds, work(), discarded.append))
        for _ in range(step):
            await asyncio.sleep(0)
        done = task.done()
        assert task.cancel() is not done
        await soon(asyncio.wait([task]))
        assert task.cancelled() is not done
        assert discarded == ([] if done else given)
        if done:
            assert [task.result()] == given
            return
    raise AssertionError("it never ends")


def hold_the_loop(seconds):
    time.sleep(seconds)


@pytest.mark.parametrize("first", ["cancellation", "limit"])
async def test_cancellation_wins_over_a_limit_in_the_same_turn(first):
    """Whichever of them comes first: a task that was cancelled is cancelled."""
    task = asyncio.ensure_future(within(0.01, asyncio.Event().wait()))
    await give(None, 3)
    if first == "limit":
        asyncio.get_running_loop().call_later(0.011, task.cancel)
    hold_the_loop(0.05)
    if first == "cancellation":
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)


async def test_each_cancellation_is_passed_on():
    """Each one is passed on, as to a task that waits for itself."""
    seen = []

    async def stubborn():
        for _ in range(2):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append(True)
        return "a"

    discarded = []
    task = asyncio.ensure_future(within(None, stubborn(), discarded.append))
    for count in (1, 2):
        await give(None, 3)
        task.cancel()
        await give(None, 3)
        assert len(seen) == count
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert discarded == ["a"]


async def test_exception_after_cancellation_is_not_logged_as_lost():
    async def fail():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise LookupError from None

    task = asyncio.ensure_future(within(None, fail()))
    await give(None, 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    del task
    gc.collect()


async def test_closing_the_coroutine_cancels_its_task():
    cancelled = asyncio.Event()

    async def wait():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    coroutine = within(30, wait())
    coroutine.send(None)
    await give(None, 2)
    coroutine.close()
    await soon(cancelled.wait())


# The end of a stream


class FakeTLS(ssl.SSLObject):
    """A TLS connection that answers as a test wants it: an exception to raise, or what to return."""

    def __new__(cls, *answers):
        return object.__new__(cls)

    def __init__(self, read, unwrap):
        self._answers = {"read": list(read), "unwrap": list(unwrap)}

    def _answer(self, name):
        answer = self._answers[name].pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def read(self, size):
        return self._answer("read")

    def unwrap(self):
        return self._answer("unwrap")


class FakeTransport:
    """Records calls, and returns what a test sets."""

    def __init__(self, tls, *, eof=False, **attributes):
        self.called = []
        self._tls = tls
        self._eof = eof
        vars(self).update(attributes)

    def get_extra_info(self, name):
        return {"ssl_object": self._tls}[name]

    def can_write_eof(self):
        return self._eof

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda: self.called.append(name)


WANT_READ = ssl.SSLWantReadError()


@pytest.mark.parametrize(
    ("read", "unwrap", "called"),
    [
        ([WANT_READ], [WANT_READ], ["pause_reading", "resume_reading"]),
        ([b"a", b"b", WANT_READ], [WANT_READ], ["pause_reading", "resume_reading"]),
        ([b"a", b""], [], ["close"]),
        ([ssl.SSLError()], [], ["abort"]),
        ([WANT_READ], [ssl.SSLError()], ["abort"]),
        ([WANT_READ], [None], ["close"]),
    ],
)
def test_end_of_a_tls_stream(read, unwrap, called):
    """RFC 8446 §6.1."""
    transport = FakeTransport(FakeTLS(read, unwrap))
    end_writing(SimpleNamespace(transport=transport, alive=False), None, when_quiet=False)
    assert transport.called == called


def test_end_of_a_tls_stream_of_python_3_10():
    received = []
    transport = FakeTransport(
        FakeTLS([WANT_READ], [WANT_READ]), _ssl_protocol=SimpleNamespace(data_received=received.append)
    )
    end_writing(SimpleNamespace(transport=transport, alive=False), None, when_quiet=False)
    assert (transport.called, received) == ([], [b""])


def test_end_of_a_stream_of_a_transport_that_hides_its_tls():
    transport = FakeTransport(None)
    end_writing(SimpleNamespace(transport=transport, alive=False), None, when_quiet=False)
    assert transport.called == ["close"]


def test_end_of_a_stream_without_tls():
    transport = FakeTransport(None, eof=True)
    end_writing(SimpleNamespace(transport=transport, alive=False), None, when_quiet=False)
    assert transport.called == ["write_eof"]
