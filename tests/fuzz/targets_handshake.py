"""Targets for the opening handshake: the heads of requests and responses, and the header of extensions."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from . import generate, reference_http
from .implementations import implementations
from .source import Source
from .targets import target

KEY = base64.b64encode(bytes(range(16))).decode()

REQUEST = [
    ("Host", "localhost:8765"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Version", "13"),
]

OTHER_VALUES = {
    "Host": [
        "example.com",
        "[::1]:80",
        "127.0.0.1",
        "a b",
        "a,b",
        "u@h",
        "a/b",
        "[::1",
        "[::g]",
        "h:x",
        "h:70000",
        "h:",
        "%41.b",
        "h:80:80",
        "é",
    ],
    "Upgrade": ["WebSocket", "h2c, websocket", "websocket/13", "h2c", "web socket", ",websocket,", "websocketx"],
    "Connection": ["keep-alive, Upgrade", "upgrade", "UPGRADE", "close", "Upgrade;x", "keep-alive,,upgrade", "upgrad"],
    "Sec-WebSocket-Key": [
        "",
        "AAAA",
        KEY[:-1],
        KEY + "=",
        " " + KEY + " ",
        KEY.replace("A", "*", 1),
        base64.b64encode(bytes(17)).decode(),
    ],
    "Sec-WebSocket-Version": ["8", "13, 8", "013", "+13", "", "13 ", "14"],
    "Sec-WebSocket-Protocol": ["chat", "chat, superchat", "a b", ",,chat,", "cha(t"],
    "Sec-WebSocket-Extensions": [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        'x; y="z"',
        "a b",
        "x;",
        ";x",
        'x; y="',
        "x=1",
        ",",
    ],
    "Sec-WebSocket-Accept": ["", "x"],
    "Origin": ["http://example.com", "null"],
    "Content-Length": ["0", "5", "x"],
    "Transfer-Encoding": ["chunked", "identity"],
    "Cookie": ["a=b; c=d", "x" * 400],
    "X-Other": ["\xe9", "tab\tbed", "", "\x7f", "a\0b", "a\rb", "a\nb", "folded\r\n more", "\x01"],
}
"""Values to replace the right ones, or to come beside them."""

START_LINES = [
    "GET / HTTP/1.1",
    "GET /chat?x=%20y HTTP/1.1",
    "GET http://localhost/chat HTTP/1.1",
    "GET //x/admin HTTP/1.1",
    "POST / HTTP/1.1",
    "get / HTTP/1.1",
    "GET / HTTP/1.0",
    "GET / HTTP/2.0",
    "GET / HTTP/01.1",
    "GET / http/1.1",
    "GET /  HTTP/1.1",
    "GET  / HTTP/1.1",
    " GET / HTTP/1.1",
    "GET / HTTP/1.1 ",
    "GET /",
    "GET * HTTP/1.1",
    "GET localhost:80 HTTP/1.1",
    "GET admin HTTP/1.1",
    "GET http:/admin HTTP/1.1",
    "CONNECT localhost:80 HTTP/1.1",
    "GET /\x80 HTTP/1.1",
    "G(T / HTTP/1.1",
]

STATUS_LINES = [
    "HTTP/1.1 101 Switching Protocols",
    "HTTP/1.1 101 ",
    "HTTP/1.1 101 \xe9",
    "HTTP/1.0 101 Switching Protocols",
    "HTTP/1.1 200 OK",
    "HTTP/1.1 404 Not Found",
    "HTTP/1.1 204 No Content",
    "HTTP/1.1 301 Moved",
    "HTTP/1.1 099 Low",
    "HTTP/1.1 600 High",
    "HTTP/1.1 1010 Long",
    "HTTP/1.1 10 Short",
    "HTTP/2.0 101 Switching Protocols",
    "HTTP/1.1  101 Switching Protocols",
    "http/1.1 101 Switching Protocols",
    "HTTP/1.1 101 a\x7fb",
    "SSH-2.0-OpenSSH",
]

MAX_INTERIM = 8
"""Interim responses that wsframe takes before the final one."""


def mutate_fields(source: Source, fields: list[tuple[str, str]], times: int) -> list[tuple[str, str]]:
    fields = list(fields)
    for _ in range(source.integer(0, times)):
        kind = source.integer(0, 6)
        names = list(OTHER_VALUES)
        if kind == 0 and fields:
            fields.pop(source.integer(0, len(fields) - 1))
        elif kind == 1 and fields:
            fields.insert(source.integer(0, len(fields)), source.choice(fields))
        elif kind == 2 and fields:
            place = source.integer(0, len(fields) - 1)
            name, value = fields[place]
            fields[place] = (source.choice((name.lower(), name.upper(), name + " ", " " + name, name + "(", "")), value)
        elif kind == 3 and fields:
            place = source.integer(0, len(fields) - 1)
            name, _ = fields[place]
            fields[place] = (
                name,
                source.choice(OTHER_VALUES.get(name.title().replace("Websocket", "WebSocket"), ["x"])),
            )
        else:
            name = source.choice(names)
            fields.insert(source.integer(0, len(fields)), (name, source.choice(OTHER_VALUES[name])))
    return fields


def write_head(source: Source, start_line: str, fields: list[tuple[str, str]]) -> bytes:
    """Write a head, at times with a line end or a character that must not be there."""
    text = (
        start_line + "\r\n" + "".join(f"{name}:{source.choice((' ', '', chr(9)))}{value}\r\n" for name, value in fields)
    )
    head = text.encode("latin-1") + b"\r\n"
    if source.chance(6):
        place = source.integer(0, len(head) - 4)
        damage = source.choice((b"\n", b"\r", b"\0", b"\r\n", b" ", b"\x0b", b"\r\n\r\n"))
        head = head[:place] + damage + head[place:]
    return head


def split_at_end(stream: bytes) -> tuple[bytes, bytes] | None:
    """Split at the first empty line; None if there is none."""
    head, end, rest = stream.partition(b"\r\n\r\n")
    return (head + end, rest) if end else None


@target("request-head")
def read_request(source: Source) -> Iterable[str]:
    """The server's side: bytes in, a status out."""
    start_line = source.choice(START_LINES) if source.chance(3) else START_LINES[0]
    head = write_head(source, start_line, mutate_fields(source, REQUEST, 3))
    stream = head + source.bytes(0, 4)
    limits = {"max_head_size": source.choice((32 * 1024, 200, 300)), "max_headers": source.choice((128, 5, 6))}
    ends = generate.cuts(source, len(stream))
    split = split_at_end(stream)
    assert split is not None
    wanted = reference_http.judge_request(split[0], *limits.values())
    results = []
    for implementation in implementations():
        factory = implementation.deflate.PerMessageDeflateFactory()
        handshake = implementation.handshake.ServerHandshake(
            extensions=[factory], limits=implementation.limits.Limits(**limits)
        )
        results.append(serve(implementation, handshake, generate.pieces(stream, ends)))
    assert results == results[:1] * len(results), results
    status, unread = results[0]
    where = (stream, ends, limits, status, wanted)
    if wanted == {101}:
        assert status == 101, where
        # What came in later reads belongs to the connection already, and is not the handshake's.
        assert split[1].startswith(unread), where
    elif status is None:
        # It is not the beginning of HTTP, so there is no answer; or the end is not recognized.
        assert 400 in wanted, where
    else:
        assert status in wanted, where
    return [f"{start_line} {status} {sorted(wanted)}", f"cuts {len(ends) > 1} {limits}"]


def serve(implementation: Any, handshake: Any, reads: list[bytes]) -> tuple[int | None, bytes]:
    """Return the status that answers what was read, None for none, and what is left of the read that ended the head."""
    exceptions = implementation.exceptions
    for piece in reads:
        try:
            request = handshake.receive_data(piece)
        except implementation.handshake.NotHTTPError:
            return None, b""
        except exceptions.InvalidHandshake as exc:
            response = handshake.refuse(exc)
            assert response.serialize()
            return response.status_code, b""
        if request is not None:
            response = handshake.accept(request)
            assert (response.status_code == 101) is (handshake.error is None)
            head = response.serialize()
            start_line, fields = reference_http.split_head(head.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
            assert start_line.startswith(f"HTTP/1.1 {response.status_code} ")
            if response.status_code == 101:
                key = request.headers["Sec-WebSocket-Key"]
                assert reference_http.values(fields, "sec-websocket-accept") == [reference_http.accept_value(key)]
            return response.status_code, handshake.unread
    return None, b""


@target("response-head")
def read_response(source: Source) -> Iterable[str]:
    """The client's side: bytes in, accepted or not."""
    subprotocols = source.choice(([], ["chat"], ["superchat", "chat"]))
    interim = source.choice((0, 0, 0, 1, 2, MAX_INTERIM, MAX_INTERIM + 1))
    code = source.choice(("100 Continue", "103 Early Hints", "102 Processing"))
    line = source.choice(STATUS_LINES) if source.chance(3) else STATUS_LINES[0]
    mutations = source.integer(0, 2)
    results = []
    for implementation in implementations():
        factory = implementation.deflate.PerMessageDeflateFactory()
        handshake = implementation.handshake.ClientHandshake(
            implementation.uri.parse_uri("ws://localhost/"), subprotocols=subprotocols or None, extensions=[factory]
        )
        results.append((implementation, handshake, handshake.build_request().headers["Sec-WebSocket-Key"]))
    # The key is random, but decisions must not depend on it.
    right = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", "{accept}")]
    fields = mutate_fields(source, right, mutations)
    template = b"".join(f"HTTP/1.1 {code}\r\nLink: x\r\n\r\n".encode() for _ in range(interim)) + write_head(
        source, line, fields
    )
    ends = generate.cuts(source, len(template), most=4)
    rest = source.bytes(0, 4)
    outcomes = []
    for implementation, handshake, key in results:
        stream = template.replace(b"{accept}", reference_http.accept_value(key).encode()) + rest
        heads = [head + b"\r\n\r\n" for head in stream.split(b"\r\n\r\n")[:-1]]
        wanted = reference_http.judge_response(heads, key, subprotocols, MAX_INTERIM)
        cut = [end for end in ends if end < len(stream)] + [len(stream)]
        outcome = ask(implementation, handshake, generate.pieces(stream, cut))
        assert outcome[0] in wanted, (stream, cut, outcome, wanted)
        if outcome[0]:
            # What came after the head in the same piece; the rest has not been fed.
            end = sum(map(len, heads[: interim + 1]))
            assert stream[end:].startswith(outcome[1]), (stream, outcome)
            assert end + len(outcome[1]) in cut, (stream, cut, outcome)
        outcomes.append(outcome)
    assert outcomes == outcomes[:1] * len(outcomes), outcomes
    return [f"{line} {interim} {outcomes[0][0]} {outcomes[0][2]}", f"cuts {len(ends) > 1}"]


def ask(implementation: Any, handshake: Any, reads: list[bytes]) -> tuple[bool, bytes, str]:
    """Return whether a client accepts what it reads, the rest of the read that ended the head, and the error."""
    exceptions = implementation.exceptions
    try:
        response = None
        for piece in reads:
            response = handshake.receive_data(piece)
            if response is not None:
                break
        if response is None:
            response = handshake.receive_eof()
        handshake.check(response)
    except exceptions.InvalidHandshake as exc:
        assert str(exc)
        return False, b"", type(exc).__name__
    return True, handshake.unread, ""


# Sec-WebSocket-Extensions

PARTS = (
    "permessage-deflate", "client_max_window_bits", "server_max_window_bits", "server_no_context_takeover",
    "client_no_context_takeover", "8", "9", "12", "15", "16", "7", "08", "x", "+9", ";", ";", ",", "=", "=", " ", "\t",
    '"', '"12"', '"1\\2"', '"a b"', '""', "\\", "(", "é", "\x00",
)  # fmt: skip


def extension_lines(source: Source) -> list[str]:
    """Draw values of the header: mostly right ones, or parts in any order."""
    lines = []
    for _ in range(source.integer(1, 2)):
        if source.chance(3):
            lines.append("".join(source.choice(PARTS) for _ in range(source.integer(0, 12))))
            continue
        elements = []
        for _ in range(source.integer(1, 3)):
            element = source.choice(("permessage-deflate", "permessage-deflate", "x-other", "Permessage-Deflate"))
            for _ in range(source.integer(0, 3)):
                space = source.choice(("", " ", "\t "))
                element += f"{space};{source.choice(('', ' '))}" + source.choice(PARTS[1:5])
                if source.boolean():
                    value = source.choice(PARTS[5:14])
                    value = source.choice((value, f'"{value}"', f'"\\{value}"'))
                    element += source.choice(("=", " = ")) + value
            elements.append(element)
        lines.append(source.choice((",", ", ", " ,,")).join(elements))
    return lines


@target("extension-header")
def read_extensions(source: Source) -> Iterable[str]:
    """The grammar of the header, and what is agreed on of permessage-deflate."""
    lines = extension_lines(source)
    try:
        wanted = reference_http.parse_extensions(lines)
    except reference_http.Refused:
        wanted = None
    bits = (None, 8, 9, 12, 15)
    options = {
        "server_max_window_bits": source.choice(bits),
        "client_max_window_bits": source.choice(bits),
        "server_no_context_takeover": source.boolean(),
        "client_no_context_takeover": source.boolean(),
    }
    for implementation in implementations():
        try:
            parsed = implementation.grammar.parse_extensions(lines)
        except implementation.exceptions.InvalidHeaderFormat:
            assert wanted is None, (lines, wanted)
            continue
        assert parsed == wanted, (lines, parsed, wanted)
        written = implementation.grammar.build_extensions(parsed)
        assert implementation.grammar.parse_extensions([written]) == parsed, (lines, written)
        factory = implementation.deflate.PerMessageDeflateFactory(**options)
        for name, parameters in parsed:
            if name == "permessage-deflate":
                check_offer(implementation, factory, parameters)
                check_answer(implementation, factory, parameters)
    words = [] if wanted is None else [name + str(sorted(dict(parameters))) for name, parameters in wanted]
    return [*words, f"{wanted is None} {len(wanted or '')}"]


def check_offer(implementation: Any, factory: Any, offer: list[tuple[str, str | None]]) -> None:
    """A server's answer to an offer."""
    valid = reference_http.parameters_are_valid(offer, True)
    try:
        answer, extension = factory.accept_offer(offer)
    except implementation.exceptions.NegotiationError:
        smallest = "8" in (dict(offer).get("server_max_window_bits"), str(factory.server_max_window_bits))
        assert not valid or smallest, (offer, factory)
        return
    assert valid, (offer, answer)
    assert reference_http.answer_fits(offer, answer), (offer, answer)
    agreed = dict(answer)
    # Both ends must come to the same parameters.
    assert extension.remote_no_context_takeover is ("client_no_context_takeover" in agreed), (offer, answer)
    assert "server_no_context_takeover" not in agreed or extension.local_no_context_takeover, (offer, answer)
    assert extension.remote_max_window_bits >= int(agreed.get("client_max_window_bits") or 15), (offer, answer)
    assert extension.local_max_window_bits <= int(agreed.get("server_max_window_bits") or 15), (offer, answer)


def check_answer(implementation: Any, factory: Any, answer: list[tuple[str, str | None]]) -> None:
    """A client's verdict on an answer to what it has offered."""
    (offer,) = factory.offer()
    fits = reference_http.answer_fits(offer, answer, lenient=True)
    try:
        extension = factory.accept_response(answer)
    except implementation.exceptions.NegotiationError:
        assert not fits, (offer, answer)
        return
    assert fits, (offer, answer)
    agreed = dict(answer)
    assert extension.remote_no_context_takeover is ("server_no_context_takeover" in agreed), (offer, answer)
    assert "client_no_context_takeover" not in agreed or extension.local_no_context_takeover, (offer, answer)
    assert extension.remote_max_window_bits >= int(agreed.get("server_max_window_bits") or 15), (offer, answer)
    assert extension.local_max_window_bits <= int(agreed.get("client_max_window_bits") or 15), (offer, answer)
