"""What else ``wsframe connect`` and ``wsframe echo`` can do: kinds of messages, pings, TLS, proxies, compression."""

from __future__ import annotations

import gc
import json
import re
import ssl

import pytest
import support
from proxies import HTTPProxy
from support import PATIENCE_S, certificate, connect_in_time, soon
from test_cli import POSIX_SIGNALS, TLS_LEAKS, run_echo
from test_cli_connect import keyboard, pipe, serving, talk
from threads import running

import wsframe
from wsframe.cli import main

__all__ = ["certificate", "keyboard", "pipe"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["connect", "ws://localhost", "--ping", "0"],
        ["connect", "ws://localhost", "--ping", "often"],
        ["connect", "ws://localhost", "--ping", "inf"],
        ["connect", "ws://localhost", "--binary", "--hex"],
        ["connect", "ws://localhost", "--compression", "zip"],
        ["echo", "--compression", "gzip"],
        ["echo", "--header", "no colon"],
        ["echo", "--ping", "-1"],
    ],
)
def test_wrong_arguments_exit_with_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as info:
        main(arguments)
    assert info.value.code == 2
    assert capsys.readouterr().err.startswith("usage: wsframe")


# wsframe connect: messages


@pytest.mark.parametrize(
    ("option", "typed", "received", "printed"),
    [
        ("--binary", b"a\xff\nb\n", [b"a\xff", b"b"], b"a\xff\nb\n"),
        ("--hex", b"00 ff\n6162\n", [b"\x00\xff", b"ab"], b"00ff\n6162\n"),
    ],
)
def test_lines_as_binary_messages(option, typed, received, printed, pipe, capsysbinary):
    messages = []

    async def handler(websocket):
        async for message in websocket:
            messages.append(message)
            await websocket.send(message)

    pipe.type(typed)
    pipe.end()
    with serving(handler) as uri:
        assert main(["connect", uri, option]) == 0
    assert messages == received
    assert capsysbinary.readouterr() == (printed, b"")


def test_lines_that_are_not_hex_are_refused(pipe, capsys):
    pipe.type(b"00\nxy\n")
    pipe.end()
    with serving(support.echo) as uri:
        assert main(["connect", uri, "--hex"]) == 1
    assert "line 2 of the input is not valid hex: " in capsys.readouterr().err


def test_json_is_indented(pipe, capsys):
    messages = ['{"b":[1,2],"a":"ä"}', "not JSON", "[" * 30_000, '"text"']
    pipe.type("\n".join(messages).encode())
    pipe.end()
    with serving(support.echo) as uri:
        assert main(["connect", uri, "--json"]) == 0
    output = capsys.readouterr().out
    assert output.startswith('{\n  "b": [\n    1,\n    2\n  ],\n  "a": "ä"\n}\nnot JSON\n[[')
    assert output.endswith('[\n"text"\n')


def test_binary_json_is_indented(pipe, capsys):
    async def handler(websocket):
        await websocket.send(json.dumps([1]).encode())
        await websocket.send(b"\xff")

    pipe.end()
    with serving(handler) as uri:
        assert main(["connect", uri, "--json", "--hex"]) == 0
    assert capsys.readouterr().out == "[\n  1\n]\nff\n"


def test_ping_times_are_printed_in_a_pipe(pipe, capsys):
    async def handler(websocket):
        await websocket.recv()
        # The last ones of many.
        await support.until(lambda: websocket.protocol.frames_received >= 5)
        await websocket.send("done")

    pipe.type(b"x\n")
    pipe.end()
    with serving(handler) as uri:
        assert main(["connect", uri, "--ping", "0.01", "--wait", str(PATIENCE_S)]) == 0
    output = capsys.readouterr()
    assert output.out == "done\n"
    assert len(re.findall(r"^ping answered in \d+\.\d ms$", output.err, re.MULTILINE)) >= 3


def test_ping_times_are_printed_at_a_terminal(keyboard, monkeypatch):
    status, shown = talk(
        keyboard, monkeypatch, support.echo, ("ping answered", keyboard.end), arguments=["--ping", "0.01"]
    )
    assert status == 0
    assert re.search(r"\* ping answered in \d+\.\d ms", shown)


def test_pings_end_with_the_connection(pipe, capsys):
    async def handler(websocket):
        await websocket.close()

    with serving(handler) as uri:
        assert main(["connect", uri, "--ping", "0.001"]) == 0
    assert "Traceback" not in capsys.readouterr().err


def test_compression_can_be_disabled(pipe):
    offers = []

    async def handler(websocket):
        offers.append(websocket.request.headers.get("Sec-WebSocket-Extensions"))

    pipe.end()
    with serving(handler) as uri:
        assert main(["connect", uri, "--compression", "none"]) == 0
        assert main(["connect", uri, "--compression", "deflate"]) == 0
    assert offers[0] is None
    assert offers[1].startswith("permessage-deflate")


def test_verbose_shows_the_opening_handshake(pipe, capsys):
    pipe.end()
    with serving(support.echo) as uri:
        assert main(["connect", uri, "-v", "-H", "X: y"]) == 0
    log = capsys.readouterr().err
    assert re.search(r"^\d\d:\d\d:\d\d  > GET / HTTP/1.1$", log, re.MULTILINE)
    assert "> X: y\n" in log
    assert "< HTTP/1.1 101 Switching Protocols\n" in log


# wsframe connect: proxies


def test_proxy(pipe, capsys, monkeypatch):
    script = HTTPProxy()
    with serving(support.echo) as uri, running(lambda: support.raw_server(script)) as proxy:
        address = f"http://127.0.0.1:{proxy.port}"
        monkeypatch.setenv("https_proxy", address)
        pipe.type(b"one\n")
        pipe.end()
        assert main(["connect", uri, "--proxy", address]) == 0
        assert capsys.readouterr().out == "one\n"
        assert len(script.asked) == 1
        assert main(["connect", uri, "--proxy", "none"]) == 0
        assert len(script.asked) == 1
        assert main(["connect", uri]) == 0
        assert len(script.asked) == 2


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("ftp://p", "ftp://p isn't a valid proxy: scheme ftp isn't supported"),
        ("http://127.0.0.1:9", "cannot connect to ws://localhost: "),
    ],
)
def test_proxy_that_cannot_be_used(proxy, words, capsys):
    assert main(["connect", "ws://localhost", "--proxy", proxy]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"wsframe connect: {words}")
    assert error.count("\n") == 1


def test_proxy_that_refuses(capsys):
    with running(lambda: support.raw_server(HTTPProxy("u:p"))) as proxy:
        assert main(["connect", "ws://localhost", "--proxy", f"http://127.0.0.1:{proxy.port}"]) == 1
    words = "wsframe connect: the opening handshake failed: proxy rejected connection: HTTP 407\n"
    assert capsys.readouterr().err == words


def test_failed_handshake_is_explained(capsys):
    async def script(peer):
        await peer.read_head()
        await peer.send(b"220 mail.example ESMTP\r\n")

    with running(lambda: support.raw_server(script)) as server:
        assert main(["connect", server.uri]) == 1
    assert capsys.readouterr().err == (
        "wsframe connect: the opening handshake failed: did not receive a valid HTTP response "
        "(unsupported protocol; expected HTTP/1.1: 220 mail.example ESMTP)\n"
    )


# wsframe connect: TLS


def tls_server(certificate, demanding=False):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    if demanding:
        context.load_verify_locations(certificate.cert)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@TLS_LEAKS
def test_tls_with_a_custom_authority(certificate, pipe, capsys):
    pipe.type(b"secret\n")
    pipe.end()
    with serving(support.echo, ssl=tls_server(certificate)) as uri:
        trusted = ["connect", uri, "--tls-ca", certificate.cert]
        assert main(trusted) == 1
        assert "certificate is not valid" in capsys.readouterr().err
        assert main([*trusted, "--server-name", "localhost"]) == 0
    assert capsys.readouterr().out == "secret\n"
    gc.collect()


@TLS_LEAKS
def test_tls_with_a_client_certificate(certificate, pipe, capsys):
    names = []

    async def handler(websocket):
        names.append(websocket.transport.get_extra_info("peercert")["subject"])

    pipe.end()
    with serving(handler, ssl=tls_server(certificate, demanding=True)) as uri:
        options = ["connect", uri.replace("127.0.0.1", "localhost"), "--tls-ca", certificate.cert]
        assert main([*options, "--tls-cert", certificate.cert, "--tls-key", certificate.key]) == 0
        assert main(options) == 1
    assert names == [((("commonName", "localhost"),),)]
    gc.collect()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tls-ca", "missing.pem"], "cannot use the certificates in missing.pem: No such file or directory"),
        (["--tls-ca", __file__], f"cannot use the certificates in {__file__}: "),
        (["--tls-cert", "missing.pem"], "cannot use the certificate missing.pem: No such file or directory"),
        (["--tls-key", "missing.pem"], "--tls-key needs --tls-cert"),
    ],
)
def test_certificates_that_cannot_be_used(arguments, words, capsys):
    assert main(["connect", "wss://localhost", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"wsframe connect: {words}")
    assert error.count("\n") == 1


# wsframe echo


@POSIX_SIGNALS
def test_echo_with_headers_and_compression():
    async def script(uri):
        async with await connect_in_time(uri) as websocket:
            seen.append(websocket.response.headers)

    seen = []
    assert run_echo(script, "--header", "X-One: 1", "-H", "X-Two:2") == 0
    assert run_echo(script, "--compression", "none") == 0
    assert (seen[0]["X-One"], seen[0]["X-Two"]) == ("1", "2")
    assert seen[0]["Sec-WebSocket-Extensions"].startswith("permessage-deflate")
    assert "Sec-WebSocket-Extensions" not in seen[1]


@POSIX_SIGNALS
def test_echo_logs_ping_times(capsys):
    async def script(uri):
        async with await connect_in_time(uri) as websocket:
            await support.until(lambda: websocket.protocol.frames_received >= 2)

    assert run_echo(script, "--ping", "0.01") == 0
    assert re.search(r"  127\.0\.0\.1:\d+  ping answered in \d+\.\d ms\n", capsys.readouterr().err)


@POSIX_SIGNALS
@TLS_LEAKS
def test_echo_requires_client_certificates(certificate, capsys):
    async def script(uri):
        uri = uri.replace("127.0.0.1", "localhost")
        context = ssl.create_default_context(cafile=certificate.cert)
        context.load_cert_chain(certificate.cert, certificate.key)
        async with await connect_in_time(uri, ssl=context) as websocket:
            await websocket.send("secret")
            assert await soon(websocket.recv()) == "secret"
        with pytest.raises((wsframe.InvalidHandshake, OSError)):
            await wsframe.connect(uri, ssl=ssl.create_default_context(cafile=certificate.cert))

    files = ["--tls-cert", certificate.cert, "--tls-key", certificate.key, "--tls-ca", certificate.cert]
    assert run_echo(script, *files, scheme="wss") == 0
    assert "Traceback" not in capsys.readouterr().err
    gc.collect()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["--tls-ca", "CERT"], "--tls-ca needs --tls-cert"),
        (["--tls-cert", "CERT", "--tls-key", "KEY", "--tls-ca", "missing"], "cannot use the certificates in missing: "),
    ],
)
def test_echo_reports_in_one_line_why_it_cannot_start(files, words, certificate, capsys):
    files = [{"CERT": certificate.cert, "KEY": certificate.key}.get(file, file) for file in files]
    assert main(["echo", *files]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"wsframe echo: {words}")
    assert error.count("\n") == 1
