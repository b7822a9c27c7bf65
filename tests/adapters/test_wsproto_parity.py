"""wsproto's API on wsframe's codec behaves as wsproto does: for any stream, however it is cut and read, and both ways.

A contender is the adapter, or wsproto itself while it is patched.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import zlib
from types import SimpleNamespace

import pytest
from hypothesis import given, settings, strategies as st

import wsframe
from wsframe import FrameParser, Role, serialize_frame

MODULES = ["connection", "events", "extensions", "frame_protocol", "handshake", "typing", "utilities"]


def load(package):
    modules = {name: importlib.import_module(f"{package}.{name}") for name in MODULES}
    return SimpleNamespace(package=importlib.import_module(package), **modules)


PLAIN = load("wsproto")
ADAPTER = load("wsframe.adapters.wsproto")


@contextlib.contextmanager
def adapted():
    yield ADAPTER


@contextlib.contextmanager
def patched():
    with wsframe.patch("wsproto"):
        yield PLAIN


CONTENDERS = {"adapter": adapted, "patch": patched}


@pytest.fixture(params=CONTENDERS, scope="module")
def contender(request):
    return CONTENDERS[request.param]


# What a peer may send

MASK = b"\x81\x00\xfe\x37"
TEXTS = st.text(alphabet="aé√😎", max_size=40)
PAYLOADS = TEXTS.map(str.encode) | st.binary(max_size=200) | st.just(b"x" * 70000)


class Stream:
    """Write what one end sends, right or wrong."""

    def __init__(self, client, deflate):
        self.mask = MASK if client else None
        self.compressor = zlib.compressobj(6, zlib.DEFLATED, -15) if deflate else None

    def frame(self, opcode, payload=b"", **bits):
        return serialize_frame(opcode, payload, mask=self.mask, **bits)

    def message(self, opcode, payload, cuts, compress):
        rsv1 = compress and self.compressor is not None
        if rsv1:
            payload = self.compressor.compress(payload) + self.compressor.flush(zlib.Z_SYNC_FLUSH)
            payload = payload[:-4]
        edges = [0, *sorted(cut % (len(payload) + 1) for cut in cuts), len(payload)]
        pieces = [payload[start:end] for start, end in itertools.pairwise(edges)]
        return [
            self.frame(0 if i else opcode, piece, fin=i == len(pieces) - 1, rsv1=rsv1 and not i)
            for i, piece in enumerate(pieces)
        ]


CUTS = st.lists(st.integers(0, 2**17), max_size=3)
PARTS = st.one_of(
    st.tuples(st.just("message"), TEXTS.map(str.encode), st.just(1), CUTS, st.booleans()),
    st.tuples(st.just("message"), PAYLOADS, st.sampled_from([1, 2]), CUTS, st.booleans()),
    st.tuples(st.just("control"), st.binary(max_size=125), st.sampled_from([9, 10])),
    st.tuples(st.just("close"), st.sampled_from([1000, 1001, 1013, 3000, 4999]), TEXTS.map(lambda text: text[:20])),
)
WRONG = st.one_of(
    st.tuples(st.just("control"), st.binary(max_size=140), st.integers(0, 15)),
    st.tuples(st.just("fragment"), PAYLOADS, st.sampled_from([0, 1, 2])),
    st.tuples(st.just("close"), st.sampled_from([0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000]), st.just("")),
    st.tuples(st.just("raw"), st.binary(min_size=1, max_size=20)),
)


def build(stream, parts):
    """Write the parts; pings come between the fragments of messages that are not compressed."""
    data = b""
    for kind, payload, *rest in parts:
        if kind == "message":
            opcode, cuts, compress = rest
            ping = b"" if compress and stream.compressor else stream.frame(9, b"between")
            data += ping.join(stream.message(opcode, payload, cuts, compress))
        elif kind == "control":
            data += stream.frame(rest[0], payload)
        elif kind == "fragment":
            data += stream.frame(rest[0], payload, fin=False)
        elif kind == "close":
            data += stream.frame(8, payload.to_bytes(2, "big") + rest[0].encode() if payload else b"")
        else:
            data += payload
    return data


def connect(library, client, deflate):
    extensions = []
    if deflate:
        extensions.append(library.extensions.PerMessageDeflate())
        extensions[0].finalize("permessage-deflate")
    return library.connection.Connection(library.connection.CLIENT if client else library.connection.SERVER, extensions)


def receive(library, client, deflate, pieces):
    """Feed each piece and read as many events as it says; return those before a violation, and the violation."""
    connection = connect(library, client, deflate)
    seen = []
    for step, (data, takes) in enumerate(pieces):
        try:
            connection.receive_data(data)
        except library.utilities.LocalProtocolError:
            seen.append((step, "refused"))
        for event in itertools.islice(connection.events(), takes):
            if connection.state.name == "OPEN" and type(event).__name__ == "CloseConnection":
                assert list(connection.events()) == []
                return seen, step, event.code
            seen.append((step, describe(event), connection.state.name))
    return seen, None, None


def describe(event):
    """Give an event as what is equal for both libraries, with the types of its fields."""
    fields = vars(event).items()
    return type(event).__name__, [(name, value, type(value).__name__) for name, value in fields]


STEPS = st.lists(st.tuples(st.integers(0, 5) | st.integers(0, 2**17), st.integers(0, 3)), max_size=8)


@given(
    client=st.booleans(),
    deflate=st.booleans(),
    right=st.lists(PARTS, max_size=5),
    wrong=st.lists(WRONG, max_size=1),
    trailing=st.lists(PARTS, max_size=1),
    steps=STEPS,
)
@settings(deadline=None, max_examples=400)
def test_receives_the_same_as_wsproto(contender, client, deflate, right, wrong, trailing, steps):
    data = build(Stream(not client, deflate), right + wrong + trailing)
    pieces = []
    pos = 0
    for size, takes in [*steps, (len(data), 10000)]:
        pieces.append((data[pos : pos + size], takes))
        pos += size
    if wrong:
        # wsproto checks whole headers. This ends one that has begun, and is a violation otherwise.
        pieces += [(b"\xff" * 200, 10000), (b"\xff" * 2, 10000)]
    expected = receive(PLAIN, client, deflate, pieces)
    with contender() as library:
        actual = receive(library, client, deflate, pieces)
    if expected[1] is None:
        assert actual == expected
    else:
        # We do not wait for the rest of a header that is wrong already.
        assert (actual[0], actual[2]) == (expected[0], expected[2])
        assert actual[1] <= expected[1]


# What an application may send

SENDABLE = st.one_of(
    st.tuples(st.just("TextMessage"), TEXTS | st.just("x" * 70000), st.booleans(), st.booleans()),
    st.tuples(st.just("BytesMessage"), PAYLOADS | PAYLOADS.map(bytearray), st.booleans(), st.booleans()),
    st.tuples(st.sampled_from(["Ping", "Pong"]), st.binary(max_size=130)),
    st.tuples(
        st.just("CloseConnection"),
        st.sampled_from([1000, 1001, 1005, 1006, 1011, 3000, None])
        | st.sampled_from([reason.name for reason in PLAIN.frame_protocol.CloseReason]),
        st.none() | TEXTS | st.just("√" * 42),
    ),
    st.tuples(st.just("Request"), st.just("localhost"), st.just("/")),
)


def send(library, client, deflate, sendables, peer_closes):
    """Send events; return the frames, or the name of the exception, that each leads to, and the state afterwards it."""
    connection = connect(library, client, deflate)
    if peer_closes:
        connection.receive_data(Stream(not client, False).frame(8, b"\x03\xe8"))
        assert len(list(connection.events())) == 1
    parser = FrameParser(Role.SERVER if client else Role.CLIENT, max_message_size=None, rsv1=deflate)
    result = []
    for kind, *fields in sendables:
        if kind == "CloseConnection" and isinstance(fields[0], str):
            fields[0] = library.frame_protocol.CloseReason[fields[0]]
        try:
            data = connection.send(getattr(library.events, kind)(*fields))
        except (library.utilities.LocalProtocolError, TypeError, ValueError) as exc:
            result.append((type(exc).__name__, connection.state.name))
            continue
        assert type(data) is bytes
        frames = parser.feed(data)
        assert parser.fault is None
        result.append((frames, connection.state.name))
    return result


@given(client=st.booleans(), sendables=st.lists(SENDABLE, max_size=6), peer_closes=st.booleans())
@settings(deadline=None)
def test_sends_the_same_as_wsproto(contender, client, sendables, peer_closes):
    expected = send(PLAIN, client, False, sendables, peer_closes)
    with contender() as library:
        assert send(library, client, False, sendables, peer_closes) == expected


@given(
    client=st.booleans(),
    messages=st.lists(st.lists(TEXTS, min_size=1, max_size=3) | st.lists(PAYLOADS, min_size=1, max_size=3), max_size=4),
)
@settings(deadline=None)
def test_wsproto_receives_compressed_messages(contender, client, messages):
    peer = connect(PLAIN, not client, True)
    with contender() as library:
        connection = connect(library, client, True)
        data = b""
        for message in messages:
            kind = library.events.TextMessage if isinstance(message[0], str) else library.events.BytesMessage
            for i, piece in enumerate(message):
                data += connection.send(kind(piece, message_finished=i == len(message) - 1))
    peer.receive_data(data)
    received = []
    pieces = []
    for event in peer.events():
        pieces.append(event.data)
        if event.message_finished:
            received.append(type(event.data)().join(pieces))
            pieces.clear()
    assert received == [type(message[0])().join(message) for message in messages]
