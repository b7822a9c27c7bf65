"""A reader of the opening handshake written plainly from the RFCs, which imports nothing of wsframe.

It reads whole heads and says what may be done with them. Where the RFCs leave a choice, it allows each. What it does
not look at, such as the characters that RFC 3986 forbids in a target, the generator does not make.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
from collections.abc import Iterable

TCHAR = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
TOKEN = re.compile(TCHAR + "+")
FIELD_LINE = re.compile(
    rf"({TCHAR}+):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[ \t\x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*"
)
"""RFC 9112 §5, RFC 9110 §5.5: no whitespace before the colon, no control characters, no folding."""

Fields = list[tuple[str, str]]


class Refused(Exception):
    """The head must be refused, with one of these statuses; what else is wrong would have others."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(*statuses)
        self.statuses = set(statuses)


def split_head(head: bytes) -> tuple[str, Fields]:
    """Split a head, its empty line included, into start line and fields (RFC 9112 §2.1)."""
    text = head.decode("latin-1")
    assert text.endswith("\r\n\r\n")
    start_line, *lines = text[:-4].split("\r\n")
    fields = []
    for line in lines:
        matched = FIELD_LINE.fullmatch(line)
        if matched is None:
            raise Refused(400)
        fields.append((matched[1].lower(), matched[2]))
    return start_line, fields


def values(fields: Fields, name: str) -> list[str]:
    return [value for other, value in fields if other == name]


def tokens(lines: Iterable[str]) -> list[str]:
    """Read a list of tokens (RFC 9110 §5.6.1); each may have a version as in Upgrade (RFC 9110 §7.8)."""
    elements = [element.strip(" \t") for line in lines for element in line.split(",")]
    found = [element for element in elements if element]
    for element in found:
        if not all(TOKEN.fullmatch(part) for part in element.split("/", 1)):
            raise Refused(400)
    return found


# The request


def judge_request(head: bytes, max_head: int, max_headers: int) -> set[int]:
    """Return the statuses that may answer a request (RFC 6455 §4.2); 101 alone if it is right."""
    statuses: set[int] = set()
    if len(head) > max_head:
        # RFC 9112 §3, RFC 6585 §5.
        statuses |= {414, 431}
    if head.count(b"\r\n") - 2 > max_headers:
        statuses.add(431)
    try:
        start_line, fields = split_head(head)
    except Refused as refused:
        return statuses | refused.statuses
    for check in (
        lambda: _check_request_line(start_line),
        lambda: _check_host(values(fields, "host")),
        lambda: _check_upgrade(fields),
        lambda: _check_key(values(fields, "sec-websocket-key")),
        lambda: _check_version(values(fields, "sec-websocket-version")),
        lambda: _check_body(fields),
        lambda: tokens(values(fields, "sec-websocket-protocol")),
        lambda: parse_extensions(values(fields, "sec-websocket-extensions")),
        lambda: _check_once(values(fields, "origin"), required=False),
    ):
        try:
            check()
        except Refused as refused:
            statuses |= refused.statuses
    return statuses or {101}


def _check_request_line(line: str) -> None:
    matched = re.fullmatch(rf"({TCHAR}+) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])", line)
    if matched is None:
        raise Refused(400)
    method, target, major, minor = matched.groups()
    if (major, minor) != ("1", "1"):
        raise Refused(505, 400, 426)
    if method != "GET":
        raise Refused(405, 400, 501)
    # RFC 9112 §3.2: origin-form, or absolute-form, which a server must accept too.
    if target.startswith("/"):
        return
    absolute = re.fullmatch(r"https?://([^/?#]*)([/?].*)?", target, re.IGNORECASE)
    if absolute is None:
        raise Refused(400)
    _check_host([absolute[1]])


def _check_host(lines: list[str]) -> None:
    """RFC 9112 §3.2: one Host, which is uri-host [":" port]."""
    if len(lines) != 1:
        raise Refused(400)
    matched = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]*))?", lines[0])
    if matched is None:
        raise Refused(400)
    host, port = matched.groups()
    if port and int(port) > 65_535:
        raise Refused(400)
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise Refused(400) from None
    # RFC 3986 §3.2.2: reg-name; it must not be empty.
    elif not re.fullmatch(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+", host) or "," in host:
        raise Refused(400)


def _check_upgrade(fields: Fields) -> None:
    try:
        upgrades = [token.lower() for token in tokens(values(fields, "upgrade"))]
        connections = [token.lower() for token in tokens(values(fields, "connection"))]
    except Refused:
        # Which of the two is read first is unspecified.
        raise Refused(426, 400) from None
    if "websocket" not in upgrades or "upgrade" not in connections:
        raise Refused(426, 400)


def _check_once(lines: list[str], required: bool = True) -> None:
    if len(lines) > 1 or (required and not lines):
        raise Refused(400)


def _check_key(lines: list[str]) -> None:
    _check_once(lines)
    try:
        key = base64.b64decode(lines[0].encode("latin-1"), validate=True)
    except binascii.Error:
        raise Refused(400) from None
    if len(key) != 16:
        raise Refused(400)


def _check_version(lines: list[str]) -> None:
    # RFC 6455 §4.2.2, §4.4: the answer to a missing or other version may list the right one.
    if lines != ["13"]:
        raise Refused(426, 400)


def _check_body(fields: Fields) -> None:
    if values(fields, "transfer-encoding"):
        raise Refused(400, 501)
    for value in values(fields, "content-length"):
        if value != "0":
            raise Refused(400)


# The response


def judge_response(heads: list[bytes], key: str, subprotocols: list[str], max_interim: int) -> set[bool]:
    """Return whether a client accepts a server's answer (RFC 6455 §4.1): yes, no, or either."""
    for number, head in enumerate(heads):
        try:
            start_line, fields = split_head(head)
        except Refused:
            return {False}
        matched = re.fullmatch(r"HTTP/1\.1 ([1-5][0-9][0-9]) [\t\x20-\x7e\x80-\xff]*", start_line)
        if matched is None:
            return {False}
        # RFC 9110 §15.2: interim responses come before the final one; 101 ends HTTP.
        if matched[1] != "101" and matched[1].startswith("1"):
            if number >= max_interim:
                return {False}
            continue
        if matched[1] != "101" or not _accepts(fields, key, subprotocols):
            return {False}
        # RFC 9112 §6.1, RFC 9110 §8.6: a server must not send them with 101, and the client's reaction is unspecified.
        return {True, False} if values(fields, "transfer-encoding") + values(fields, "content-length") else {True}
    return {False}


def accept_value(key: str) -> str:
    """RFC 6455 §4.2.2, step 5.4."""
    return base64.b64encode(hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()


def _accepts(fields: Fields, key: str, subprotocols: list[str]) -> bool:
    try:
        _check_upgrade(fields)
        chosen = tokens(values(fields, "sec-websocket-protocol"))
        extensions = parse_extensions(values(fields, "sec-websocket-extensions"))
    except Refused:
        return False
    if values(fields, "sec-websocket-accept") != [accept_value(key)]:
        return False
    if len(chosen) > 1 or any(one not in subprotocols for one in chosen):
        return False
    # Only permessage-deflate was offered, once, with client_max_window_bits.
    if len(extensions) > 1:
        return False
    return all(
        name == "permessage-deflate" and parameters_are_valid(parameters, False) for name, parameters in extensions
    )


# Sec-WebSocket-Extensions

Extensions = list[tuple[str, list[tuple[str, "str | None"]]]]


def parse_extensions(lines: Iterable[str]) -> Extensions:
    """Read lists of extensions (RFC 6455 §9.1); whitespace may stand between any two parts."""
    found: Extensions = []
    for line in lines:
        for element in _split(line, ","):
            if not element.strip(" \t"):
                continue
            name, *rest = _split(element, ";")
            parameters = [_parse_parameter(one) for one in rest]
            found.append((_token(name), parameters))
    return found


def _split(text: str, separator: str) -> list[str]:
    """Split at a separator that is not within quotes."""
    pieces, piece = [], ""
    for part in re.findall(rf'"(?:\\.|[^"\\])*"|{separator}|.', text, re.DOTALL):
        if part == separator:
            pieces.append(piece)
            piece = ""
        else:
            piece += part
    return [*pieces, piece]


def _token(text: str) -> str:
    text = text.strip(" \t")
    if not TOKEN.fullmatch(text):
        raise Refused(400)
    return text


def _parse_parameter(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    if not equals:
        return _token(name), None
    value = value.strip(" \t")
    quoted = re.fullmatch(r'"((?:\\.|[^"\\])*)"', value)
    if quoted is not None:
        # A quoted value must be a token, too.
        value = re.sub(r"\\(.)", r"\1", quoted[1])
        if not TOKEN.fullmatch(value):
            raise Refused(400)
        return _token(name), value
    return _token(name), _token(value)


def parameters_are_valid(parameters: list[tuple[str, str | None]], is_offer: bool) -> bool:
    """RFC 7692 §7.1: no parameter twice, none unknown, values as they must be."""
    names = [name for name, _ in parameters]
    if len(set(names)) < len(names):
        return False
    for name, value in parameters:
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            if value is not None:
                return False
        elif name in ("server_max_window_bits", "client_max_window_bits"):
            if value is None and name == "client_max_window_bits" and is_offer:
                continue
            if value is None or not re.fullmatch(r"8|9|1[0-5]", value):
                return False
        else:
            return False
    return True


def answer_fits(
    offer: list[tuple[str, str | None]], answer: list[tuple[str, str | None]], lenient: bool = False
) -> bool:
    """Return whether the offer allows a server's answer (RFC 7692 §7.1.1, §7.1.2).

    A lenient client takes it for granted that a server which does not repeat the largest window means that one.
    """
    offered, answered = dict(offer), dict(answer)
    if not parameters_are_valid(answer, False):
        return False
    if "server_no_context_takeover" in offered and "server_no_context_takeover" not in answered:
        return False
    unsaid = 15 if lenient else 16
    if int(answered.get("server_max_window_bits") or unsaid) > int(offered.get("server_max_window_bits") or 16):
        return False
    if "client_max_window_bits" in answered:
        if "client_max_window_bits" not in offered:
            return False
        if int(answered["client_max_window_bits"] or 0) > int(offered["client_max_window_bits"] or 15):
            return False
    return True
