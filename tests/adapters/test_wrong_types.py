"""What is no bytes, and headers that are there already: the same for all adapters.

Of a number, ``bytes()`` makes that many zeros, and of a list its numbers: neither may reach the wire, or be a key.
"""

from __future__ import annotations

import array
import asyncio

import h11
import pytest
from support import BINARY, TEXT, soon
from test_hypercorn import dialed, running as hypercorn_running

import wsframe
from wsframe.adapters.wsaccel.utf8validator import Utf8Validator
from wsframe.adapters.wsaccel.xormask import XorMaskerNull, XorMaskerSimple, createXorMasker
from wsframe.adapters.wsproto import ConnectionType, WSConnection
from wsframe.adapters.wsproto.connection import CLIENT, SERVER, Connection
from wsframe.adapters.wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    Request,
)
from wsframe.adapters.wsproto.extensions import PerMessageDeflate
from wsframe.adapters.wsproto.handshake import H11Handshake
from wsframe.adapters.wsproto.utilities import LocalProtocolError

WRONG = [None, 4, 4.0, "text", [1, 2], object()]


class Bytes(bytes):
    """As numpy's: a subclass."""


KINDS = [b"abcd", Bytes(b"abcd"), bytearray(b"abcd"), memoryview(b"abcd"), array.array("B", b"abcd")]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_wsaccel_takes_only_bytes(wrong):
    for function in (
        XorMaskerSimple,
        createXorMasker,
        XorMaskerSimple(b"abcd").process,
        XorMaskerNull().process,
        Utf8Validator().validate,
    ):
        with pytest.raises(TypeError):
            function(wrong)


@pytest.mark.parametrize("data", KINDS, ids=repr)
def test_wsaccel_takes_all_bytes(data):
    assert XorMaskerSimple(data).process(data) == bytes(4)
    assert XorMaskerNull().process(data) == b"abcd"
    assert Utf8Validator().validate(data) == (True, True, 4, 4)


def deflate():
    extension = PerMessageDeflate()
    extension.accept("permessage-deflate")
    return [extension]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
@pytest.mark.parametrize("extensions", [list, deflate])
def test_wsproto_takes_only_bytes(wrong, extensions):
    connection = Connection(SERVER, extensions())
    for event in (Ping(wrong), Pong(wrong), BytesMessage(wrong)):
        # wsproto's messages are text or bytes, whatever they are called.
        if isinstance(wrong, str) and isinstance(event, BytesMessage):
            continue
        with pytest.raises(TypeError):
            connection.send(event)
    if wrong is not None:
        with pytest.raises(TypeError):
            connection.receive_data(wrong)
    assert list(connection.events()) == []
    # Nothing has changed.
    assert connection.send(Ping(b"p")) == b"\x89\x01p"


@pytest.mark.parametrize("data", KINDS[:4], ids=repr)
@pytest.mark.parametrize("extensions", [list, deflate])
def test_wsproto_takes_all_bytes(data, extensions):
    server, client = Connection(SERVER, extensions()), Connection(CLIENT, extensions())
    client.receive_data(bytearray(server.send(BytesMessage(data)) + server.send(Ping(data))))
    assert list(client.events()) == [BytesMessage(b"abcd"), Ping(b"abcd")]


@pytest.mark.parametrize("wrong", [4, "text", [1, 2]], ids=repr)
@pytest.mark.parametrize("patches", [("hypercorn", "wsproto"), ("hypercorn",)], ids="+".join)
async def test_hypercorn_sends_only_bytes(wrong, patches):
    raised = []

    async def app(receive, send):
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.receive"
        try:
            await send({"type": "websocket.send", "bytes": wrong})
        except TypeError as exc:
            raised.append(exc)
        await send({"type": "websocket.send", "bytes": Bytes(b"right")})
        await receive()

    with wsframe.patch(*patches):
        async with hypercorn_running(app) as port, dialed(port) as peer:
            await peer.send_frame(TEXT, b"go")
            await peer.expect(BINARY, b"right")
            await peer.send_close(1000)
            await soon(asyncio.sleep(0))
    assert len(raised) == 1


# Headers of the handshake, in wsproto's words


def server_with_request(**changes):
    server, client = WSConnection(ConnectionType.SERVER), WSConnection(ConnectionType.CLIENT)
    server.receive_data(client.send(Request(host="h", target="/", **changes)))
    return server, client


@pytest.mark.parametrize("name", ["Sec-WebSocket-Protocol", "sec-websocket-accept", "Connection", "Content-Length"])
@pytest.mark.parametrize("kind", [str, str.encode, lambda name: bytearray(name.encode())])
def test_header_of_the_handshake_cannot_be_duplicated(name, kind):
    server, _ = server_with_request(subprotocols=["x"])
    with pytest.raises(LocalProtocolError, match=f"only the handshake itself sends the header {name.lower()}"):
        server.send(AcceptConnection(subprotocol="x", extra_headers=[(kind(name), b"x")]))
    # It can be accepted otherwise.
    assert (
        server.send(AcceptConnection(subprotocol="x", extra_headers=[(b"y", b"1")])).count(b"WebSocket-Protocol") == 1
    )


@pytest.mark.parametrize("name", [b"Host", b"sec-websocket-key", b"Upgrade", b"Sec-WebSocket-Version"])
def test_header_of_the_request_cannot_be_duplicated(name):
    client = WSConnection(ConnectionType.CLIENT)
    with pytest.raises(LocalProtocolError, match="only the handshake itself sends the header"):
        client.send(Request(host="h", target="/", extra_headers=[(name, b"x")]))
    assert client.send(Request(host="h", target="/")).count(b"Host") == 1


@pytest.mark.parametrize("role", ConnectionType)
def test_accepting_without_a_request_is_an_error(role):
    with pytest.raises(LocalProtocolError, match="there is no request to accept in state CONNECTING"):
        H11Handshake(role).send(AcceptConnection())
    client = H11Handshake(ConnectionType.CLIENT)
    client.send(Request(host="h", target="/"))
    with pytest.raises(LocalProtocolError, match="there is no request to accept"):
        client.send(AcceptConnection())


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (204, [], []),
        (304, [], []),
        (304, [(b"Content-Length", b"9")], [b"9"]),
        (403, [], [b"0"]),
        (403, [(b"content-length", b"5"), ("Content-Length", "0")], [b"0"]),
    ],
)
def test_rejection_without_a_body(status, headers, expected):
    server, _ = server_with_request()
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="GET", target="/", headers=[("Host", "h")]))
    parser.send(h11.EndOfMessage())
    parser.receive_data(server.send(RejectConnection(status_code=status, headers=headers)))
    response = parser.next_event()
    assert response.status_code == status
    assert [value for name, value in response.headers if name == b"content-length"] == expected
    assert type(parser.next_event()) is h11.EndOfMessage


def test_unserializable_fragment_starts_no_message(monkeypatch):
    connection = Connection(SERVER)

    def fail(*args, **kwargs):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr("wsframe.adapters.wsproto.frame_protocol.serialize_frame", fail)
        with pytest.raises(MemoryError):
            connection.send(BytesMessage(b"one", message_finished=False))
    assert connection.send(BytesMessage(b"one", message_finished=False)) == b"\x02\x03one"
    assert connection.send(BytesMessage(b"two")) == b"\x80\x03two"


def test_close_twice_is_an_error():
    connection = Connection(SERVER)
    connection.send(CloseConnection(1000))
    with pytest.raises(LocalProtocolError):
        connection.send(CloseConnection(1000))
