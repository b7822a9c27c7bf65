"""Direct reads and writes: used where they should be, and if not, a line says why.

A release of asyncio or uvloop whose transports are no longer recognized fails a test here by name: nothing else would
show but the time that everything takes.
"""

from __future__ import annotations

import asyncio
import logging

import pytest
from support import connection_of, dial_open, echo, port_of

import wsframe
from wsframe.asyncio.datapath.report import describe_data_path, log_data_path

HERE = "127.0.0.1"
COMPILED = wsframe.IMPLEMENTATION == "c"
PURE = "the pure implementation leaves it to the transport"


def loop_kind():
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


def expected(kind):
    if not COMPILED:
        return f"reads through the transport ({PURE}), writes through the transport ({PURE})"
    if kind == "uvloop":
        return "reads through the transport (uvloop.loop.TCPTransport reads by itself), writes directly"
    return "reads directly, writes directly"


async def test_transport_of_this_event_loop_is_recognized():
    async with wsframe.serve(echo, HERE, 0) as server, wsframe.connect(f"ws://{HERE}:{port_of(server)}") as client:
        await client.send("x")
        assert await client.recv() == "x"
        for connection in (client, await connection_of(server)):
            assert describe_data_path(connection) == expected(loop_kind())


async def test_transport_of_a_unix_socket_is_recognized(tmp_path):
    path = str(tmp_path / "s")
    async with wsframe.unix_serve(echo, path), wsframe.unix_connect(path) as client:
        description = describe_data_path(client)
    assert description == expected(loop_kind()).replace("TCPTransport", "UnixTransport")


@pytest.mark.skipif(not COMPILED, reason="there are no direct reads and writes")
@pytest.mark.parametrize(
    ("renamed", "reason"),
    [("name", "asyncio.selector_events.Renamed is not known"), ("_fatal_error", "has no _fatal_error")],
)
async def test_changed_transport_is_reported(monkeypatch, renamed, reason):
    """Everything works as before, and what has changed is said."""
    if loop_kind() == "uvloop":
        pytest.skip("uvloop's own class cannot be taken apart")
    cls = asyncio.selector_events._SelectorSocketTransport
    if renamed == "name":
        other = type("Renamed", (cls,), {"__module__": cls.__module__})
        monkeypatch.setattr(asyncio.selector_events, "_SelectorSocketTransport", other)
    else:
        base = asyncio.selector_events._SelectorTransport
        monkeypatch.setattr(cls, "_fatal", base._fatal_error, raising=False)
        monkeypatch.delattr(base, "_fatal_error")
    async with wsframe.serve(echo, HERE, 0) as server, wsframe.connect(f"ws://{HERE}:{port_of(server)}") as client:
        for text in ("x", "y" * 100_000):
            await client.send(text)
            assert await client.recv() == text
        connection = await connection_of(server)
        assert reason in describe_data_path(connection)
        assert ("writes directly" in describe_data_path(connection)) == (renamed != "name")
        if renamed != "name":
            # What the transport itself needs at its end.
            monkeypatch.undo()


@pytest.mark.skipif(not COMPILED, reason="there are no direct reads and writes")
async def test_class_with_its_own_read_path_is_reported():
    class Own(wsframe.ServerConnection):
        def buffer_updated(self, nbytes):
            super().buffer_updated(nbytes)

    async with wsframe.serve(echo, HERE, 0, create_connection=Own) as server, dial_open(server):
        description = describe_data_path(await connection_of(server))
    if loop_kind() != "uvloop":
        assert "Own overrides get_buffer or buffer_updated), writes directly" in description


async def test_one_line_for_each_event_loop(caplog):
    caplog.set_level(logging.DEBUG, "wsframe")
    async with wsframe.serve(echo, HERE, 0) as server:
        for _ in range(3):
            async with wsframe.connect(f"ws://{HERE}:{port_of(server)}"):
                pass
    (line,) = [record.message for record in caplog.records if record.message.startswith("data path of ")]
    assert line == f"data path of {type(asyncio.get_running_loop()).__name__}: {expected(loop_kind())}"


async def test_data_path_without_a_transport_is_described(caplog):
    caplog.set_level(logging.DEBUG, "wsframe")
    connection = wsframe.WebSocketProtocol()
    assert "through the transport" in describe_data_path(connection)
    assert log_data_path
