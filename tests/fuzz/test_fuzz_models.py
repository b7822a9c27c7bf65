"""The models by hypothesis' rules: a client and a server over a pipe, without I/O and with asyncio."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from .implementations import implementations
from .model import ENDS, Pipe
from .model_asyncio import AsyncPipe

# A failing example takes a while to be made smaller.
pytestmark = pytest.mark.timeout(600)

END = st.sampled_from(ENDS)
SIZE = st.sampled_from([0, 8, 40, 125, 126, 1000, 5000, 30_000])
COMPRESS = st.sampled_from([None, True, False])
IMPLEMENTATION = st.integers(0, len(implementations()) - 1).map(lambda number: implementations()[number])
DEFLATE = st.none() | st.fixed_dictionaries(
    {
        "threshold": st.sampled_from([0, 64]),
        "backend": st.just("zlib"),
        "level": st.sampled_from([1, 6]),
        "server_no_context_takeover": st.booleans(),
        "client_no_context_takeover": st.booleans(),
        "server_max_window_bits": st.sampled_from([15, 12, 9]),
        "client_max_window_bits": st.sampled_from([15, 12, 9]),
    }
)


class Machine(RuleBasedStateMachine):
    """The steps that both models have in common."""

    pipe: Pipe | AsyncPipe | None = None

    @rule(end=END, size=st.integers(1, 40) | st.sampled_from([1000, 1 << 30]))
    def deliver(self, end, size):
        self.pipe.deliver(end, size)

    def teardown(self):
        if self.pipe is not None:
            self.pipe.finish()


class PipeMachine(Machine):
    @initialize(client=IMPLEMENTATION, server=IMPLEMENTATION, deflate=DEFLATE)
    def begin(self, client, server, deflate):
        self.pipe = Pipe(client, server, deflate)

    @rule(end=END, size=SIZE, binary=st.booleans(), compress=COMPRESS)
    def send(self, end, size, binary, compress):
        self.pipe.send(end, size, binary, compress)

    @rule(end=END, size=SIZE)
    def send_prepared(self, end, size):
        self.pipe.send_prepared(end, size)

    @rule(end=END, size=SIZE, last=st.booleans(), compress=COMPRESS)
    def send_fragment(self, end, size, last, compress):
        self.pipe.send_fragment(end, size, last, compress)

    @rule(end=END)
    def interrupt(self, end):
        self.pipe.interrupt(end)

    @rule(end=END, kind=st.sampled_from(["ping", "pong"]), payload=st.binary(max_size=125))
    def control(self, end, kind, payload):
        self.pipe.control(end, kind, payload)

    @rule(end=END, hold=st.booleans())
    def hold_pongs(self, end, hold):
        self.pipe.hold_pongs(end, hold)

    @rule(end=END)
    def release(self, end):
        self.pipe.release(end)

    @rule(end=END)
    def flush(self, end):
        self.pipe.flush(end)

    @rule(end=END)
    def exchange(self, end):
        self.pipe.exchange(end)

    @rule(end=END)
    def stream(self, end):
        self.pipe.stream(end)

    @rule(end=END)
    def join(self, end):
        self.pipe.join(end)

    @rule(end=END, close=st.sampled_from([(1000, "bye"), (3000, ""), (None, "")]))
    def close(self, end, close):
        self.pipe.close(end, *close)


class AsyncPipeMachine(Machine):
    @initialize(
        client=IMPLEMENTATION,
        server=IMPLEMENTATION,
        deflate=DEFLATE,
        write_limit=st.sampled_from([0, 1000, 2**15]),
        max_queue=st.sampled_from([None, 1, 2, 16]),
    )
    def begin(self, client, server, deflate, write_limit, max_queue):
        self.pipe = AsyncPipe(client, server, deflate, write_limit, max_queue)

    @rule(end=END, size=SIZE, compress=COMPRESS)
    def send(self, end, size, compress):
        self.pipe.send(end, size, compress)

    @rule(end=END, sizes=st.lists(st.sampled_from([0, 5, 3000]), min_size=1, max_size=3))
    def send_fragments(self, end, sizes):
        self.pipe.send_fragments(end, sizes)

    @rule(end=END, size=SIZE)
    def try_send(self, end, size):
        self.pipe.try_send(end, size)

    @rule(end=END)
    def recv(self, end):
        self.pipe.recv(end)

    @rule(end=END)
    def recv_streaming(self, end):
        self.pipe.recv_streaming(end)

    @rule(end=END)
    def ping(self, end):
        self.pipe.ping(end)

    @rule(count=st.integers(1, 4))
    def turn(self, count):
        self.pipe.turn(count)

    @rule(end=END, number=st.integers(0, 3))
    def cancel(self, end, number):
        self.pipe.cancel(end, number)

    @rule(end=END)
    def close(self, end):
        self.pipe.close(end)

    @rule(end=END, really=st.integers(0, 4))
    def lose(self, end, really):
        if really == 4:
            self.pipe.lose(end)


OPTIONS = settings(max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])

TestPipe = PipeMachine.TestCase
TestPipe.settings = OPTIONS

TestAsyncPipe = AsyncPipeMachine.TestCase
TestAsyncPipe.settings = OPTIONS
