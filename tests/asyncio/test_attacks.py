"""The table of attacks, over loopback, against a server in a process of its own, with a size limit of 1 MiB.

What a row bounds is read from ``/proc``: growth of peak resident memory, and CPU time. Bars of memory are those
of the table; bars of time are multiplied by a factor, since other things run on the machine. Attacks on clients
run in this process and measure no memory. permessage-deflate has attacks of its own.
"""

from __future__ import annotations

import ast
import contextlib
import os
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import KEY, LOOPS, PATIENCE_S, environment, request, wire_frame

MASK = b"\x12\x34\x56\x78"
MIB = 2**20
SLACK = 15
"""How much longer something may take here than on an idle machine."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# Where subprocesses run: not in the work tree, which is not what is installed.
HERE = Path(__file__).parent

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Victim:
    """A server in a process of its own."""

    def __init__(self, implementation, loop_kind="asyncio", kind="serve", **options):
        command = [sys.executable, str(Path(__file__).with_name("attack_server.py")), loop_kind, kind, repr(options)]
        self.process = subprocess.Popen(command, env=environment(implementation), stdout=subprocess.PIPE)
        self.implementation = implementation

    def __enter__(self):
        try:
            port, runs = self.process.stdout.readline().decode().split()
            self.port = int(port)
            assert runs == {"c": "c", "py": "python"}[self.implementation]
            # Do not count what the interpreter imports or allocates for a first connection.
            for message in (b"warm", b"w" * 200_000, b"x"):
                with self.open() as sock:
                    sock.sendall(wire_frame(BINARY, message, mask=MASK))
                    read_frame(sock)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def dial(self, timeout=PATIENCE_S, receive_buffer=None):
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(timeout)
        sock.connect(("127.0.0.1", self.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    @contextlib.contextmanager
    def open(self, path="/", **options):
        with self.dial(**options) as sock:
            sock.sendall(request(start_line=f"GET {path} HTTP/1.1"))
            data = b""
            while not data.endswith(b"\r\n\r\n"):
                data += sock.recv(1)
            assert b" 101 " in data
            yield sock

    def status(self, name):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
        raise AssertionError(name)

    def cpu(self):
        """CPU seconds used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @contextlib.contextmanager
    def bounds(self, memory=None, cpu=None):
        """Check how much memory and CPU time the block costs the server."""
        # Start over with the peak, which the block may reach for a moment only.
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        before, cpu_before = self.status("VmHWM"), self.cpu()
        yield
        if memory is not None:
            grown = self.status("VmHWM") - before
            assert grown <= memory, f"{grown / MIB:.1f} MiB more"
        if cpu is not None:
            used = self.cpu() - cpu_before
            assert used <= cpu, f"{used:.2f} s of CPU"

    def state(self):
        """Ask the server for its logged errors and the number of its open files."""
        with self.dial() as sock:
            sock.sendall(request(start_line="GET /state HTTP/1.1"))
            body = read_all(sock).partition(b"\r\n\r\n")[2]
        return ast.literal_eval(body.decode())

    def wait_for_state(self, *state, timeout=PATIENCE_S):
        """Wait until that is what the server has logged, and the number of its open files."""
        end = time.monotonic() + timeout
        while self.state() != state and time.monotonic() < end:
            time.sleep(0.05)
        assert self.state() == state

    def is_alive(self):
        """Check that others are still served."""
        with self.open() as sock:
            sock.sendall(wire_frame(TEXT, b"alive", mask=MASK))
            assert read_frame(sock) == (TEXT, b"alive")
        return True


def read_exactly(sock, size):
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def read_frame(sock):
    first, length = read_exactly(sock, 2)
    if length >= 126:
        length = int.from_bytes(read_exactly(sock, 2 if length == 126 else 8), "big")
    return first & 15, read_exactly(sock, length)


def read_all(sock):
    """Read up to the end of the stream, or a reset."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := sock.recv(65536):
            data += piece
    return data


def expect_close(sock, *codes):
    opcode, payload = read_frame(sock)
    assert opcode == CLOSE
    assert int.from_bytes(payload[:2], "big") in codes
    assert read_all(sock) == b""


def send_until_stuck(sock, data, limit, patience=0.5):
    """Send the same bytes over and over, reading nothing, until the peer takes no more; return how many it took."""
    sock.settimeout(patience)
    sent = 0
    view = memoryview(data)
    try:
        while sent < limit:
            sent += sock.send(view[sent % len(data) :])
    except (TimeoutError, ConnectionError):
        pass
    return sent


def loops():
    """In the ordinary run, asyncio alone: the codec is the same, and what differs between loops is tested elsewhere."""
    return [pytest.param(kind, marks=[pytest.mark.long] if kind == "uvloop" else []) for kind in LOOPS]


@pytest.fixture(scope="module", params=loops())
def victim(request, impl):
    with Victim(impl.name, request.param, close_timeout=1) as victim:
        yield victim


# Fragments


@pytest.mark.parametrize(
    ("count", "payload", "cpu"), [(200_000, b"x", 0.3), (300_000, b"", 0.5)], ids=["byte", "empty"]
)
def test_many_tiny_fragments_use_one_buffer(victim, count, payload, cpu):
    """RFC 6455 §5.4: whatever their number."""
    data = wire_frame(BINARY, b"", fin=False, mask=MASK) + wire_frame(0, payload, fin=False, mask=MASK) * count
    with victim.open() as sock, victim.bounds(memory=2 * MIB, cpu=cpu * SLACK):
        sock.sendall(data)
        sock.sendall(wire_frame(PING, b"done", mask=MASK))
        assert read_frame(sock) == (PONG, b"done")


def test_one_frame_in_tiny_pieces(victim):
    """Class of aiohttp's CVE-2026-123817: one buffer, no list of chunks."""
    data = wire_frame(BINARY, bytes(20_000), mask=MASK)
    with victim.open() as sock, victim.bounds(memory=2 * MIB, cpu=1 * SLACK):
        for i in range(len(data)):
            sock.send(data[i : i + 1])
        assert read_frame(sock) == (BINARY, bytes(20_000))


# Sizes


@pytest.mark.parametrize("length", [MIB + 1, 2**31, 2**32 + 5, 2**62, 2**63 - 1])
def test_oversized_message_is_detected_from_the_header(victim, length):
    """RFC 6455 §7.4.1, §10.4: nothing is allocated and the body not waited for."""
    with victim.open() as sock, victim.bounds(memory=MIB // 10 + MIB // 4):
        began = time.monotonic()
        sock.sendall(wire_frame(BINARY, b"", mask=MASK, length=length))
        expect_close(sock, 1009)
        assert time.monotonic() - began < 0.05 * SLACK * 4


@pytest.mark.parametrize("length", [2**63 - 50, 2**63, 2**64 - 1, 2**64 - 100])
def test_length_does_not_overflow_after_a_fragment(victim, length):
    """RFC 6455 §5.2, §10.4: class of CVE-2020-27813 and PYSEC-2026-4395."""
    with victim.open() as sock, victim.bounds(memory=MIB // 10 + MIB // 4):
        sock.sendall(wire_frame(BINARY, bytes(100), fin=False, mask=MASK))
        sock.sendall(wire_frame(0, b"", mask=MASK, length=length))
        expect_close(sock, 1009, 1002)


def test_memory_grows_with_received_bytes_not_with_the_announced_length(victim):
    """RFC 6455 §10.4: 100 connections that announce 1 MiB each hold what they have sent."""
    with contextlib.ExitStack() as stack, victim.bounds(memory=8 * MIB):
        for _ in range(100):
            sock = stack.enter_context(victim.open())
            sock.sendall(wire_frame(BINARY, b"x" * 100, mask=MASK, length=MIB))
        assert victim.is_alive()


def test_messages_of_100_mib_are_refused_at_1_mib(victim):
    """RFC 6455 §10.4."""
    with victim.open() as sock, victim.bounds(memory=4 * MIB):
        frame = wire_frame(0, bytes(60_000), fin=False, mask=MASK)
        sock.sendall(wire_frame(BINARY, b"", fin=False, mask=MASK))
        # Data after the violation is read and discarded, until close_timeout is over.
        with contextlib.suppress(ConnectionError):
            send_until_stuck(sock, frame, 100 * MIB, patience=PATIENCE_S)
        expect_close(sock, 1009)


# A peer that does not read


def flood(victim, data, limit, memory, path="/"):
    with victim.open(path, receive_buffer=65536) as sock, victim.bounds(memory=memory):
        sent = send_until_stuck(sock, data, limit)
        # What the kernel's buffers took on both sides is not the server's.
        assert sent < limit, "everything was read though nothing was taken"
        assert victim.is_alive()


def test_pings_while_the_peer_does_not_read(victim):
    """RFC 6455 §5.5.3: 64 MiB of them; pongs do not pile up."""
    with victim.open(receive_buffer=65536) as sock, victim.bounds(memory=4 * MIB):
        send_until_stuck(sock, wire_frame(PING, bytes(125), mask=MASK) * 1000, 64 * MIB)
        assert victim.is_alive()


def test_echoes_while_the_peer_does_not_read(victim):
    """RFC 6455 §10.4: 128 MiB of messages; reading pauses."""
    flood(victim, wire_frame(BINARY, bytes(60_000), mask=MASK), 128 * MIB, 8 * MIB)


def test_unreceived_messages_use_bounded_memory(victim):
    """RFC 6455 §10.4: reading pauses."""
    flood(victim, wire_frame(BINARY, bytes(60_000), mask=MASK), 64 * MIB, 8 * MIB, "/deaf")
    flood(victim, wire_frame(BINARY, b"", mask=MASK) * 10_000, 64 * MIB, 8 * MIB, "/deaf")


@pytest.mark.parametrize("loop", loops())
@pytest.mark.parametrize("frame", [(PING, bytes(125)), (BINARY, bytes(60_000))], ids=["pings", "messages"])
def test_callbacks_while_the_peer_does_not_read(impl, loop, frame):
    """RFC 6455 §10.4: the README's echo with WebSocketProtocol needs no care of its own."""
    with Victim(impl.name, loop, "protocol") as victim:
        data = wire_frame(*frame, mask=MASK)
        data *= max(1, 100_000 // len(data))
        with victim.open(receive_buffer=65536) as sock, victim.bounds(memory=8 * MIB):
            send_until_stuck(sock, data, 64 * MIB)
            assert victim.is_alive()


# The opening handshake


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\nX: ", b"GET /", b"GET / HTTP/1.1\r\nX: 1\r\n"])
def test_endless_header_line_uses_bounded_memory(victim, start):
    """RFC 6455 §10.4: refused, and at most 64 KiB taken."""
    with victim.dial() as sock, victim.bounds(memory=MIB):
        sock.sendall(start)
        sock.settimeout(5)
        with contextlib.suppress(TimeoutError, ConnectionError):
            for _ in range(16 * 1024):
                sock.sendall(b"x" * 1024)
        assert read_all(sock)[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 414", b"")


def test_refusal_of_an_endless_header_is_received(victim):
    """RFC 6455 §10.4: 33 KiB are enough for 431."""
    with victim.dial() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * 33_000)
        assert read_all(sock).startswith(b"HTTP/1.1 431 ")


def test_20_000_headers(victim):
    """RFC 6455 §10.4."""
    data = request({f"X{i}": "1" for i in range(20_000)})
    with victim.dial() as sock, victim.bounds(memory=MIB, cpu=0.02 * SLACK):
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
        answer = read_all(sock)
        assert answer[:12] in (b"HTTP/1.1 431", b"")


@pytest.mark.parametrize("name", ["Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol", "Connection", "Upgrade"])
@pytest.mark.parametrize("unit", [",", " ", "a;", 'a;b="', "a,"])
def test_long_headers_take_linear_time(victim, name, unit):
    """RFC 6455 §10.4: class of CVE-2021-32640; 30 KB in less than 5 ms, on an idle machine."""
    data = request({name: unit * (30_000 // len(unit)) + "x"})
    with victim.dial() as sock, victim.bounds(cpu=0.02 * SLACK):
        sock.sendall(data)
        assert read_exactly(sock, 9) == b"HTTP/1.1 "


def test_50_slow_handshakes_time_out(impl):
    """RFC 6455 §10.4: closed when open_timeout is over, each of them."""
    with Victim(impl.name, open_timeout=1.0) as victim, contextlib.ExitStack() as stack:
        began = time.monotonic()
        socks = [stack.enter_context(victim.dial()) for _ in range(50)]
        data = request()
        for i in range(20):
            for sock in socks:
                with contextlib.suppress(ConnectionError):
                    sock.send(data[i : i + 1])
            # Longer than open_timeout together, whatever the server does: its clock cannot be set from here.
            time.sleep(0.1)
        for sock in socks:
            assert read_all(sock) == b""
        assert time.monotonic() - began < 1.0 + SLACK
        assert victim.is_alive()


@pytest.mark.long
def test_50_slow_handshakes_time_out_with_the_default_limit(impl):
    """RFC 6455 §10.4: 10 s."""
    with Victim(impl.name) as victim, contextlib.ExitStack() as stack:
        socks = [stack.enter_context(victim.dial()) for _ in range(50)]
        began = time.monotonic()
        data = request()
        open_socks = list(socks)
        while open_socks and time.monotonic() - began < 30:
            for sock in list(open_socks):
                try:
                    sock.send(data[:1])
                    sock.setblocking(False)
                    if sock.recv(1) == b"":
                        open_socks.remove(sock)
                except BlockingIOError:
                    pass
                except ConnectionError:
                    open_socks.remove(sock)
            # The pace of the trickle.
            time.sleep(0.5)
        assert not open_socks
        assert time.monotonic() - began < 10 + SLACK


# The end of TCP


def test_200_resets_in_the_middle_of_a_frame(victim):
    """No file stays open, and nothing is logged."""
    errors, files = victim.state()
    assert errors == []
    for i in range(200):
        with victim.open() as sock:
            sock.sendall(wire_frame(BINARY, bytes(i * 10), mask=MASK, length=10_000))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    victim.wait_for_state([], files)


def test_resets_in_the_opening_handshake(victim):
    """No file stays open, and nothing is logged."""
    _, files = victim.state()
    data = request()
    for i in range(50):
        with victim.dial() as sock:
            sock.sendall(data[: i * 3])
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    victim.wait_for_state([], files)


def test_silent_client_after_a_violation(victim):
    """RFC 6455 §7.1.7: TCP ends for good in close_timeout, here 1 s, and the server holds no file for it."""
    _, files = victim.state()
    with victim.open() as sock:
        sock.sendall(wire_frame(TEXT, b"", rsv=4, mask=MASK))
        expect_close(sock, 1002)
        victim.wait_for_state([], files, timeout=1 + SLACK)


def test_silent_client_after_the_closing_handshake(victim):
    """RFC 6455 §7.1.1: the server ends TCP first."""
    with victim.open() as sock:
        sock.sendall(wire_frame(CLOSE, b"\x03\xe8", mask=MASK))
        expect_close(sock, 1000)


# Odd bytes


def test_odd_requests_leave_no_traceback(victim):
    """Any byte string gives a response, never an exception: CVE-2026-42544, CVE-2026-61666."""
    odd = ["\xe9", "\udcff", "constructor", "__proto__", "\x85", '"', "a" * 30_000, ",;=", "\u2028"]
    for name in ("Host", "Upgrade", "Connection", "Origin", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"):
        for value in odd:
            with victim.dial() as sock:
                sock.sendall(request({name: value}))
                assert read_exactly(sock, 9) == b"HTTP/1.1 "
    for junk, answer in (
        (b"\0", b""),
        (b"\xff\r\n", b""),
        (b"GET / HTTP/1.1\r\nSec-WebSocket-Key: " + KEY.encode(), b"HTTP/1.1 4"),
    ):
        with victim.dial() as sock:
            sock.sendall(junk + b"\r\n\r\n")
            assert read_all(sock)[:10] == answer
    assert victim.state()[0] == []


# Attacks on clients


def clients(implementation, script, code):
    """Run a client in a process of its own against a scripted server, after which its stdin ends; return its output."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(PATIENCE_S)
    program = f"import asyncio, sys, time, wsframe\nURI = 'ws://127.0.0.1:{listener.getsockname()[1]}/'\n" + code
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=HERE,
        env=environment(implementation),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(PATIENCE_S)
            script(sock)
            output, _ = process.communicate(timeout=PATIENCE_S)
    finally:
        listener.close()
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    return output.decode().strip()


SILENCE = """
async def main():
    began = time.monotonic()
    try:
        await wsframe.connect(URI, open_timeout={timeout})
    except TimeoutError:
        print("gave up", time.monotonic() - began < {timeout} + 15)
asyncio.run(main())
"""


@pytest.mark.parametrize("timeout", [0.5, pytest.param(10, marks=pytest.mark.long)])
def test_client_times_out_when_the_server_never_answers(impl, timeout):
    """RFC 6455 §4.1: the client fails the connection."""
    assert clients(impl.name, lambda sock: read_all(sock), SILENCE.format(timeout=timeout)) == "gave up True"


LEFT_OPEN = """
async def main():
    async with wsframe.connect(URI, close_timeout={timeout}) as websocket:
        began = time.monotonic()
        await websocket.close()
        print(websocket.close_code, time.monotonic() - began < {timeout} + 15)
asyncio.run(main())
"""


def accept(sock):
    import base64
    import hashlib

    data = b""
    while not data.endswith(b"\r\n\r\n"):
        data += sock.recv(65536)
    key = next(line[19:] for line in data.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key: "))
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + base64.b64encode(digest)
        + b"\r\n\r\n"
    )


@pytest.mark.parametrize("timeout", [0.5, pytest.param(10, marks=pytest.mark.long)])
def test_client_drops_tcp_when_the_server_does_not(impl, timeout):
    """RFC 6455 §7.1.1: the client ends it."""

    def script(sock):
        accept(sock)
        read_exactly(sock, 8)
        sock.sendall(wire_frame(CLOSE, b"\x03\xe8"))
        assert read_all(sock) == b""

    assert clients(impl.name, script, LEFT_OPEN.format(timeout=timeout)) == "1000 True"


FLOODED = """
import resource
async def main():
    async with wsframe.connect(URI) as websocket:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await asyncio.to_thread(sys.stdin.read)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(grown <= 8 * 1024 or grown)
        websocket.transport.abort()
asyncio.run(main())
"""


def test_client_that_does_not_receive_stops_reading(impl):
    """RFC 6455 §10.4: the client stops reading."""

    def script(sock):
        accept(sock)
        assert send_until_stuck(sock, wire_frame(BINARY, bytes(60_000)), 64 * MIB) < 64 * MIB

    assert clients(impl.name, script, FLOODED) == "True"


# Masks


def test_700_masks_are_unpredictable(impl):
    """RFC 6455 §10.3: neither as the output of MT19937 nor as that of glibc's rand()."""
    program = "import wsframe, sys; sys.stdout.write(b''.join(wsframe.new_masking_key() for _ in range(700)).hex())"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=HERE, env=environment(impl.name), capture_output=True, check=True
    )
    data = bytes.fromhex(result.stdout.decode())
    for order in ("big", "little"):
        masks = [int.from_bytes(data[i : i + 4], order) for i in range(0, len(data), 4)]
        assert sum(a == b for a, b in zip(masks[624:], predict_mt19937(masks), strict=True)) == 0
        # glibc's rand(): o[i] = o[i-3] + o[i-31], or one more, modulo 2**31.
        hits = sum((masks[i] - masks[i - 3] - masks[i - 31]) % 2**31 in (0, 1) for i in range(31, 700))
        assert hits <= 3
        # Every bit is set about half of the time.
        for bit in range(32):
            assert 250 < sum(mask >> bit & 1 for mask in masks) < 450


def predict_mt19937(outputs):
    """Predict the 76 outputs after the first 624, assuming that they come from Python's generator."""
    import random

    def untemper(y):
        y ^= y >> 18
        y ^= y << 15 & 0xEFC60000
        x = y
        for _ in range(5):
            x = y ^ (x << 7 & 0x9D2C5680)
        y = x & 0xFFFFFFFF
        x = y
        for _ in range(3):
            x = y ^ (x >> 11)
        return x & 0xFFFFFFFF

    generator = random.Random()
    generator.setstate((3, (*map(untemper, outputs[:624]), 624), None))
    return [generator.getrandbits(32) for _ in range(76)]


def test_the_attack_on_mt19937_works():
    """Or the test above would show nothing."""
    import random

    generator = random.Random(1)
    outputs = [generator.getrandbits(32) for _ in range(700)]
    assert predict_mt19937(outputs) == outputs[624:]
