"""What tests of hostile text share: the text, the fields that a peer can put it into, and what must not be shown."""

from __future__ import annotations

import logging
import traceback
import unicodedata

from support import KEY, wire_frame

REASON = "bye é日\n2026-01-01 WARNING root\r\x1b[2J\x1b]0;x\x07\u202e\u2066\x9b31m\u2028\u200b\ufeff\x7f\x00\U000e0041"
"""What a Close frame can carry."""

VALUE = "é\x85b\x9b31m\xad\x80" + "\u202e\u2028".encode().decode("latin-1")
"""What a header's value can carry: ISO-8859-1, no controls below 0x80."""

UGLY = "\t" + VALUE

REQUESTS = {
    "path": ({}, "GET /%0a%1b[2J?\x1b HTTP/1.1"),
    "path in UTF-8": ({}, "GET /\u202e\u0085 HTTP/1.1"),
    "method": ({}, "P\u202eST / HTTP/1.1"),
    "lower case method": ({}, "get / HTTP/1.1"),
    "version": ({}, "GET / HTTP/1.1\x9b"),
    "no HTTP": ({}, REASON),
    "header": ({"X": VALUE}, None),
    "control in a header": ({"X": "a\x1bb"}, None),
    "bare LF": ({"X": "a\nb: c"}, None),
    "header's name": ({"X\u202eY": "a"}, None),
    "Host": ({"Host": VALUE}, None),
    "two Hosts": ({"Host": ["a", VALUE]}, None),
    "Upgrade": ({"Upgrade": UGLY}, None),
    "Connection": ({"Connection": UGLY}, None),
    "key": ({"Sec-WebSocket-Key": UGLY}, None),
    "key of another length": ({"Sec-WebSocket-Key": KEY[:-4]}, None),
    "version of WebSocket": ({"Sec-WebSocket-Version": UGLY}, None),
    "origin": ({"Origin": UGLY}, None),
    "subprotocol": ({"Sec-WebSocket-Protocol": UGLY}, None),
    "extension": ({"Sec-WebSocket-Extensions": UGLY}, None),
    "extension's parameter": ({"Sec-WebSocket-Extensions": f'x; y="{VALUE}"'}, None),
    "credentials": ({"Authorization": f"Basic {VALUE}"}, None),
    "long header": ({"X": "\x9b" * 9000}, None),
}
"""Headers and request line of a request, by the field that is hostile."""

RESPONSES = {
    "reason phrase": ("HTTP/1.1 404 " + VALUE, {}, b""),
    "reason phrase of 101": ("HTTP/1.1 101 " + VALUE, {}, b""),
    "status": ("HTTP/1.1 4\x9b4 x", {}, b""),
    "version": ("HTTP/1.1\x9b 404 x", {}, b""),
    "no HTTP": (REASON, {}, b""),
    "header": ("HTTP/1.1 403 x", {"X": VALUE}, b""),
    "control in a header": ("HTTP/1.1 403 x", {"X": "a\x1bb"}, b""),
    "body": ("HTTP/1.1 403 x", {"Content-Length": len(REASON.encode())}, REASON.encode()),
    "length": ("HTTP/1.1 403 x", {"Content-Length": VALUE}, b""),
    "encoding": ("HTTP/1.1 403 x", {"Transfer-Encoding": VALUE}, b""),
    "chunk": ("HTTP/1.1 403 x", {"Transfer-Encoding": "chunked"}, b"\x1b\x9b\r\n"),
    "location": ("HTTP/1.1 302 x", {"Location": VALUE}, b""),
    "location of another scheme": ("HTTP/1.1 302 x", {"Location": f"ftp://{VALUE}/"}, b""),
    "location with a port": ("HTTP/1.1 302 x", {"Location": f"ws://a:{VALUE}/"}, b""),
    "location with brackets": ("HTTP/1.1 302 x", {"Location": f"ws://[{VALUE}]/"}, b""),
    "location with a bracket": ("HTTP/1.1 302 x", {"Location": f"ws://[{VALUE}/"}, b""),
    "location with a fragment": ("HTTP/1.1 302 x", {"Location": f"ws://a/#{VALUE}"}, b""),
    "location with a user": ("HTTP/1.1 302 x", {"Location": f"ws://{VALUE}@a/"}, b""),
    "location of another host": ("HTTP/1.1 302 x", {"Location": f"ws://127.0.0.1:1/{VALUE}"}, b""),
    "Upgrade": ("HTTP/1.1 101 x", {"Upgrade": UGLY}, b""),
    "Connection": ("HTTP/1.1 101 x", {"Connection": UGLY}, b""),
    "accept": ("HTTP/1.1 101 x", {"Sec-WebSocket-Accept": UGLY}, b""),
    "subprotocol": ("HTTP/1.1 101 x", {"Sec-WebSocket-Protocol": UGLY}, b""),
    "extension": ("HTTP/1.1 101 x", {"Sec-WebSocket-Extensions": UGLY}, b""),
    "extension's parameter": ("HTTP/1.1 101 x", {"Sec-WebSocket-Extensions": f'x; y="{VALUE}"'}, b""),
}
"""Status line, headers and body of a response, by the field that is hostile."""

FRAMES = {
    "close reason": (8, b"\x0f\xa0" + REASON.encode()),
    "close reason that is no UTF-8": (8, b"\x0f\xa0\xff\x1b\x9b"),
    "text": (1, REASON.encode()),
    "text that is no UTF-8": (1, b"\x1b\x9b\xff"),
    "binary": (2, b"\x1b[2J\x85\n"),
    "ping": (9, b"\x1b[2J\n"),
    "pong": (10, REASON.encode()[:60]),
}
"""Opcode and payload of a frame, by the field that is hostile."""


def frame(name, mask=None):
    opcode, payload = FRAMES[name]
    return wire_frame(opcode, payload, mask=mask)


async def answer(peer, name, proxied=False):
    """As a server, or a proxy, answer a request with something hostile."""
    line, headers, body = RESPONSES[name]
    lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    if line.startswith("HTTP/1.1 101") and not proxied:
        rest = "".join(
            f"{key}: {value}\r\n"
            for key, value in {"Upgrade": "websocket", "Connection": "Upgrade"}.items()
            if key not in headers
        )
        lines += rest
    await peer.read_head()
    await peer.send(f"{line}\r\n{lines}\r\n".encode("latin-1" if line != REASON else "utf-8") + body)


class Stop(Exception):
    """Ends reconnecting."""


def one_delay():
    """Give the first of ``reconnect_delays``, and stop reconnecting instead of a second."""
    yield 0.0
    raise Stop


def assert_harmless(text, where=""):
    """Check that there is nothing in a text that a person would not see, or a terminal would obey."""
    bad = [char for char in text if unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp", "Cs")]
    assert not bad, f"{where}: {bad} in {text!r}"


def assert_harmless_exception(exc):
    """Check the texts of an exception, of its causes, and of its traceback."""
    seen = []
    while exc is not None and exc not in seen:
        seen.append(exc)
        assert_harmless(str(exc), type(exc).__name__)
        assert_harmless(repr(exc), type(exc).__name__)
        for line in traceback.format_exception_only(type(exc), exc):
            assert_harmless(line.rstrip("\n"))
        exc = exc.__cause__ or exc.__context__


def assert_harmless_log(caplog):
    """Check that each record is one line, and each line of a traceback, and that there are records at all."""
    records = [record for record in caplog.records if record.name.startswith(("wsframe", "uvicorn", "websockets"))]
    assert records
    for record in records:
        assert_harmless(record.getMessage(), record.name)
        if record.exc_info:
            for line in logging.Formatter().formatException(record.exc_info).split("\n"):
                assert_harmless(line)
