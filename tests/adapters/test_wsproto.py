"""wsproto's API on wsframe's codec: names, opening handshake, extensions, and what differs from wsproto on purpose."""

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
from wsframe.adapters.wsproto.extensions import SUPPORTED_EXTENSIONS, Extension, PerMessageDeflate
from wsframe.adapters.wsproto.frame_protocol import (
    Buffer,
    CloseReason,
    Frame,
    FrameDecoder,
    FrameProtocol,
    MessageDecoder,
    Opcode,
    ParseFailed,
    RsvBits,
    XorMaskerNull,
    XorMaskerSimple,
)
from wsframe.adapters.wsproto.handshake import H11Handshake, client_extensions_handshake, server_extensions_handshake
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
    assert wsframe.adapters.wsproto.__version__ == wsproto.__version__


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


@pytest.mark.parametrize("behind", [b"", b"\x81\x05hel", b"\x81\x02hi\x89\x00"])
def test_bytes_behind_the_response_belong_to_the_connection(behind):
    client, server = WSConnection(CLIENT), WSConnection(SERVER)
    server.receive_data(client.send(Request(host="example.org", target="/")))
    client.receive_data(server.send(AcceptConnection()) + behind)
    expected = {b"": [], b"\x81\x05hel": [TextMessage("hel", False, False)]}
    assert list(client.events()) == [AcceptConnection(), *expected.get(behind, [TextMessage("hi"), Ping(b"")])]


def test_bytes_behind_the_request_belong_to_the_connection():
    client, server = WSConnection(CLIENT), WSConnection(SERVER)
    request = client.send(Request(host="example.org", target="/"))
    server.receive_data(request + serialize_frame(1, b"early", mask=MASK))
    assert [type(event) for event in server.events()] == [Request]
    server.send(AcceptConnection())
    assert list(server.events()) == [TextMessage("early")]


def test_request_that_somebody_else_has_parsed():
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
def test_end_of_the_stream_before_the_handshake_is_done(role):
    connection = WSConnection(role)
    if role is CLIENT:
        connection.send(Request("example.org", "/"))
        with pytest.raises(RemoteProtocolError, match="Bad HTTP message"):
            connection.receive_data(None)
    else:
        connection.receive_data(None)
    assert list(connection.events()) == []


def test_refuses_to_send_what_does_not_belong_into_a_handshake():
    with pytest.raises(LocalProtocolError, match="during the opening handshake"):
        H11Handshake(CLIENT).send(Ping())


def test_refuses_to_choose_a_subprotocol_that_was_not_offered():
    server = WSConnection(SERVER)
    server.receive_data(request_bytes())
    with pytest.raises(LocalProtocolError, match="unexpected subprotocol"):
        server.send(AcceptConnection(subprotocol="x"))


# The connection


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


def test_buffers_that_are_given_may_be_reused():
    server = Connection(SERVER)
    data = bytearray(serialize_frame(1, b"hello", mask=MASK))
    server.receive_data(data)
    data[:] = bytes(len(data))
    assert list(server.events()) == [TextMessage("hello")]


def test_message_that_is_neither_text_nor_bytes_cannot_be_sent():
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


def test_sends_nothing_behind_a_close_frame():
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


def test_reason_that_is_too_long_is_cut_between_characters():
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


# Extensions


class Shout(Extension):
    """An extension with RSV3: what a peer sends with it comes in capitals, and ends with a mark."""

    name = "x-shout"

    def __init__(self, refuse=None):
        self.refuse = refuse
        self.seen = []

    def enabled(self):
        return True

    def offer(self):
        return True

    def accept(self, offer):
        return True

    def frame_inbound_header(self, proto, opcode, rsv, payload_length):
        self.seen.append((opcode, rsv, payload_length))
        return self.refuse or RsvBits(False, False, True)

    def frame_inbound_payload_data(self, proto, data):
        return data.upper()

    def frame_inbound_complete(self, proto, fin):
        return b"!" if fin and not self.seen[-1][0].iscontrol() else None

    def frame_outbound(self, proto, opcode, rsv, data, fin):
        return rsv._replace(rsv3=True), data.lower()


def received(connection, data):
    connection.receive_data(data)
    return list(connection.events())


def test_extension_of_somebody_else():
    server = Connection(SERVER, [Shout()])
    data = serialize_frame(1, b"he", rsv3=True, fin=False, mask=MASK) + serialize_frame(9, b"x", mask=MASK)
    data += serialize_frame(0, b"y", mask=MASK) + serialize_frame(8, b"\x03\xe8bye", mask=MASK)
    assert received(server, data) == [
        TextMessage("HE", True, False),
        Ping(b"X"),
        TextMessage("Y!", True, True),
        CloseConnection(CloseReason.NORMAL_CLOSURE, "BYE"),
    ]


def test_extension_sees_each_header_once_and_parts_of_payloads():
    shout = Shout()
    client = Connection(CLIENT, [shout])
    data = serialize_frame(2, bytes(range(200)), rsv3=True) + serialize_frame(10, b"ab")
    parts = [event for byte in data for event in received(client, bytes([byte]))]
    assert [event.data for event in parts[:-2]] == [bytes([byte]).upper() for byte in range(199)]
    assert parts[-2:] == [BytesMessage(b"\xc7!"), Pong(b"AB")]
    assert shout.seen == [(Opcode.BINARY, RsvBits(False, False, True), 200), (Opcode.PONG, NO_BITS, 2)]


def test_extension_encodes_what_is_sent():
    data = Connection(SERVER, [Shout(), PerMessageDeflate()]).send(TextMessage("HELLO"))
    assert data == serialize_frame(1, b"hello", rsv3=True)
    with pytest.raises(ValueError, match="more than 125 bytes"):
        Connection(SERVER, [Shout()]).send(Ping(bytes(126)))


@pytest.mark.parametrize("reason", [CloseReason.MANDATORY_EXT, CloseReason.POLICY_VIOLATION])
def test_extension_fails_the_connection(reason):
    client = Connection(CLIENT, [Shout(refuse=reason)])
    assert [event.code for event in received(client, serialize_frame(1, b"x") * 2)] == [reason]
    assert received(client, serialize_frame(1, b"x")) == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (serialize_frame(2, b"", rsv1=True), 1002),
        (serialize_frame(2, b"", rsv2=True), 1002),
        (serialize_frame(2, b"", mask=MASK), 1002),
        (serialize_frame(3, b"") + b"..............", 1002),
        (serialize_frame(8, b"\x03\xe8\xff"), 1007),
        (serialize_frame(8, b"\x00\x00"), 1002),
        (serialize_frame(1, b"\xff"), 1007),
        (serialize_frame(0, b""), 1002),
        (serialize_frame(1, b"", fin=False) + serialize_frame(2, b""), 1002),
        (b"\x82\x7e\x00\x01", 1002),
        (b"\x82\x7f\x80" + bytes(7), 1002),
    ],
)
def test_violation_beside_an_extension(data, code):
    client = Connection(CLIENT, [Shout()])
    assert [event.code for event in received(client, data) if isinstance(event, CloseConnection)] == [code]
    assert received(client, data) == []


def test_empty_close_frame_beside_an_extension():
    assert received(Connection(CLIENT, [Shout()]), b"\x88\x00") == [CloseConnection(CloseReason.NO_STATUS_RCVD, "")]


def test_frames_of_a_decoder():
    decoder = FrameDecoder(client=False)
    decoder.receive_bytes(serialize_frame(2, b"abc", mask=MASK)[:-1])
    assert decoder.process_buffer() == Frame(Opcode.BINARY, b"ab", False, True)
    assert decoder.process_buffer() is None
    decoder.receive_bytes(serialize_frame(2, b"abc", mask=MASK)[-1:])
    assert decoder.process_buffer() == Frame(Opcode.CONTINUATION, b"c", True, True)


def test_frames_of_a_protocol():
    protocol = FrameProtocol(True, [])
    protocol.receive_bytes(serialize_frame(1, b"abc") + serialize_frame(9, b"") + serialize_frame(8, b"\x0f\xa0x"))
    assert list(protocol.received_frames()) == [
        Frame(Opcode.TEXT, "abc", True, True),
        Frame(Opcode.PING, b"", True, True),
        Frame(Opcode.CLOSE, (4000, "x"), True, True),
    ]
    protocol = FrameProtocol(True, [])
    protocol.receive_bytes(serialize_frame(1, b"\xff"))
    with pytest.raises(ParseFailed) as caught:
        list(protocol.received_frames())
    assert caught.value.code is CloseReason.INVALID_FRAME_PAYLOAD_DATA
    assert list(protocol.received_frames()) == []


def test_messages_of_a_decoder():
    decoder = MessageDecoder()
    assert decoder.process_frame(Frame(Opcode.TEXT, b"\xe2\x88", False, True)).payload == ""
    assert decoder.process_frame(Frame(Opcode.CONTINUATION, b"\x82", True, True)).payload == "\u2202"
    assert decoder.process_frame(Frame(Opcode.BINARY, b"\xe2", True, True)).payload == b"\xe2"


# permessage-deflate


@pytest.mark.parametrize(
    ("ours", "offer", "answer"),
    [
        ({}, "", ""),
        ({}, "; client_max_window_bits", "client_max_window_bits=15"),
        ({"client_max_window_bits": 11}, "; client_max_window_bits", "client_max_window_bits=11"),
        ({}, "; server_max_window_bits=9; x", "server_max_window_bits=9"),
        ({}, "; client_no_context_takeover", "client_no_context_takeover"),
        ({"server_no_context_takeover": True}, "", "server_no_context_takeover"),
        (
            {"client_no_context_takeover": True},
            "; server_max_window_bits = 10; client_max_window_bits=12; server_no_context_takeover",
            (
                "client_no_context_takeover; server_no_context_takeover; "
                "client_max_window_bits=12; server_max_window_bits=10"
            ),
        ),
        ({}, "; server_max_window_bits=8", None),
        ({}, "; client_max_window_bits=x", None),
    ],
)
def test_accepts_offers(ours, offer, answer):
    extension = PerMessageDeflate(**ours)
    assert extension.accept(PerMessageDeflate.name + offer) == answer
    assert extension.enabled() is (answer is not None)
    expected = answer and f"{PerMessageDeflate.name}; {answer}"
    header = server_extensions_handshake([PerMessageDeflate.name + offer], [PerMessageDeflate(**ours)])
    assert header == (expected if expected is None else (expected or PerMessageDeflate.name).encode())


def test_offers_and_shows_what_it_was_told():
    extension = PerMessageDeflate(True, 10, True, 9)
    assert extension.offer() == (
        "client_max_window_bits=10; server_max_window_bits=9; client_no_context_takeover; server_no_context_takeover"
    )
    assert repr(extension) == (
        "<PerMessageDeflate client_max_window_bits=10; client_no_context_takeover; "
        "server_max_window_bits=9; server_no_context_takeover>"
    )
    assert repr(PerMessageDeflate()) == "<PerMessageDeflate client_max_window_bits=15; server_max_window_bits=15>"
    assert SUPPORTED_EXTENSIONS["permessage-deflate"] is PerMessageDeflate
    with pytest.raises(ValueError, match="between 9 and 15"):
        extension.client_max_window_bits = 8


def test_negotiates_with_extensions_of_others():
    class No(Shout):
        def accept(self, offer):
            return False

    assert server_extensions_handshake(["x-shout"], [Shout()]) == b"x-shout"
    assert server_extensions_handshake(["x-shout", "x-other"], [No()]) is None
    shout = Shout()
    assert client_extensions_handshake(["x-shout; a=1"], [PerMessageDeflate(), shout]) == [shout]
    request = WSConnection(CLIENT).send(Request("example.org", "/", extensions=[Shout()]))
    assert b"Sec-WebSocket-Extensions: x-shout\r\n" in request


class Plain(Extension):
    """An extension that does nothing, with the defaults of ``Extension``."""

    name = "x-plain"

    def enabled(self):
        return True

    def offer(self):
        return False


def both_ends(*, with_another, **parameters):
    """Open a compressed connection, on one end or on both beside another extension."""
    ends = []
    for role in (CLIENT, SERVER):
        deflate = PerMessageDeflate(**parameters)
        deflate.finalize("permessage-deflate")
        ends.append(Connection(role, [deflate, Plain()] if with_another else [deflate]))
    return ends


def test_extension_that_does_nothing():
    plain = Plain()
    assert plain.accept("x-plain") is None
    assert plain.finalize("x-plain") is None
    assert not Extension.enabled(plain)
    assert b"Extensions" not in WSConnection(CLIENT).send(Request("example.org", "/", extensions=[plain]))
    assert received(Connection(CLIENT, [plain]), serialize_frame(1, b"x")) == [TextMessage("x")]


@pytest.mark.parametrize("with_another", [False, True])
@pytest.mark.parametrize("no_context_takeover", [False, True])
@pytest.mark.parametrize("client_sends", [False, True])
def test_compresses(with_another, no_context_takeover, client_sends):
    side = "client" if client_sends else "server"
    ends = both_ends(with_another=with_another, **{f"{side}_no_context_takeover": no_context_takeover})
    sender, receiver = ends if client_sends else reversed(ends)
    payload = bytes(range(100))
    sizes = []
    for _ in range(2):
        data = sender.send(BytesMessage(payload))
        sizes.append(len(data))
        assert received(receiver, data) == [BytesMessage(payload)]
    assert (sizes[0] == sizes[1]) is no_context_takeover
    data = sender.send(TextMessage("a" * 99, message_finished=False)) + sender.send(Ping(b"p"))
    data += sender.send(TextMessage("b" * 99, message_finished=True)) + sender.send(BytesMessage(b""))
    events = received(receiver, data)
    assert "".join(event.data for event in events if isinstance(event, TextMessage)) == "a" * 99 + "b" * 99
    assert events[1] == Ping(b"p")
    assert events[-1] == BytesMessage(b"")


@pytest.mark.parametrize("with_another", [False, True])
def test_uncompressed_message_where_compression_is_agreed_on(with_another):
    client, _ = both_ends(with_another=with_another)
    data = serialize_frame(1, b"a", fin=False) + serialize_frame(9, b"") + serialize_frame(0, b"b")
    assert received(client, data) == [TextMessage("a", True, False), Ping(b""), TextMessage("b")]


def raw_deflate(data):
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize("with_another", [False, True])
@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"\xff\xff", 1007), (raw_deflate(b"\xff"), 1007), (raw_deflate(b"abcabc")[:3], 1007)],
)
def test_message_that_cannot_be_decompressed(with_another, payload, code):
    client, _ = both_ends(with_another=with_another)
    events = received(client, serialize_frame(1, payload, rsv1=True))
    assert [event.code for event in events] == [code]
    assert received(client, serialize_frame(1, b"x")) == []


@pytest.mark.parametrize("with_another", [False, True])
def test_compressed_message_of_no_bytes_is_an_empty_one(with_another):
    client, _ = both_ends(with_another=with_another)
    compressed = zlib.compressobj(wbits=-15)
    payload = (compressed.compress(b"x" * 9) + compressed.flush(zlib.Z_SYNC_FLUSH))[:-4]
    data = serialize_frame(2, b"", rsv1=True) + serialize_frame(2, payload, rsv1=True)
    assert received(client, data) == [BytesMessage(b""), BytesMessage(b"x" * 9)]


@pytest.mark.parametrize("opcode", [0, 9])
def test_rsv1_where_it_does_not_belong(opcode):
    client, _ = both_ends(with_another=True)
    data = serialize_frame(2, b"", fin=False) + serialize_frame(opcode, b"", rsv1=True)
    assert [getattr(event, "code", None) for event in received(client, data)] == [None, 1002]


# What differs from wsproto on purpose


def test_bad_gateway_is_a_close_code():
    assert received(Connection(CLIENT), serialize_frame(8, b"\x03\xf6")) == [CloseConnection(1014, "")]


def test_control_frame_between_compressed_fragments():
    client, _ = both_ends(with_another=True)
    compressor = zlib.compressobj(wbits=-15)
    payload = (compressor.compress(b"x" * 100) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    data = serialize_frame(1, payload[:3], fin=False, rsv1=True) + serialize_frame(9, b"")
    events = received(client, data + serialize_frame(0, payload[3:]))
    assert "".join(event.data for event in events if isinstance(event, TextMessage)) == "x" * 100


def test_message_with_a_final_block():
    client, _ = both_ends(with_another=False)
    final = raw_deflate(b"hello")
    data = serialize_frame(1, final, rsv1=True) + serialize_frame(1, final, rsv1=True)
    assert received(client, data) == [TextMessage("hello"), TextMessage("hello")]


def test_short_messages_are_not_compressed():
    _, server = both_ends(with_another=False)
    assert server.send(TextMessage("short")) == serialize_frame(1, b"short")


# wsframe.patch("wsproto")


class Derived(wsproto.connection.Connection):
    """A connection as an application may have it, defined before anything is patched."""


@pytest.mark.parametrize("kind", [wsproto.connection.Connection, Derived])
def test_patch_reaches_what_was_imported_before(kind):
    data = serialize_frame(8, b"\x03\xf6")
    with wsframe.patch("wsproto"):
        (event,) = received(kind(wsproto.connection.CLIENT), data)
        assert type(event) is wsproto.events.CloseConnection
        # wsproto takes that code for a violation.
        assert event.code == 1014
        assert repr(event) == "CloseConnection(code=1014, reason='')"
    (event,) = received(kind(wsproto.connection.CLIENT), data)
    assert event.code == 1002


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


def test_patched_with_an_extension_of_somebody_else():
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
