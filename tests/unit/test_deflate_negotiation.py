"""How permessage-deflate is agreed on (RFC 7692 §7.1), and its options. Rows D1 to D7 of the matrix."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st
from support_deflate import JSON, codec, inflate_whole

from wsframe.codec import Frame
from wsframe.constants import Opcode
from wsframe.exceptions import NegotiationError
from wsframe.extensions.deflate import BACKENDS, PerMessageDeflateFactory, compression_factories, load_backend
from wsframe.extensions.negotiation import check_agreed, choose_extensions
from wsframe.opening.grammar import build_extensions, parse_extensions

# Negotiation


def names(**options):
    return [PerMessageDeflateFactory(**options)]


def summarize(extension):
    return (
        extension.remote_no_context_takeover,
        extension.local_no_context_takeover,
        extension.remote_max_window_bits,
        extension.local_max_window_bits,
    )


BAD_PARAMETERS = [
    "foo",
    "foo=1",
    "server_no_context_takeover; foo",
    "Server_No_Context_Takeover",
    "server_no_context_takeover=1",
    "server_no_context_takeover=true",
    'server_no_context_takeover="x"',
    "client_no_context_takeover=1",
    "server_no_context_takeover; server_no_context_takeover",
    "client_no_context_takeover; client_no_context_takeover",
    "server_max_window_bits",
    *(
        f"{side}_max_window_bits={value}"
        for side in ("server", "client")
        for value in ("7", "16", "99", "0", "abc", "010", "09", "1e1", "-9", "+9", "1_0", '"10.0"', "10a")
    ),
    "server_max_window_bits=10; server_max_window_bits=10",
    "server_max_window_bits=10; server_max_window_bits=11",
    "client_max_window_bits=10; client_max_window_bits=10",
]
# RFC 7692 §7.1.2.2: in an offer, it may stand alone.
BAD_OFFERS = [*BAD_PARAMETERS, "client_max_window_bits; client_max_window_bits", "server_max_window_bits=8"]
BAD_RESPONSES = [*BAD_PARAMETERS, "client_max_window_bits"]


@pytest.mark.parametrize("parameters", BAD_OFFERS)
def test_d1_server_declines_a_bad_offer(parameters):
    """RFC 7692 §7.1: declined, not refused: the connection goes on without it."""
    offers = parse_extensions([f"permessage-deflate; {parameters}"])
    assert choose_extensions(offers, names()) == ([], [])


@pytest.mark.parametrize("parameters", BAD_OFFERS)
def test_d3_server_falls_back_to_the_next_offer(parameters):
    """RFC 7692 §5.1, §7.1.3."""
    offers = parse_extensions([f"permessage-deflate; {parameters}, permessage-deflate", "permessage-deflate; bar"])
    chosen, (extension,) = choose_extensions(offers, names())
    assert chosen == [("permessage-deflate", [("server_max_window_bits", "12")])]
    assert summarize(extension) == (False, False, 15, 12)


@pytest.mark.parametrize("parameters", BAD_RESPONSES)
def test_d2_client_fails_on_a_bad_response(parameters):
    """RFC 7692 §7.1."""
    with pytest.raises(NegotiationError):
        check_agreed(parse_extensions([f"permessage-deflate; {parameters}"]), names())


BOTH_SIDES = (
    "server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9; client_max_window_bits=9"
)
OFFERS = {
    # offer: (options of the server, response, (remote and local no_context_takeover, remote and local window bits))
    # RFC 7692 §7.1: the server chooses where the client leaves it free.
    "": [
        ({}, "server_max_window_bits=12", (False, False, 15, 12)),
        ({"server_max_window_bits": 15}, "", (False, False, 15, 15)),
        ({"server_max_window_bits": 9}, "server_max_window_bits=9", (False, False, 15, 9)),
        (
            {"server_no_context_takeover": True, "server_max_window_bits": 15},
            "server_no_context_takeover",
            (False, True, 15, 15),
        ),
        (
            {"client_no_context_takeover": True, "server_max_window_bits": 15},
            "client_no_context_takeover",
            (True, False, 15, 15),
        ),
        # Row D7, RFC 7692 §7.1.2.2: not in the response unless it was offered.
        ({"client_max_window_bits": 9}, "server_max_window_bits=12", (False, False, 15, 12)),
        # A window of 8 bits cannot be used for compression.
        ({"server_max_window_bits": 8}, None, None),
    ],
    # Row D5, RFC 7692 §7.1.1.1.
    "server_no_context_takeover": [
        ({}, "server_no_context_takeover; server_max_window_bits=12", (False, True, 15, 12)),
    ],
    # RFC 7692 §7.1.1.2.
    "client_no_context_takeover": [
        ({}, "client_no_context_takeover; server_max_window_bits=12", (True, False, 15, 12)),
    ],
    # Row D6, RFC 7692 §7.1.2.1.
    "server_max_window_bits=9": [({}, "server_max_window_bits=9", (False, False, 15, 9))],
    "server_max_window_bits=12": [({}, "server_max_window_bits=12", (False, False, 15, 12))],
    "server_max_window_bits=15": [
        ({}, "server_max_window_bits=12", (False, False, 15, 12)),
        # RFC 7692 §7.1.2.1: the server repeats the parameter, whatever its value.
        ({"server_max_window_bits": 15}, "server_max_window_bits=15", (False, False, 15, 15)),
        ({"server_max_window_bits": 10}, "server_max_window_bits=10", (False, False, 15, 10)),
    ],
    # Row D4, RFC 6455 §9.1.
    'server_max_window_bits="10"': [({}, "server_max_window_bits=10", (False, False, 15, 10))],
    'server_max_window_bits="1\\0"': [({}, "server_max_window_bits=10", (False, False, 15, 10))],
    # RFC 7692 §7.1.2.2.
    "client_max_window_bits": [
        ({}, "server_max_window_bits=12; client_max_window_bits=12", (False, False, 12, 12)),
        (
            {"client_max_window_bits": 15, "server_max_window_bits": 15},
            "",
            (False, False, 15, 15),
        ),
        (
            {"client_max_window_bits": 8},
            "server_max_window_bits=12; client_max_window_bits=8",
            (False, False, 8, 12),
        ),
    ],
    "client_max_window_bits=8": [({}, "server_max_window_bits=12; client_max_window_bits=8", (False, False, 8, 12))],
    "client_max_window_bits=10": [({}, "server_max_window_bits=12; client_max_window_bits=10", (False, False, 10, 12))],
    "client_max_window_bits=15": [({}, "server_max_window_bits=12; client_max_window_bits=12", (False, False, 12, 12))],
    'client_max_window_bits="9"; server_no_context_takeover': [
        (
            {},
            "server_no_context_takeover; server_max_window_bits=12; client_max_window_bits=9",
            (False, True, 9, 12),
        ),
    ],
    BOTH_SIDES: [({}, BOTH_SIDES, (True, True, 9, 9))],
}


@pytest.mark.parametrize(
    ("offer", "options", "response", "agreed"),
    [pytest.param(offer, *row, id=f"{offer or 'bare'} {row[0]}") for offer, rows in OFFERS.items() for row in rows],
)
def test_d4_to_d7_server_answers_an_offer(offer, options, response, agreed):
    chosen, extensions = choose_extensions(
        parse_extensions(["permessage-deflate" + ("; " + offer if offer else "")]), names(**options)
    )
    header = build_extensions(chosen)
    if response is None:
        assert (header, extensions) == ("", [])
    else:
        assert header == "permessage-deflate" + ("; " + response if response else "")
        assert [summarize(extension) for extension in extensions] == [agreed]
        # What the server says of itself must be acceptable to a client that made the offer.
        assert "client_max_window_bits" not in header or "client_max_window_bits" in offer


RESPONSES = {
    # response: (options of the client, agreed or None if the connection must be failed)
    "": [
        ({}, (False, False, 15, 12)),
        ({"client_max_window_bits": 15}, (False, False, 15, 15)),
        ({"client_no_context_takeover": True}, (False, True, 15, 12)),
        # RFC 7692 §7.1.1.1, §7.1.2.1: the server had to agree to what was asked of it.
        ({"server_no_context_takeover": True}, None),
        ({"server_max_window_bits": 10}, None),
        ({"server_max_window_bits": 15}, (False, False, 15, 12)),
    ],
    # RFC 7692 §7.1.1.1: may be in the response without having been offered.
    "server_no_context_takeover": [
        ({}, (True, False, 15, 12)),
        ({"server_no_context_takeover": True}, (True, False, 15, 12)),
    ],
    "client_no_context_takeover": [({}, (False, True, 15, 12))],
    "server_max_window_bits=8": [
        ({}, (False, False, 8, 12)),
        ({"server_max_window_bits": 8}, (False, False, 8, 12)),
    ],
    "server_max_window_bits=10": [
        ({}, (False, False, 10, 12)),
        ({"server_max_window_bits": 10}, (False, False, 10, 12)),
        ({"server_max_window_bits": 9}, None),
    ],
    'server_max_window_bits="9"': [({}, (False, False, 9, 12))],
    "client_max_window_bits=8": [({}, (False, False, 15, 8))],
    "client_max_window_bits=10": [
        ({}, (False, False, 15, 10)),
        ({"client_max_window_bits": 10}, (False, False, 15, 10)),
    ],
    "client_max_window_bits=15": [
        ({}, (False, False, 15, 12)),
        # RFC 7692 §7.1.2.2: not more than what was offered.
        ({"client_max_window_bits": 10}, None),
    ],
}


@pytest.mark.parametrize(
    ("response", "options", "agreed"),
    [pytest.param(text, *row, id=f"{text or 'bare'} {row[0]}") for text, rows in RESPONSES.items() for row in rows],
)
def test_d2_client_checks_a_response(response, options, agreed):
    header = parse_extensions(["permessage-deflate" + ("; " + response if response else "")])
    if agreed is None:
        with pytest.raises(NegotiationError):
            check_agreed(header, names(**options))
    else:
        (extension,) = check_agreed(header, names(**options))
        assert summarize(extension) == agreed


@pytest.mark.parametrize(
    ("options", "offer"),
    [
        ({}, [("client_max_window_bits", None)]),
        ({"client_max_window_bits": 9}, [("client_max_window_bits", "9")]),
        (
            {"server_max_window_bits": 10, "server_no_context_takeover": True, "client_no_context_takeover": True},
            [
                ("server_no_context_takeover", None),
                ("client_no_context_takeover", None),
                ("server_max_window_bits", "10"),
                ("client_max_window_bits", None),
            ],
        ),
    ],
)
def test_client_offer_follows_its_options(options, offer):
    assert PerMessageDeflateFactory(**options).offer() == [offer]


SIDES = st.fixed_dictionaries(
    {},
    optional={
        "server_max_window_bits": st.integers(9, 15),
        "client_max_window_bits": st.integers(8, 15),
        "server_no_context_takeover": st.booleans(),
        "client_no_context_takeover": st.booleans(),
    },
)


@given(server=SIDES, client=SIDES)
def test_our_client_and_our_server_always_agree(server, client):
    (asked,), answering = names(**client), names(**server)
    (offer,) = asked.offer()
    chosen, (theirs,) = choose_extensions([("permessage-deflate", offer)], answering)
    (ours,) = check_agreed(parse_extensions([build_extensions(chosen)]), [asked])
    assert ours.remote_no_context_takeover is theirs.local_no_context_takeover
    # The sender may use a smaller window, and keep less context, than the receiver supports.
    assert ours.local_no_context_takeover >= theirs.remote_no_context_takeover
    assert ours.local_max_window_bits <= theirs.remote_max_window_bits
    assert theirs.local_max_window_bits <= ours.remote_max_window_bits


# Options


@pytest.mark.parametrize(
    "options",
    [
        {"server_max_window_bits": 7},
        {"server_max_window_bits": 16},
        {"client_max_window_bits": 7},
        {"client_max_window_bits": 16},
        {"level": -2},
        {"level": 10},
        {"memory_level": 0},
        {"memory_level": 10},
        {"threshold": -1},
        {"idle_timeout": 0},
        {"idle_timeout": -1.0},
        {"backend": "brotli"},
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=list(options)[-1].split("_")[0]):
        PerMessageDeflateFactory(**options)


def test_level_must_be_supported_by_the_backend(backend):
    highest = 3 if backend == "isal" else 9
    assert PerMessageDeflateFactory(level=highest, backend=backend).level == highest
    with pytest.raises(ValueError, match=f"level {highest + 1} is out of the range of {backend}"):
        PerMessageDeflateFactory(level=highest + 1, backend=backend)


def test_options_at_the_ends_of_their_ranges_are_accepted(backend):
    for level in (-1, 0, 1, 3) if backend == "isal" else (-1, 0, 1, 9):
        for memory_level in (1, 9):
            for bits in (9, 15):
                factory = PerMessageDeflateFactory(
                    server_max_window_bits=bits,
                    client_max_window_bits=bits,
                    level=level,
                    memory_level=memory_level,
                    threshold=0,
                    idle_timeout=None,
                    backend=backend,
                )
                _, extension = factory.accept_offer([("client_max_window_bits", None)])
                assert inflate_whole([extension.encode(Frame(Opcode.TEXT, JSON)).payload]) == JSON


def test_default_level_is_that_of_the_backend(backend):
    factory = PerMessageDeflateFactory(level=-1, backend=backend)
    assert factory.level == load_backend(backend).Z_DEFAULT_COMPRESSION


def test_missing_backend_is_an_import_error(monkeypatch):
    monkeypatch.setitem(BACKENDS, "isal", "nowhere.to.be.found")
    with pytest.raises(ImportError, match="the compression backend 'isal' needs the distribution isal"):
        PerMessageDeflateFactory(backend="isal")


def test_compression_option():
    factory = PerMessageDeflateFactory(level=2)
    assert compression_factories(None) == []
    assert compression_factories("deflate") == [PerMessageDeflateFactory()]
    assert compression_factories(factory) == [factory]
    for wrong in ("gzip", "", True, 1):
        with pytest.raises(ValueError, match=f"unsupported compression: {wrong}"):
            compression_factories(wrong)


def test_repr_shows_the_agreed_parameters():
    assert repr(codec(remote=10)) == (
        "PerMessageDeflate(remote_no_context_takeover=False, local_no_context_takeover=False, "
        "remote_max_window_bits=10, local_max_window_bits=15)"
    )
