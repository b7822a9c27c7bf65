"""The opening handshake on bytes, for both roles (RFC 6455 §4). Rows H and C of the matrix."""

from __future__ import annotations

import base64
import re

import h11
import pytest
from hypothesis import given, strategies as st
from support import ACCEPT, KEY, RIGHT_REQUEST, head as build

from wsframe import exceptions
from wsframe.limits import Limits
from wsframe.opening import handshake as handshake_module
from wsframe.opening.handshake import ClientHandshake, ServerHandshake, accept_key
from wsframe.opening.head_reader import MAX_INTERIM_RESPONSES
from wsframe.opening.http import Response
from wsframe.opening.uri import parse_uri

REQUEST = {**RIGHT_REQUEST, "Host": "server.example.com"}


def request(headers=(), start_line="GET /chat HTTP/1.1"):
    return build(start_line, REQUEST, dict(headers))


def process(server, data):
    """Give a server data; return its response, or None if it needs more."""
    try:
        received = server.receive_data(data)
    except exceptions.InvalidHandshake as exc:
        return server.refuse(exc)
    return None if received is None else server.accept(received)


def answer(data, **options):
    """Let a server answer a request; return the response and the ServerHandshake, which has the error."""
    server = ServerHandshake(**options)
    response = process(server, data)
    assert response is not None
    response.serialize()
    return response, server


class TestServer:
    def test_right_request_is_accepted(self):
        """RFC 6455 §4.2.2: the response of §1.3."""
        response, server = answer(request())
        assert response.status_code == 101
        assert response.headers["Upgrade"] == "websocket"
        assert response.headers["Connection"] == "Upgrade"
        assert response.headers["Sec-WebSocket-Accept"] == ACCEPT
        assert "Date" in response.headers
        assert "Content-Length" not in response.headers
        assert server.error is None
        assert server.request.path == "/chat"

    @pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "OPTIONS", "get", "CONNECT"])
    def test_h1_other_methods_than_get_are_refused(self, method):
        """RFC 6455 §4.2.1: the method is GET."""
        response, server = answer(request(start_line=f"{method} /chat HTTP/1.1"))
        assert response.status_code == 405
        assert response.headers["Allow"] == "GET"
        assert isinstance(server.error, exceptions.InvalidMethod)

    @pytest.mark.parametrize("version", ["1.0", "0.9", "1.2", "2.0", "3"])
    def test_h2_other_versions_than_http_1_1_are_refused(self, version):
        """RFC 6455 §4.2.1: an HTTP/1.1 request; the upgrade does not exist in HTTP/2."""
        response, server = answer(request(start_line=f"GET /chat HTTP/{version}"))
        assert response.status_code in (400, 505)
        assert isinstance(server.error, (exceptions.InvalidProtocol, exceptions.InvalidMessage))

    @pytest.mark.parametrize("host", [None, ["a", "b"], ["a", "a"]])
    def test_h3_host_must_appear_once(self, host):
        """RFC 6455 §4.2.1 with RFC 9112 §3.2."""
        response, _ = answer(request({"Host": host}))
        assert response.status_code == 400

    @pytest.mark.parametrize("upgrade", ["websocket", "WebSocket", "h2c, websocket", ["h2c", "WEBSOCKET"]])
    def test_h4_upgrade_is_a_list_without_regard_to_case(self, upgrade):
        """RFC 6455 §4.2.1."""
        assert answer(request({"Upgrade": upgrade}))[0].status_code == 101

    @pytest.mark.parametrize("upgrade", [None, "", "h2c", "websockets", "web socket", "websocket;a"])
    def test_h4_upgrade_without_websocket_is_refused(self, upgrade):
        """RFC 6455 §4.2.1."""
        response, server = answer(request({"Upgrade": upgrade}))
        assert response.status_code in (400, 426)
        assert isinstance(server.error, (exceptions.InvalidUpgrade, exceptions.InvalidHeaderFormat))

    @pytest.mark.parametrize(
        "connection", ["Upgrade", "upgrade", "keep-alive, UPGRADE", "upgrade,keep-alive", ["close", "upgrade"]]
    )
    def test_h5_connection_is_a_list_without_regard_to_case(self, connection):
        """RFC 6455 §4.2.1."""
        assert answer(request({"Connection": connection}))[0].status_code == 101

    @pytest.mark.parametrize("connection", [None, "keep-alive", "upgrades"])
    def test_h5_connection_without_upgrade_is_refused(self, connection):
        """RFC 6455 §4.2.1; RFC 9110 §15.5.22 wants Upgrade with 426."""
        response, server = answer(request({"Connection": connection}))
        assert response.status_code == 426
        assert response.headers["Upgrade"] == "websocket"
        assert isinstance(server.error, exceptions.InvalidUpgrade)
        assert b"WebSocket client" in response.body

    @pytest.mark.parametrize(
        "key",
        [None, "", "AAAA", base64.b64encode(bytes(15)).decode(), base64.b64encode(bytes(17)).decode()]
        + ["?" * 24, KEY[:-2], KEY + "=", f"{KEY[:4]} {KEY[4:]}", "\xe9" * 24, [KEY, KEY], f"{KEY}, {KEY}"],
    )
    def test_h6_key_must_be_16_bytes_in_base64_once(self, key):
        """RFC 6455 §4.2.1, §11.3.1."""
        response, server = answer(request({"Sec-WebSocket-Key": key}))
        assert response.status_code == 400
        assert isinstance(server.error, exceptions.InvalidHeader)

    @pytest.mark.parametrize("version", [None, "12", "8", "", "14", "13, 12", "x", "013"])
    def test_h7_version_13_is_demanded_with_the_list_of_versions(self, version):
        """RFC 6455 §4.2.2, §4.4."""
        response, _ = answer(request({"Sec-WebSocket-Version": version}))
        assert response.status_code == 426
        assert response.headers["Sec-WebSocket-Version"] == "13"

    def test_h8_accept_is_that_of_the_rfc(self):
        """RFC 6455 §1.3."""
        assert accept_key(KEY) == ACCEPT

    @pytest.mark.parametrize("offered", ["a, b", "b,a", ["a", "b"], "x, b, a"])
    def test_h9_subprotocol_is_the_first_of_ours_that_is_offered(self, offered):
        """RFC 6455 §4.2.2, step 5.5."""
        response, server = answer(request({"Sec-WebSocket-Protocol": offered}), subprotocols=["c", "b", "a"])
        assert response.headers["Sec-WebSocket-Protocol"] == server.subprotocol == "b"

    def test_h9_without_a_common_subprotocol_none_is_selected(self):
        """RFC 6455 §4.2.2: the header is absent."""
        response, server = answer(request({"Sec-WebSocket-Protocol": "a, b"}))
        assert response.status_code == 101
        assert "Sec-WebSocket-Protocol" not in response.headers
        assert server.subprotocol is None

    @pytest.mark.parametrize(("offered", "message"), [(None, "missing subprotocol"), ("d", "expected one of a, b")])
    def test_h9_client_without_a_common_subprotocol_is_refused(self, offered, message):
        response, server = answer(request({"Sec-WebSocket-Protocol": offered}), subprotocols=["a", "b"])
        assert response.status_code == 400
        assert isinstance(server.error, exceptions.NegotiationError)
        assert message in str(server.error)

    def test_h9_application_selects_the_subprotocol(self):
        seen = []

        def select(offered):
            seen.append(offered)
            return offered[-1] if offered else None

        response, _ = answer(request({"Sec-WebSocket-Protocol": "a, b"}), select_subprotocol=select)
        assert response.headers["Sec-WebSocket-Protocol"] == "b"
        response, _ = answer(request(), select_subprotocol=select)
        assert response.status_code == 101
        assert seen == [["a", "b"], []]

    def test_h9_application_cannot_select_what_was_not_offered(self):
        """RFC 6455 §4.2.2: a bug of the application, not of the client."""
        with pytest.raises(ValueError, match="did not offer"):
            answer(request({"Sec-WebSocket-Protocol": "a"}), select_subprotocol=lambda offered: "b")

    @pytest.mark.parametrize("offered", ["\xe9", "\udcff", "a\xe9, b", "a b", "constructor, a;b", "/"])
    def test_h9_odd_offer_is_refused_with_400(self, offered):
        """RFC 6455 §4.1: tokens; CVE-2026-42544 is a server that crashed on one."""
        response, _ = answer(request({"Sec-WebSocket-Protocol": offered}), subprotocols=["a"])
        assert response.status_code == 400

    @pytest.mark.parametrize("offer", [None, "x-foo", "permessage-deflate; client_max_window_bits", ["a", "b; c=1"]])
    def test_h10_no_extension_is_in_the_response(self, offer):
        """RFC 6455 §9.1: none that was not offered, none that we do not speak."""
        response, _ = answer(request({"Sec-WebSocket-Extensions": offer}))
        assert response.status_code == 101
        assert "Sec-WebSocket-Extensions" not in response.headers

    @pytest.mark.parametrize("offer", ["a;", "a b", "a; b=", 'a; b="c', "\xe9", "constructor(", "="])
    def test_h10_extensions_that_do_not_follow_the_grammar_are_refused(self, offer):
        """RFC 6455 §9.1."""
        response, _ = answer(request({"Sec-WebSocket-Extensions": offer}))
        assert response.status_code == 400

    @pytest.mark.parametrize(
        ("origins", "origin"),
        [
            (None, "http://evil.example"),
            (["http://a.example", "http://b.example"], "http://b.example"),
            (["http://a.example", None], None),
            ([re.compile(r"https?://[a-z]+\.example")], "https://b.example"),
            ([None, re.compile("http://b.example")], "http://b.example"),
        ],
    )
    def test_h11_allowed_origins_are_accepted(self, origins, origin):
        """RFC 6455 §10.2."""
        response, server = answer(request({"Origin": origin}), origins=origins)
        assert response.status_code == 101
        assert server.origin == origin

    @pytest.mark.parametrize(
        ("origins", "origin"),
        [
            (["http://a.example"], "http://evil.example"),
            (["http://a.example"], None),
            (["http://a.example"], "null"),
            (["http://a.example"], "http://A.example"),
            ([], "http://a.example"),
            ([re.compile("http://b.example")], "http://b.example.evil"),
            ([re.compile("http://b.example")], None),
        ],
    )
    def test_h11_foreign_origins_are_refused_with_403(self, origins, origin):
        """RFC 6455 §10.2."""
        response, server = answer(request({"Origin": origin}), origins=origins)
        assert response.status_code == 403
        assert isinstance(server.error, exceptions.InvalidOrigin)

    def test_h11_two_origins_are_refused(self):
        """RFC 6454 §7.3."""
        response, _ = answer(request({"Origin": ["http://a.example", "http://b.example"]}))
        assert response.status_code == 400

    def test_h12_head_of_the_largest_size_is_accepted(self):
        """RFC 6455 §10.4: the limit is exact."""
        limits = Limits()
        size = limits.max_head_size - len(request({"X": ""}))
        assert answer(request({"X": "x" * size}))[0].status_code == 101
        response, server = answer(request({"X": "x" * (size + 1)}))
        assert response.status_code == 431
        assert isinstance(server.error, exceptions.HeaderLineTooLong)

    def test_h12_most_headers_are_accepted(self):
        """RFC 6455 §10.4."""
        room = Limits().max_headers - len(REQUEST)
        assert answer(request({f"X{i}": "" for i in range(room)}))[0].status_code == 101
        response, server = answer(request({f"X{i}": "" for i in range(room + 1)}))
        assert response.status_code == 431
        assert isinstance(server.error, exceptions.TooManyHeaders)

    def test_h12_header_line_without_end_is_refused_at_the_limit(self):
        """RFC 6455 §10.4: not one byte later, however the data is cut."""
        server = ServerHandshake()
        sent = 0
        with pytest.raises(exceptions.HeaderLineTooLong):
            for piece in (b"GET / HTTP/1.1\r\nX: ", *[b"x" * 1000] * 1000):
                server.receive_data(piece)
                sent += len(piece)
        assert sent <= Limits().max_head_size

    def test_h12_request_line_without_end_is_refused(self):
        """RFC 6455 §10.4."""
        server = ServerHandshake(limits=Limits(max_head_size=100))
        with pytest.raises(exceptions.RequestLineTooLong) as info:
            server.receive_data(b"GET /" + b"a" * 100)
        response = server.refuse(info.value)
        assert response.status_code == 414

    @pytest.mark.parametrize(
        "head",
        [
            request({"X ": "1"}),
            request({" X": "1"}),
            request({"X": "1\r\n folded"}),
            request({"X": "1\r\n\tfolded"}),
            request({"X": "a\0b"}),
            request({"X": "a\rb"}),
            request({"X": "a\nY: b"}),
            request({"X": "a\x0bb"}),
            request({"X": "a\x7fb"}),
            request({"": "1"}),
            request({"X\xe9": "1"}),
            request().replace(b"Host:", b"Host"),
            request().replace(b"\r\n", b"\n", 1),
            b"\n" + request(),
            b"\r\n\r\n" + request(),
            request(start_line="GET  /chat HTTP/1.1"),
            request(start_line="GET /ch at HTTP/1.1"),
            request(start_line="GET /ch\xe9t HTTP/1.1"),
            request(start_line="GET /chat"),
            request(start_line="GET /chat HTTPS/1.1"),
            request(start_line="G\0T /chat HTTP/1.1"),
            request(start_line=" GET /chat HTTP/1.1"),
            bytes.fromhex("160301") + b"\r\n\r\n",
            b"\xff" * 10 + b"\r\n\r\n",
        ],
    )
    def test_h13_head_that_does_not_follow_the_grammar_is_refused(self, head):
        """RFC 9112 §2.2, §5.1, §5.2."""
        response, server = answer(head)
        assert response.status_code == 400
        assert isinstance(server.error, exceptions.InvalidMessage)

    def test_h13_empty_lines_before_the_request_line_change_nothing(self):
        """RFC 9112 §2.2: a server should ignore at least one."""
        response, _ = answer(b"\r\n" + request())
        assert response.status_code in (101, 400)

    @given(st.binary(max_size=200))
    def test_h13_any_bytes_give_a_response_and_never_another_exception(self, junk):
        """RFC 6455 §4.2.1: granian's CVE-2026-42544 was a crash on an odd header."""
        for data in (junk + b"\r\n\r\n", request({"Sec-WebSocket-Protocol": junk.decode("latin-1")})):
            response = process(ServerHandshake(subprotocols=["a"]), data)
            assert response is None or response.serialize().startswith(b"HTTP/1.1 ")

    @pytest.mark.parametrize("headers", [{"Content-Length": "5"}, {"Transfer-Encoding": "chunked"}])
    def test_request_with_a_body_is_refused(self, headers):
        """RFC 6455 §4.1: the body would be taken for frames."""
        response, _ = answer(request(headers))
        assert response.status_code == 400

    def test_request_that_says_it_has_no_body_is_accepted(self):
        assert answer(request({"Content-Length": "0"}))[0].status_code == 101

    def test_h15_bytes_after_the_head_are_left_over(self):
        """RFC 6455 §4.2.2: they belong to the WebSocket stream."""
        _, server = answer(request() + b"\x81\x80\0\0\0\0")
        assert server.unread == b"\x81\x80\0\0\0\0"

    def test_h15_request_may_come_one_byte_at_a_time(self):
        """RFC 6455 §4.2.1."""
        server = ServerHandshake()
        data = request()
        for i in range(len(data) - 1):
            assert server.receive_data(data[i : i + 1]) is None
        assert server.accept(server.receive_data(memoryview(data)[-1:])).status_code == 101

    @pytest.mark.parametrize("versions", [["13", "13"], ["13", "12"]])
    def test_h16_version_may_not_be_repeated(self, versions):
        """RFC 6455 §11.3.5."""
        response, _ = answer(request({"Sec-WebSocket-Version": versions}))
        assert response.status_code in (400, 426)

    def test_h16_protocols_and_extensions_may_be_repeated(self):
        """RFC 6455 §11.3.2, §11.3.4."""
        headers = {"Sec-WebSocket-Protocol": ["a", "b"], "Sec-WebSocket-Extensions": ["x", "y"]}
        response, _ = answer(request(headers), subprotocols=["b"])
        assert response.headers["Sec-WebSocket-Protocol"] == "b"

    def test_h17_subprotocols_with_line_breaks_are_refused(self):
        """RFC 6455 §4.1: class of CVE-2020-35678."""
        with pytest.raises(ValueError, match="not a valid subprotocol"):
            ServerHandshake(subprotocols=["a\r\nX: y"])
        with pytest.raises(TypeError):
            ServerHandshake(subprotocols="a")

    def test_h17_headers_with_line_breaks_are_refused(self):
        response, _ = answer(request())
        with pytest.raises(ValueError, match="invalid X header"):
            response.headers["X"] = "a\r\nY: z"

    @pytest.mark.parametrize("data", [request({"Host": None}), request({"Upgrade": None}), request({"Origin": "x"})])
    def test_refusal_ends_the_connection(self, data):
        """RFC 9112 §9.6: a proxy must not assume that the upgrade succeeded."""
        response, _ = answer(data, origins=["y"])
        assert response.status_code >= 400
        assert response.headers["Connection"] == "close"
        assert response.headers["Content-Length"] == str(len(response.body))
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"

    def test_rejection_has_the_text_as_its_body(self):
        response = ServerHandshake().reject(418, "caf\xe9\n")
        assert response.serialize().endswith("\r\n\r\ncaf\xe9\n".encode())
        assert response.reason_phrase == "I'm a Teapot"

    def test_empty_request_is_refused(self, monkeypatch):
        monkeypatch.setattr(h11.Connection, "next_event", lambda self: h11.NEED_DATA)
        with pytest.raises(exceptions.InvalidMessage, match="empty"):
            ServerHandshake().receive_data(request())


def start(uri="ws://example.com/chat", **options):
    client = ClientHandshake(parse_uri(uri), **options)
    return client, client.build_request()


def respond(client_request, headers=(), start_line="HTTP/1.1 101 Switching Protocols"):
    accept = accept_key(client_request.headers["Sec-WebSocket-Key"])
    right = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}
    return build(start_line, right, dict(headers))


def check(headers=(), *, start_line="HTTP/1.1 101 Switching Protocols", **options):
    client, client_request = start(**options)
    response = client.receive_data(respond(client_request, headers, start_line))
    assert response is not None
    client.check(response)
    return client


class TestClient:
    def test_request_is_that_of_the_rfc(self):
        """RFC 6455 §4.1."""
        _, made = start("ws://example.com:8000/chat?a=b", origin="http://example.com", subprotocols=["a", "b"])
        assert made.serialize().startswith(b"GET /chat?a=b HTTP/1.1\r\nHost: example.com:8000\r\n")
        assert made.headers["Origin"] == "http://example.com"
        assert made.headers["Upgrade"] == "websocket"
        assert made.headers["Connection"] == "Upgrade"
        assert made.headers["Sec-WebSocket-Version"] == "13"
        assert made.headers["Sec-WebSocket-Protocol"] == "a, b"
        assert "Sec-WebSocket-Extensions" not in made.headers

    def test_user_info_becomes_authorization(self):
        _, made = start("ws://u:p@example.com/")
        assert made.headers["Authorization"] == "Basic dTpw"
        assert "Origin" not in made.headers

    def test_right_response_is_accepted(self):
        """RFC 6455 §4.1."""
        client = check()
        assert client.response.status_code == 101
        assert client.subprotocol is None

    @pytest.mark.parametrize("line", ["200 OK", "404 Not Found", "301 Moved", "426 Upgrade Required", "599 Odd"])
    def test_c1_other_status_than_101_is_an_error_with_the_response(self, line):
        """RFC 6455 §4.1, step 1 of the response's requirements."""
        client, made = start()
        response = client.receive_data(respond(made, {"Content-Length": "4"}, f"HTTP/1.1 {line}") + b"body")
        assert response is not None
        with pytest.raises(exceptions.InvalidStatus) as info:
            client.check(response)
        assert info.value.response.status_code == int(line[:3])
        assert info.value.response.body == b"body"

    @pytest.mark.parametrize("headers", [{"Upgrade": "WebSocket"}, {"Connection": "keep-alive, UPGRADE"}])
    def test_c2_upgrade_and_connection_are_without_regard_to_case(self, headers):
        """RFC 6455 §4.1, steps 2 and 3."""
        check(headers)

    @pytest.mark.parametrize(
        "headers",
        [{"Upgrade": None}, {"Upgrade": "h2c"}, {"Connection": None}, {"Connection": "close"}, {"Upgrade": "a b"}],
    )
    def test_c2_upgrade_and_connection_are_required(self, headers):
        """RFC 6455 §4.1, steps 2 and 3."""
        with pytest.raises(exceptions.InvalidHandshake, match="Upgrade|Connection"):
            check(headers)

    @pytest.mark.parametrize("accept", [None, "", ACCEPT, "x", ["a", "b"]])
    def test_c3_accept_must_be_right(self, accept):
        """RFC 6455 §4.1, step 4."""
        with pytest.raises(exceptions.InvalidHeader, match="Sec-WebSocket-Accept"):
            check({"Sec-WebSocket-Accept": accept})

    def test_c3_accept_must_appear_once(self):
        """RFC 6455 §11.3.3."""
        client, made = start()
        accept = accept_key(made.headers["Sec-WebSocket-Key"])
        response = client.receive_data(respond(made, {"Sec-WebSocket-Accept": [accept, accept]}))
        with pytest.raises(exceptions.InvalidHeader, match="multiple values"):
            client.check(response)

    @pytest.mark.parametrize("extension", ["x-foo", "permessage-deflate", "permessage-deflate, permessage-deflate"])
    def test_c4_extension_that_was_not_offered_is_refused(self, extension):
        """RFC 6455 §4.1, step 5."""
        with pytest.raises(exceptions.NegotiationError, match="no extensions supported"):
            check({"Sec-WebSocket-Extensions": extension})

    @pytest.mark.parametrize(
        ("offered", "message"), [(None, "no subprotocols supported"), (["a"], "unsupported subprotocol: chat")]
    )
    def test_c5_subprotocol_that_was_not_offered_is_refused(self, offered, message):
        """RFC 6455 §4.1, step 6."""
        with pytest.raises(exceptions.NegotiationError, match=message):
            check({"Sec-WebSocket-Protocol": "chat"}, subprotocols=offered)

    def test_c5_subprotocol_that_was_offered_is_agreed_on(self):
        """RFC 6455 §4.1, step 6."""
        assert check({"Sec-WebSocket-Protocol": "b"}, subprotocols=["a", "b"]).subprotocol == "b"
        assert check(subprotocols=["a", "b"]).subprotocol is None

    @pytest.mark.parametrize("chosen", ["a, b", ["a", "b"]])
    def test_c5_several_subprotocols_are_refused(self, chosen):
        """RFC 6455 §11.3.4: not more than one in a response."""
        with pytest.raises(exceptions.InvalidHeader, match="multiple values"):
            check({"Sec-WebSocket-Protocol": chosen}, subprotocols=["a", "b"])

    def test_c6_key_is_16_fresh_bytes(self):
        """RFC 6455 §4.1: a nonce, chosen at random for each connection."""
        keys = {start()[1].headers["Sec-WebSocket-Key"] for _ in range(20)}
        assert len(keys) == 20
        assert {len(base64.b64decode(key, validate=True)) for key in keys} == {16}

    def test_c10_response_head_is_bounded(self):
        """RFC 6455 §10.4."""
        client, _ = start()
        client.receive_data(b"HTTP/1.1 101 Switching Protocols\r\nX: ")
        with pytest.raises(exceptions.HeaderLineTooLong):
            client.receive_data(b"x" * Limits().max_head_size)

    def test_c10_status_line_is_bounded(self):
        """RFC 6455 §10.4."""
        with pytest.raises(exceptions.StatusLineTooLong):
            start()[0].receive_data(b"x" * (Limits().max_head_size + 1))

    def test_c10_number_of_headers_is_bounded(self):
        """RFC 6455 §10.4."""
        client, made = start()
        with pytest.raises(exceptions.TooManyHeaders):
            client.receive_data(respond(made, {f"X{i}": "" for i in range(200)}))

    def test_c10_body_of_a_refusal_is_bounded(self):
        """RFC 6455 §10.4: it is truncated at the limit."""
        limits = Limits(max_body_size=10)
        client, made = start(limits=limits)
        assert client.receive_data(respond(made, {"Content-Length": "20"}, "HTTP/1.1 403 No") + b"12345") is None
        response = client.receive_data(b"67890abcde")
        assert response.body == b"1234567890"

    def test_refusal_without_a_length_ends_with_the_connection(self):
        """RFC 9112 §6.3."""
        client, made = start()
        assert client.receive_data(respond(made, {}, "HTTP/1.1 403 No") + b"abc") is None
        assert client.receive_data(b"def") is None
        response = client.receive_eof()
        assert response.body == b"abcdef"
        assert client.response is response

    def test_chunked_refusal_is_joined(self):
        """RFC 9112 §7.1."""
        client, made = start()
        data = respond(made, {"Transfer-Encoding": "chunked"}, "HTTP/1.1 403 No") + b"3\r\nabc\r\n0\r\n\r\n"
        responses = [client.receive_data(data[i : i + 1]) for i in range(len(data))]
        assert responses[-1].body == b"abc"
        assert not any(responses[:-1])

    def test_end_of_stream_before_the_response_is_an_error(self):
        for data, part in [(b"", "status line"), (b"HTTP/1.1 101", "status line"), (b"HTTP/1.1 101 A\r\nB", "headers")]:
            client, _ = start()
            client.receive_data(data)
            with pytest.raises(exceptions.InvalidMessage, match="valid HTTP") as info:
                client.receive_eof()
            assert isinstance(info.value.__cause__, EOFError)
            assert str(info.value.__cause__) == f"connection closed while reading HTTP {part}"

    def test_end_of_stream_inside_the_body_keeps_the_partial_body(self):
        """RFC 9112 §8: an incomplete response; its status and its head are there."""
        client, made = start()
        client.receive_data(respond(made, {"Content-Length": "5"}, "HTTP/1.1 403 No") + b"abc")
        with pytest.raises(exceptions.InvalidStatus) as info:
            client.check(client.receive_eof())
        assert info.value.response.body == b"abc"

    def test_chunks_that_do_not_follow_the_grammar_are_an_error(self):
        client, made = start()
        with pytest.raises(exceptions.InvalidMessage, match="valid HTTP"):
            client.receive_data(respond(made, {"Transfer-Encoding": "chunked"}, "HTTP/1.1 403 No") + b"zz\r\n")

    @pytest.mark.parametrize(
        "data",
        [b"SSH-2.0-OpenSSH\r\n\r\n", b"\0\0\r\n\r\n", b"HTTP/1.1 101\nA: b\r\n\r\n", b"HTTP/1.1 x y\r\n\r\n"],
    )
    def test_response_that_is_not_http_is_an_error(self, data):
        """RFC 9112 §2.2."""
        with pytest.raises(exceptions.InvalidMessage, match="did not receive a valid HTTP response") as info:
            start()[0].receive_data(data)
        assert info.value.__cause__ is not None

    @pytest.mark.parametrize("data", [b"220 smtp.example", b"\x15\x03\x01", b"HTTP/2", b"X\r\nY"])
    def test_another_protocol_is_an_error_at_once(self, data):
        """The server may wait for us and never end the head."""
        with pytest.raises(exceptions.InvalidMessage) as info:
            start()[0].receive_data(data)
        assert str(info.value.__cause__).startswith("unsupported protocol; expected HTTP/1.1: ")

    def test_excerpt_of_another_protocol_is_short(self):
        with pytest.raises(exceptions.InvalidMessage) as info:
            start()[0].receive_data(b"\x00\x9b" + b"x" * 500)
        assert str(info.value.__cause__).endswith("HTTP/1.1: \\x00\\x9b" + "x" * 78)

    @given(st.binary(max_size=200))
    def test_any_bytes_give_a_response_or_an_invalid_handshake(self, junk):
        client, made = start()
        for data in (junk + b"\r\n\r\n", respond(made, {"Sec-WebSocket-Extensions": junk.decode("latin-1")})):
            try:
                response = client.receive_data(data)
                if response is not None:
                    client.check(response)
            except exceptions.InvalidHandshake:
                client, made = start()

    def test_interim_responses_are_skipped(self):
        """RFC 9110 §15.2."""
        client, made = start()
        interim = b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"
        response = client.receive_data(interim * MAX_INTERIM_RESPONSES + respond(made))
        client.check(response)
        assert response.status_code == 101

    def test_endless_interim_responses_are_refused(self):
        """RFC 6455 §10.4."""
        interim = b"HTTP/1.1 100 Continue\r\n\r\n"
        with pytest.raises(exceptions.SecurityError, match="interim"):
            start()[0].receive_data(interim * (MAX_INTERIM_RESPONSES + 1))

    def test_c11_bytes_after_the_response_are_left_over(self):
        """RFC 6455 §4.1: they belong to the WebSocket stream."""
        client, made = start()
        response = client.receive_data(memoryview(respond(made) + b"\x81\x01a"))
        client.check(response)
        assert client.unread == b"\x81\x01a"

    def test_c11_response_may_come_one_byte_at_a_time(self):
        client, made = start()
        data = respond(made)
        for i in range(len(data) - 1):
            assert client.receive_data(data[i : i + 1]) is None
        client.check(client.receive_data(data[-1:]))

    def test_subprotocols_must_be_a_list_of_tokens(self):
        with pytest.raises(TypeError):
            start(subprotocols="a")
        with pytest.raises(ValueError, match="not a valid subprotocol"):
            start(subprotocols=["a, b"])

    def test_missing_response_is_an_error(self, monkeypatch):
        client, made = start()
        monkeypatch.setattr(h11.Connection, "next_event", lambda self: h11.NEED_DATA)
        with pytest.raises(exceptions.InvalidMessage) as info:
            client.receive_data(respond(made))
        assert str(info.value.__cause__) == "the server sent no response"


def test_client_and_server_agree():
    client, made = start("ws://example.com/", subprotocols=["a", "b"])
    server = ServerHandshake(subprotocols=["b"])
    response = server.accept(server.receive_data(made.serialize()))
    client.check(client.receive_data(response.serialize()))
    assert client.subprotocol == server.subprotocol == "b"
    assert isinstance(client.response, Response)


def test_each_refusal_has_a_status():
    """Errors that are not in _REFUSALS are 400."""
    statuses = dict(handshake_module._REFUSALS)
    server = ServerHandshake()
    assert server.refuse(exceptions.InvalidMessage("x")).status_code == 400
    assert server.refuse(exceptions.InvalidHeaderValue("Sec-WebSocket-Key", "x")).status_code == 400
    for error, status in (
        (exceptions.InvalidMethod("x"), 405),
        (exceptions.InvalidProtocol("x"), 505),
        (exceptions.InvalidOrigin("x"), 403),
    ):
        assert statuses[type(error)] == status
        assert server.refuse(error).status_code == status


def test_an_empty_read_is_not_another_protocol():
    _, made = start("ws://example.com/")
    server = ServerHandshake()
    assert server.receive_data(b"") is None
    assert server.receive_data(made.serialize()) is not None
