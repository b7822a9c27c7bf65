"""Text that comes from a peer forges no log line and commands no terminal, wherever it is shown (threads)."""

from __future__ import annotations

import logging

import hostile
import pytest
from hostile import FRAMES, REASON, RESPONSES, assert_harmless_exception
from support import PATIENCE_S, raw_server, read_to_end
from threads import running

import wsframe
from wsframe import ConnectionClosed
from wsframe.sync.client import connect, reconnect


@pytest.fixture(autouse=True)
def everything_is_logged(caplog):
    caplog.set_level(logging.DEBUG)


@pytest.mark.parametrize("field", FRAMES)
def test_a_servers_frame_forges_no_text(field, caplog):
    async def script(peer):
        await peer.accept(trailing=hostile.frame(field))
        peer.writer.write_eof()
        await read_to_end(peer)

    with running(lambda: raw_server(script)) as server, connect(server.uri) as websocket:
        with pytest.raises(ConnectionClosed) as info:
            while True:
                websocket.recv(PATIENCE_S)
        if field == "close reason":
            assert websocket.close_reason == info.value.rcvd.reason == REASON
    assert_harmless_exception(info.value)
    hostile.assert_harmless_log(caplog)


@pytest.mark.parametrize("field", RESPONSES)
def test_a_response_forges_no_text(field, caplog):
    async def script(peer):
        await hostile.answer(peer, field)

    with running(lambda: raw_server(script)) as server:
        with pytest.raises((wsframe.WebSocketException, OSError, ValueError)) as info:
            connect(server.uri, subprotocols=["chat"], open_timeout=5)
    assert_harmless_exception(info.value)
    hostile.assert_harmless_log(caplog)


@pytest.mark.parametrize("field", [name for name in RESPONSES if not name.startswith("location")])
def test_a_proxys_answer_forges_no_text(field):
    async def script(peer):
        await hostile.answer(peer, field, proxied=True)

    with running(lambda: raw_server(script)) as server:
        with pytest.raises((wsframe.WebSocketException, OSError)) as info:
            connect("ws://localhost:1/", proxy=f"http://127.0.0.1:{server.port}", open_timeout=5)
    assert_harmless_exception(info.value)


def test_reconnecting_forges_no_log(caplog):
    async def script(peer):
        await hostile.answer(peer, "accept")

    with running(lambda: raw_server(script)) as server, pytest.raises(hostile.Stop):
        for _ in reconnect(server.uri, process_exception=lambda exc: None, reconnect_delays=hostile.one_delay):
            pass
    assert "reconnecting in" in caplog.text
    hostile.assert_harmless_log(caplog)
