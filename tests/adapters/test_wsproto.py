"""wsproto's API on wsframe's codec: names, opening handshake, connections and patching."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
import zlib

import pytest
import wsproto
from support import environment

import wsframe
from wsframe import serialize_frame
from wsframe.adapters.wsproto import ConnectionType, WSConnection
from wsframe.adapters.wsproto.connection import CLIENT, SERVER, Connection, ConnectionState
from wsframe.adapters.wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Message,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsframe.adapters.wsproto.extensions import PerMessageDeflate
from wsframe.adapters.wsproto.frame_protocol import Buffer, CloseReason, RsvBits, XorMaskerNull, XorMaskerSimple
from wsframe.adapters.wsproto.handshake import H11Handshake
from wsframe.adapters.wsproto.utilities import (
    LocalProtocolError,
    RemoteProtocolError,
    generate_accept_token,
    generate_nonce,
    normed_header_dict,
    split_comma_header,
)

MASK = b"\x12\x34\x56\x78"
NO_BITS = RsvBits(False, False, False)
MODULES = ["connection", "events", "extensions", "frame_protocol", "handshake", "typing", "utilities"]


# Names


def public_names(module):
    """Return the classes, functions and constants that a module of wsproto defines."""
    for name, value in vars(module).items():
        if name[0] != "_" and (name.isupper() or getattr(value, "__module__", None) == module.__name__):
            yield name


@pytest.mark.parametrize("name", MODULES)
def test_has_the_names_of_wsproto(name):
    theirs = importlib.import_module(f"wsproto.{name}")
    ours = importlib.import_module(f"wsframe.adapters.wsproto.{name}")
    names = {"Headers"} if name == "typing" else set(public_names(theirs)) - {"ABC", "TYPE_CHECKING"}
    assert names
    assert names <= set(vars(ours))
    for name in names:
        value = getattr(theirs, name)
        if isinstance(value, (int, bytes, tuple)):
            assert getattr(ours, name) == value


@pytest.mark.parametrize(
    "name",
    ["connection.ConnectionState", "connection.ConnectionType", "frame_protocol.Opcode", "frame_protocol.CloseReason"],
)
def test_enumerations_have_the_members_of_wsproto(name):
    module, _, name = name.partition(".")
    theirs = getattr(importlib.import_module(f"wsproto.{module}"), name)
    ours = getattr(importlib.import_module(f"wsframe.adapters.wsproto.{module}"), name)
    assert [(member.name, member.value) for member in ours] == [(member.name, member.value) for member in theirs]


@pytest.mark.parametrize(
    "name",
    [
        "connection.Connection",
        "events.Request",
        "events.AcceptConnection",
        "events.RejectConnection",
        "events.RejectData",
        "events.CloseConnection",
        "events.TextMessage",
        "events.BytesMessage",
        "events.Message",
        "events.Ping",
        "events.Pong",
        "extensions.PerMessageDeflate",
        "frame_protocol.FrameProtocol",
        "frame_protocol.FrameDecoder",
        "handshake.H11Handshake",
        "utilities.RemoteProtocolError",
    ],
)
def test_classes_have_the_methods_and_arguments_of_wsproto(name):
    module, _, name = name.partition(".")
    theirs = getattr(importlib.import_module(f"wsproto.{module}"), name)
    ours = getattr(importlib.import_module(f"wsframe.adapters.wsproto.{module}"), name)
    assert arguments(ours) == arguments(theirs)
    for member, function in inspect.getmembers(theirs, inspect.isfunction):
        if member[0] != "_" and hasattr(ours, member):
            assert arguments(getattr(ours, member)) == arguments(function)


def arguments(function):
    return [(parameter.name, parameter.default) for parameter in inspect.signature(function).parameters.values()]


def test_its_submodules_are_attributes():
    for name in MODULES:
        assert getattr(wsframe.adapters.wsproto, name).__name__ == f"wsframe.adapters.wsproto.{name}"
    ours, theirs = wsframe.adapters.wsproto.__version__, wsproto.__version__
    assert ours.rpartition(".")[0] == theirs.rpartition(".")[0]


def test_does_not_import_wsproto():
    code = (
        "import sys, wsframe.adapters.wsproto.installed; print([name for name in sys.modules if name[:7] == 'wsproto'])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment("py"), capture_output=True, text=True, check=True
    )
    assert result.stdout == "[]\n"


def test_events_are_immutable_values():
    assert TextMessage("a") == TextMessage(data="a", frame_finished=True, message_finished=True)
    assert TextMessage("a") != BytesMessage("a")
    assert hash(Ping(b"x")) == hash(Ping(payload=b"x"))
    assert repr(CloseConnection(1000)) == "CloseConnection(code=1000, reason=None)"
    assert isinstance(BytesMessage(b""), Message)
    with pytest.raises(AttributeError):
        TextMessage("a").data = "b"


def test_responses():
    assert Ping(b"x").response() == Pong(b"x")
    assert CloseConnection(1001, "bye").response() == CloseConnection(1001, "bye")


# The opening handshake


def shake_hands(request=None, answer=None):
    """Let two ends open a connection; return them, the request and the answer as they were received."""
    client, server = WSConnection(ConnectionType.CLIENT), WSConnection(ConnectionType.SERVER)
    assert (client.client, server.client) == (True, False)
    server.receive_data(client.send(request or Request(host="example.org", target="/")))
    (received,) = server.events()
    client.receive_data(server.send(answer or AcceptConnection()))
    (answered, *_) = client.events()
    return client, server, received, answered


def test_opens_a_connection():
    client, server, request, answer = shake_hands(
        Request(host="example.org", target="/a?b", subprotocols=["x", "y"], extra_headers=[(b"Cookie", b"c")]),
        AcceptConnection(subprotocol="y", extra_headers=[(b"Server", b"s")]),
    )
    assert (request.host, request.target, request.subprotocols) == ("example.org", "/a?b", ["x", "y"])
    assert (b"cookie", b"c") in request.extra_headers
    assert {b"host", b"sec-websocket-protocol"}.isdisjoint(dict(request.extra_headers))
    assert answer == AcceptConnection(subprotocol="y", extra_headers=[(b"server", b"s")])
    assert client.state is server.state is ConnectionState.OPEN
    server.receive_data(client.send(TextMessage("hello")))
    assert list(server.events()) == [TextMessage("hello")]
    assert repr(client.handshake) == "H11Handshake(client=True, state=ConnectionState.OPEN)"


@pytest.mark.parametrize("offer", [None, PerMessageDeflate(client_max_window_bits=10)])
def test_agrees_on_compression(offer):
    client, server, request, answer = shake_hands(
        Request(host="example.org", target="/", extensions=[offer] if offer else []),
        AcceptConnection(extensions=[PerMessageDeflate()]),
    )
    assert request.extensions == ([f"permessage-deflate; {offer.offer()}"] if offer else [])
    assert answer.extensions == ([offer] if offer else [])
    data = client.send(TextMessage("x" * 1000))
    assert (len(data) < 100) is bool(offer)
    server.receive_data(data)
    assert list(server.events()) == [TextMessage("x" * 1000)]


@pytest.mark.parametrize("trailing", [b"", b"\x81\x05hel", b"\x81\x02hi\x89\x00"])
def test_bytes_after_the_response_belong_to_the_connection(trailing):
    client, server = WSConnection(CLIENT), WSConnection(SERVER)
    server.receive_data(client.send(Request(host="example.org", target="/")))
    client.receive_data(server.send(AcceptConnection()) + trailing)
    expected = {b"": [], b"\x81\x05hel": [TextMessage("hel", False, False)]}
    assert list(client.events()) == [AcceptConnection(), *expected.get(trailing, [TextMessage("hi"), Ping(b"")])]


def test_bytes_after_the_request_belong_to_the_connection():
    client, server = WSConnection(CLIENT), WSConnection(SERVER)
    request = client.send(Request(host="example.org", target="/"))
    server.receive_data(request + serialize_frame(1, b"early", mask=MASK))
    assert [type(event) for event in server.events()] == [Request]
    server.send(AcceptConnection())
    assert list(server.events()) == [TextMessage("early")]


def test_request_parsed_by_another_library():
    server = WSConnection(SERVER)
    headers = [(b"Host", b"example.org"), (b"Connection", b"Upgrade"), (b"Upgrade", b"WebSocket")]
    headers += [(b"Sec-WebSocket-Version", b"13"), (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ==")]
    server.initiate_upgrade_connection(headers, "/path")
    (request,) = server.events()
    assert request.target == "/path"
    # RFC 6455 §1.3
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in server.send(AcceptConnection())
    with pytest.raises(LocalProtocolError):
        WSConnection(CLIENT).initiate_upgrade_connection(headers, "/path")


RIGHT = {
    b"Host": b"example.org",
    b"Connection": b"keep-alive, Upgrade",
    b"Upgrade": b"websocket",
    b"Sec-WebSocket-Version": b"13",
    b"Sec-WebSocket-Key": b"dGhlIHNhbXBsZSBub25jZQ==",
}


def request_bytes(method=b"GET", target=b"/", **changes):
    headers = RIGHT | {name.replace("_", "-").encode(): value for name, value in changes.items()}
    lines = [
        b"%s %s HTTP/1.1" % (method, target),
        *(b"%s: %s" % item for item in headers.items() if item[1] is not None),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "message", "status"),
    [
        (request_bytes(method=b"POST"), "Request method must be GET", 400),
        (request_bytes(Connection=None), "Missing header, 'Connection: Upgrade'", 400),
        (request_bytes(Connection=b"close"), "Missing header, 'Connection: Upgrade'", 400),
        (request_bytes(Connection=b"\xe9"), "Bad HTTP message", 400),
        (request_bytes(Upgrade=b"h2c"), "Missing header, 'Upgrade: websocket'", 400),
        (request_bytes(Sec_WebSocket_Version=b"8"), "Missing header, 'Sec-WebSocket-Version'", 426),
        (request_bytes(Sec_WebSocket_Version=None), "Missing header, 'Sec-WebSocket-Version'", 400),
        (request_bytes(Sec_WebSocket_Key=None), "Missing header, 'Sec-WebSocket-Key'", 400),
        (request_bytes(Host=b"\xff"), "Bad HTTP message", 400),
        (request_bytes(Host=None).replace(b"HTTP/1.1", b"HTTP/1.0"), "Missing header, 'Host'", 400),
        (b"nonsense\r\n\r\n", "Bad HTTP message", 400),
    ],
)
def test_refuses_a_request(data, message, status):
    server = WSConnection(SERVER)
    with pytest.raises(RemoteProtocolError) as caught:
        server.receive_data(data)
    assert str(caught.value) == message
    hint = caught.value.event_hint
    assert hint.status_code == status
    assert hint.headers == ([(b"Sec-WebSocket-Version", b"13")] if "Version" in message else [])


def response_bytes(nonce, **changes):
    headers = {
        b"Connection": b"Upgrade",
        b"Upgrade": b"websocket",
        b"Sec-WebSocket-Accept": generate_accept_token(nonce),
    } | {name.replace("_", "-").encode(): value for name, value in changes.items()}
    lines = [b"%s: %s" % item for item in headers.items() if item[1] is not None]
    return b"\r\n".join([b"HTTP/1.1 101 Switching Protocols", *lines]) + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Connection": None}, "Missing header, 'Connection: Upgrade'"),
        ({"Upgrade": None}, "Missing header, 'Upgrade: websocket'"),
        ({"Sec_WebSocket_Accept": b"wrong"}, "Bad accept token"),
        ({"Sec_WebSocket_Protocol": b"z"}, "unrecognized subprotocol z"),
        ({"Sec_WebSocket_Protocol": b"\xe9"}, "Bad HTTP message"),
        ({"Sec_WebSocket_Extensions": b"x-other"}, "unrecognized extension x-other"),
        (
            {"Sec_WebSocket_Extensions": b"permessage-deflate; server_max_window_bits=99"},
            "unacceptable extension permessage-deflate; server_max_window_bits=99",
        ),
    ],
)
def test_refuses_a_response(changes, message):
    client = WSConnection(CLIENT)
    request = client.send(Request("example.org", "/", extensions=[PerMessageDeflate()], subprotocols=["y"]))
    key = dict(line.split(b": ") for line in request.split(b"\r\n")[1:-2])[b"Sec-WebSocket-Key"]
    with pytest.raises(RemoteProtocolError) as caught:
        client.receive_data(response_bytes(key, **changes))
    assert str(caught.value) == message
    assert caught.value.event_hint == RejectConnection()


def test_rejects_without_a_body():
    client, server, _, answer = shake_hands(answer=RejectConnection(status_code=403, headers=[(b"X-Why", b"no")]))
    assert server.state is client.state is ConnectionState.CLOSED
    assert (answer.status_code, answer.has_body) == (403, True)
    assert (b"x-why", b"no") in answer.headers
    with pytest.raises(LocalProtocolError, match="cannot reject"):
        server.send(RejectConnection())


def test_rejects_with_a_body():
    client, server = WSConnection(CLIENT), WSConnection(SERVER)
    server.receive_data(client.send(Request("example.org", "/")))
    with pytest.raises(LocalProtocolError, match="cannot send a body"):
        server.send(RejectData(b""))
    headers = [(b"Content-Length", b"6")]
    client.receive_data(server.send(RejectConnection(404, headers, has_body=True)))
    assert [event.has_body for event in client.events()] == [True]
    assert client.state is server.state is ConnectionState.REJECTING
    client.receive_data(server.send(RejectData(b"not ", body_finished=False)) + server.send(RejectData(b"he")))
    assert b"".join(event.data for event in client.events()) == b"not he"
    assert client.state is server.state is ConnectionState.CLOSED


def test_informational_response_is_a_rejection():
    client = WSConnection(CLIENT)
    client.send(Request("example.org", "/"))
    client.receive_data(b"HTTP/1.1 102 Processing\r\n\r\n")
    assert list(client.events()) == [RejectConnection(status_code=102)]
    assert client.state is ConnectionState.CLOSED


@pytest.mark.parametrize("role", [CLIENT, SERVER])
def test_end_of_the_stream_before_the_handshake_completes(role):
    connection = WSConnection(role)
    if role is CLIENT:
        connection.send(Request("example.org", "/"))
        with pytest.raises(RemoteProtocolError, match="Bad HTTP message"):
            connection.receive_data(None)
    else:
        connection.receive_data(None)
    assert list(connection.events()) == []


def test_refuses_to_send_wrong_events_in_a_handshake():
    with pytest.raises(LocalProtocolError, match="during the opening handshake"):
        H11Handshake(CLIENT).send(Ping())


def test_refuses_to_choose_a_subprotocol_that_was_not_offered():
    server = WSConnection(SERVER)
    server.receive_data(request_bytes())
    with pytest.raises(LocalProtocolError, match="unexpected subprotocol"):
        server.send(AcceptConnection(subprotocol="x"))


# The connection


def received(connection, data):
    connection.receive_data(data)
    return list(connection.events())


@pytest.mark.parametrize("state", ["OPEN", "LOCAL_CLOSING", "REMOTE_CLOSING"])
def test_end_of_the_stream(state):
    server = Connection(SERVER)
    if state == "LOCAL_CLOSING":
        server.send(CloseConnection(1000))
    elif state == "REMOTE_CLOSING":
        assert len(received(server, serialize_frame(8, b"", mask=MASK))) == 1
        # RFC 6455 §5.5.1: nothing may follow a Close frame.
        assert received(server, serialize_frame(1, b"late", mask=MASK)) == []
    assert server.state is ConnectionState[state]
    server.receive_data(None)
    assert list(server.events()) == [CloseConnection(CloseReason.ABNORMAL_CLOSURE)]
    assert server.state is ConnectionState.CLOSED
    for data in (b"", b"x"):
        with pytest.raises(LocalProtocolError, match="closed"):
            server.receive_data(data)


def test_buffers_may_be_reused_after_the_call():
    server = Connection(SERVER)
    data = bytearray(serialize_frame(1, b"hello", mask=MASK))
    server.receive_data(data)
    data[:] = bytes(len(data))
    assert list(server.events()) == [TextMessage("hello")]


def test_message_of_a_wrong_type_cannot_be_sent():
    with pytest.raises(TypeError, match="not int"):
        Connection(SERVER).send(Message(5))


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (Pong(b"p"), b"\x8a\x01p"),
        (CloseConnection(CloseReason.NO_STATUS_RCVD), b"\x88\x00"),
        (CloseConnection(CloseReason.ABNORMAL_CLOSURE, "x"), b"\x88\x03\x03\xe8x"),
        (CloseConnection(4000), b"\x88\x02\x0f\xa0"),
    ],
)
def test_sends(event, data):
    assert Connection(SERVER).send(event) == data


def test_sends_fragments_of_one_type():
    server = Connection(SERVER)
    pieces = [server.send(TextMessage(text, message_finished=text == "c")) for text in "abc"]
    assert pieces == [b"\x01\x01a", b"\x00\x01b", b"\x80\x01c"]
    assert server.send(BytesMessage(memoryview(b"d"), message_finished=False)) == b"\x02\x01d"
    with pytest.raises(TypeError, match="mixed"):
        server.send(TextMessage("e"))


def test_sends_nothing_after_a_close_frame():
    server = Connection(SERVER)
    server.send(CloseConnection(1000))
    for event in (TextMessage("x"), Ping(), Pong(), CloseConnection(1000)):
        with pytest.raises(LocalProtocolError, match="in state LOCAL_CLOSING"):
            server.send(event)


@pytest.mark.parametrize("size", [126, 70000])
def test_long_payload_in_parts(size):
    data = serialize_frame(2, bytes(size))
    client = Connection(CLIENT)
    assert received(client, data[:-size]) == []
    assert received(client, data[-size:-1]) == [BytesMessage(bytes(size - 1), False, False)]
    assert received(client, data[-1:]) == [BytesMessage(b"\0")]


def test_long_reason_is_truncated_between_characters():
    data = Connection(SERVER).send(CloseConnection(1000, "√" * 42))
    assert data == serialize_frame(8, b"\x03\xe8" + ("√" * 41).encode())
    data = Connection(SERVER).send(CloseConnection(1000, "ab" + "√" * 41))
    assert data == serialize_frame(8, b"\x03\xe8ab" + ("√" * 40).encode())


@pytest.mark.parametrize("payload", ["ab√cd".encode(), b"\x00\x01\x02\x03\x04\x05\x06"])
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("role", [CLIENT, SERVER])
def test_fragments_byte_by_byte(payload, deflate, role):
    """Every frame is partial once, and every character is split."""
    is_text = payload[:1] == b"a"
    extensions = [PerMessageDeflate()] if deflate else []
    for extension in extensions:
        extension.finalize("permessage-deflate")
    if deflate:
        compressor = zlib.compressobj(wbits=-15)
        wire = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    else:
        wire = payload
    mask = MASK if role is SERVER else None
    data = serialize_frame(1 if is_text else 2, wire[:4], fin=False, rsv1=deflate, mask=mask)
    data += serialize_frame(9, b"p", mask=mask) + serialize_frame(0, wire[4:], mask=mask)
    connection = Connection(role, extensions)
    events = [event for byte in data for event in received(connection, bytes([byte]))]
    assert [event for event in events if isinstance(event, Ping)] == [Ping(b"p")]
    parts = [event for event in events if isinstance(event, TextMessage if is_text else BytesMessage)]
    joined = ("" if is_text else b"").join(event.data for event in parts)
    assert joined == (payload.decode() if is_text else payload)
    assert [event.message_finished for event in parts] == [False] * (len(wire) - 1) + [True]
    assert [i for i, event in enumerate(parts) if event.frame_finished] == [3, len(wire) - 1]


def test_reason_without_a_code_cannot_be_sent():
    server = Connection(SERVER)
    with pytest.raises(TypeError, match="without a code"):
        server.send(CloseConnection(None, "reason"))
    assert server.send(CloseConnection(None)) == b"\x88\x00"


# Helpers


def test_headers():
    assert normed_header_dict([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]) == {b"a": b"1, 3", b"b": b"2"}
    assert split_comma_header(b"a, b ,c") == ["a", "b", "c"]


def test_nonce():
    assert len({generate_nonce() for _ in range(10)}) == 10
    assert len(generate_nonce()) == 24


def test_buffer():
    buffer = Buffer(b"abc")
    assert buffer.consume_exactly(4) is None
    assert buffer.consume_exactly(2) == b"ab"
    buffer.rollback()
    assert buffer.consume_at_most(9) == b"abc"
    buffer.commit()
    buffer.feed(b"de")
    assert len(buffer) == 2


def test_maskers():
    masker = XorMaskerSimple(MASK)
    pieces = [bytes(masker.process(bytearray(piece))) for piece in (b"a", b"", b"bcdef", b"gh")]
    assert b"".join(pieces) == wsframe.apply_mask(b"abcdefgh", MASK)
    assert XorMaskerNull().process(bytearray(b"x")) == b"x"


# wsframe.patch("wsproto")


class Derived(wsproto.connection.Connection):
    """A connection as an application may have it, defined before anything is patched."""


@pytest.mark.parametrize("kind", [wsproto.connection.Connection, Derived])
def test_patch_applies_to_earlier_imports(kind):
    data = serialize_frame(8, b"\x03\xf6")
    with wsframe.patch("wsproto"):
        (event,) = received(kind(wsproto.connection.CLIENT), data)
        assert type(event) is wsproto.events.CloseConnection
        # wsproto takes that code for a violation.
        assert event.code == 1014
        assert repr(event) == "CloseConnection(code=1014, reason='')"
    (event,) = received(kind(wsproto.connection.CLIENT), data)
    assert event.code == 1002


@pytest.mark.parametrize(("annotation", "kind"), [("bytearray", bytearray), ("bytes | bytearray", bytes)])
def test_patched_data_equals_that_of_the_release(monkeypatch, annotation, kind):
    monkeypatch.setitem(wsproto.events.BytesMessage.__annotations__, "data", annotation)
    with wsframe.patch("wsproto"):
        server, client = (
            wsproto.connection.Connection(wsproto.connection.SERVER),
            wsproto.connection.Connection(wsproto.connection.CLIENT),
        )
        client.receive_data(server.send(wsproto.events.BytesMessage(b"data")))
        (event,) = client.events()
    assert type(event) is wsproto.events.BytesMessage
    assert type(event.data) is kind
    assert event.data == b"data"


def test_connections_outlive_patching():
    before = wsproto.connection.Connection(wsproto.connection.SERVER)
    with wsframe.patch("wsproto"):
        during = wsproto.connection.Connection(wsproto.connection.SERVER)
        check_still_works(before)
        check_still_works(during)
    check_still_works(before)
    check_still_works(during)


def check_still_works(server):
    text = serialize_frame(1, b"hello", mask=MASK)
    assert received(server, text[:-2]) == [wsproto.events.TextMessage("hel", False, False)]
    assert received(server, text[-2:] + serialize_frame(9, b"", mask=MASK)) == [
        wsproto.events.TextMessage("lo"),
        wsproto.events.Ping(),
    ]
    data = server.send(wsproto.events.BytesMessage(data=b"x"))
    assert (type(data), data) == (bytes, b"\x82\x01x")


def test_patched_handshake_and_compression():
    with wsframe.patch("wsproto"):
        client = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        server = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        offers = [wsproto.extensions.PerMessageDeflate()]
        server.receive_data(client.send(wsproto.events.Request("example.org", "/", extensions=offers)))
        assert len(list(server.events())) == 1
        accept = wsproto.events.AcceptConnection(extensions=[wsproto.extensions.PerMessageDeflate()])
        client.receive_data(server.send(accept))
        assert len(list(client.events())) == 1
        data = client.send(wsproto.events.TextMessage("x" * 1000))
        assert len(data) < 100
        server.receive_data(data)
        assert list(server.events()) == [wsproto.events.TextMessage("x" * 1000)]


def test_patched_with_a_third_party_extension():
    class Loud(wsproto.extensions.Extension):
        name = "x-loud"

        def enabled(self):
            return True

        def offer(self):
            return True

        def frame_inbound_payload_data(self, proto, data):
            assert isinstance(proto, wsproto.frame_protocol.FrameDecoder)
            return wsproto.frame_protocol.CloseReason.GOING_AWAY if data == b"go" else data.upper()

    with wsframe.patch("wsproto"):
        server = wsproto.connection.Connection(wsproto.connection.SERVER, [Loud()])
        data = serialize_frame(1, b"hey", mask=MASK) + serialize_frame(1, b"go", mask=MASK)
        text, failure = received(server, data)
        assert text == wsproto.events.TextMessage("HEY")
        assert failure.code is wsproto.frame_protocol.CloseReason.GOING_AWAY
