"""How clients handle redirects and failed attempts (RFC 6455 §7.2.3)."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

import wsframe
from wsframe.exceptions import (
    InvalidHandshake,
    InvalidMessage,
    InvalidProxyMessage,
    InvalidStatus,
    InvalidURI,
    SecurityError,
)
from wsframe.opening.attempts import (
    MAX_REDIRECTS,
    backoff,
    is_same_origin,
    process_exception,
    redirect_target,
    without_credentials,
)
from wsframe.opening.fields import Headers
from wsframe.opening.http import Response
from wsframe.opening.uri import parse_uri


def refused(status, *locations):
    return InvalidStatus(Response(status, "", Headers([("Location", location) for location in locations])))


def caused_by(exc, cause):
    exc.__cause__ = cause
    return exc


# process_exception


@pytest.mark.parametrize(
    "exc",
    [
        OSError("x"),
        TimeoutError("x"),
        ConnectionRefusedError("x"),
        caused_by(InvalidMessage("x"), EOFError("y")),
        *map(refused, [500, 502, 503, 504]),
    ],
    ids=repr,
)
def test_transient_failures_are_retried(exc):
    assert process_exception(exc) is None


@pytest.mark.parametrize(
    "exc",
    [
        InvalidMessage("x"),
        caused_by(InvalidMessage("x"), ValueError("y")),
        caused_by(InvalidProxyMessage("x"), EOFError("y")),
        InvalidHandshake("x"),
        SecurityError("x"),
        ValueError("x"),
        *map(refused, [200, 301, 400, 403, 404, 426, 501, 505]),
    ],
    ids=repr,
)
def test_permanent_failures_are_raised(exc):
    assert process_exception(exc) is exc


# backoff


def test_delays_grow_up_to_the_longest():
    delays = list(itertools.islice(backoff(initial_delay=0, min_delay=1, max_delay=10, factor=2), 7))
    assert delays == [0, 1, 2, 4, 8, 10, 10]


def test_first_delay_is_random():
    """RFC 6455 §7.2.3: clients that lost the same server do not come back all at once."""
    firsts = {next(backoff()) for _ in range(20)}
    assert len(firsts) == 20
    assert all(0 <= first < 5 for first in firsts)


def test_default_delays():
    _, second, third = itertools.islice(backoff(), 3)
    assert (second, third) == (3.1, 3.1 * 1.618)
    assert list(itertools.islice(backoff(), 20))[-1] == 90


def test_the_environment_sets_the_defaults():
    values = {"BACKOFF_INITIAL_DELAY": "0", "BACKOFF_MIN_DELAY": "1", "BACKOFF_MAX_DELAY": "9", "BACKOFF_FACTOR": "4"}
    env = {f"WEBSOCKETS_{name}": value for name, value in values.items()} | {"WEBSOCKETS_MAX_REDIRECTS": "3"}
    program = """
import itertools
from wsframe.opening import attempts
print(list(itertools.islice(attempts.backoff(), 4)), attempts.MAX_REDIRECTS)
"""
    paths = str(Path(wsframe.__file__).parents[1]), os.environ.get("PYTHONPATH")
    env["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    result = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **env}, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[0.0, 1.0, 4.0, 9.0] 3"
    assert MAX_REDIRECTS == 10


# Redirects


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b", "ws://h/b"),
        ("b", "ws://h/b"),
        ("?q", "ws://h/a?q"),
        ("//other/b", "ws://other/b"),
        ("ws://other:81/b", "ws://other:81/b"),
        ("wss://h/", "wss://h/"),
        ("http://other/b?c", "ws://other/b?c"),
        ("HTTPS://other:444/b", "wss://other:444/b"),
        ("http://h:443/", "ws://h:443/"),
        ("/b#part", "ws://h/b"),
        ("#part", "ws://h/a"),
        ("http://h/b#part", "ws://h/b"),
    ],
)
def test_redirects_have_a_target(status, location, target):
    assert redirect_target(refused(status, location), "ws://h/a") == target


@pytest.mark.parametrize(
    "exc",
    [refused(304, "/b"), refused(404, "/b"), refused(200, "/b"), refused(302), refused(302, "/b", "/c"), OSError("x")],
    ids=repr,
)
def test_other_failures_are_not_redirects(exc):
    assert redirect_target(exc, "ws://h/a") is exc


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/caf\xc3\xa9", "/caf%C3%A9"),
        ("/caf%C3%A9", "/caf%C3%A9"),
        ("/caf%C3%A9/\xc3\xa9?\xc3\xa9=%20", "/caf%C3%A9/%C3%A9?%C3%A9=%20"),
        ("/%25/\xe2\x82\xac", "/%25/%E2%82%AC"),
        ("/caf\xe9", "/caf%E9"),
        ("\xe9?%zz", "/%E9?%zz"),
    ],
)
def test_non_ascii_location_is_encoded_once(location, path):
    """RFC 3986 §2.4, RFC 3987 §3.1; bytes that are not UTF-8 stay unchanged."""
    assert parse_uri(redirect_target(refused(302, location), "ws://h/a")).resource_name == path


def test_location_may_have_a_non_ascii_host():
    assert parse_uri(redirect_target(refused(302, "http://m\xc3\xbcnchen.example/"), "ws://h/")).host == (
        "xn--mnchen-3ya.example"
    )


@pytest.mark.parametrize(
    ("location", "user_info"),
    [
        ("/b", ("u", "p@")),
        ("ws://h/b", ("u", "p@")),
        ("http://H:80/b", ("u", "p@")),
        ("ws://v:q@h/b", ("v", "q")),
        ("//other/b", None),
        ("ws://h:81/b", None),
        ("https://h/b", None),
    ],
)
def test_uri_credentials_are_sent_to_their_origin_only(location, user_info):
    """RFC 9110 §15.4."""
    assert parse_uri(redirect_target(refused(302, location), "ws://u:p%40@h/a")).user_info == user_info


@pytest.mark.parametrize("location", ["ftp://h/", "mailto:a@b", "http://[::1/", "//[x/", "ws://h:x/", "/a b"])
def test_redirect_to_an_invalid_uri_is_an_error(location):
    exc = redirect_target(refused(302, location), "ws://h/")
    assert isinstance(exc, InvalidURI)
    assert location.strip("/") in exc.uri


@pytest.mark.parametrize("location", ["ws://h/", "http://h/", "HTTP://h"])
def test_redirect_never_downgrades_tls(location):
    """RFC 6455 §10.6."""
    exc = redirect_target(refused(302, location), "wss://h/")
    assert isinstance(exc, SecurityError)
    assert str(exc).startswith("cannot follow redirect to non-secure URI ws://h")


def test_redirect_with_a_given_socket_is_refused():
    exc = redirect_target(refused(302, "/b"), "ws://h/", sock=True)
    assert isinstance(exc, ValueError)
    assert str(exc) == "cannot follow redirect to ws://h/b with a preexisting socket"


def test_redirect_tied_to_an_origin_stays_there():
    assert redirect_target(refused(302, "/b"), "ws://h/", tied_to="a string") == "ws://h/b"
    exc = redirect_target(refused(302, "ws://i/"), "ws://h/", tied_to="a string")
    assert isinstance(exc, ValueError)
    assert str(exc) == "cannot follow cross-origin redirect to ws://i/ with a string"


@pytest.mark.parametrize(
    ("uri", "same"),
    [("ws://h:80/b?c", True), ("ws://H/", True), ("wss://h:80/", False), ("ws://i/", False), ("ws://h:81/", False)],
)
def test_origin_is_scheme_host_and_port(uri, same):
    """RFC 6454 §5."""
    assert is_same_origin(parse_uri("ws://h/"), parse_uri(uri)) is same


def test_credentials_are_removed_from_headers():
    headers = {"AUTHORIZATION": "a", "Cookie": "b", "Proxy-Authorization": "c", "Host": "h", "X": "d"}
    assert list(without_credentials(headers).raw_items()) == [("X", "d")]
