"""permessage-deflate (RFC 7692 §7). Rows D1 to D14 of the matrix, on bytes; peers are written with zlib itself."""

from __future__ import annotations

import random
import time
import tracemalloc
import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wsframe import deflate as deflate_module
from wsframe.constants import Opcode
from wsframe.deflate import (
    BACKENDS,
    MAX_FINAL_BLOCKS,
    PerMessageDeflate,
    PerMessageDeflateFactory,
    compression_factories,
    load_backend,
)
from wsframe.exceptions import Fault, NegotiationError, PayloadTooBig, ProtocolError
from wsframe.extensions import check_agreed, choose_extensions
from wsframe.framing import Frame
from wsframe.headers import parse_extensions

TEXT, BINARY, CONTINUATION = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION
EMPTY_FINAL_BLOCK = b"\x03\x00"
JSON = b'{"jsonrpc": "2.0", "method": "subscribe", "params": ["ticker", "depth"], "id": 1234567890}'
RANDOM = random.Random(7692).randbytes(5000)


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
    assert choose_extensions(offers, names()) == (None, [])


@pytest.mark.parametrize("parameters", BAD_OFFERS)
def test_d3_server_falls_back_to_the_next_offer(parameters):
    """RFC 7692 §5.1, §7.1.3."""
    offers = parse_extensions([f"permessage-deflate; {parameters}, permessage-deflate", "permessage-deflate; bar"])
    header, (extension,) = choose_extensions(offers, names())
    assert header == "permessage-deflate; server_max_window_bits=12"
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
        ({"server_max_window_bits": 15}, "", (False, False, 15, 15)),
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
    header, extensions = choose_extensions(
        parse_extensions(["permessage-deflate" + ("; " + offer if offer else "")]), names(**options)
    )
    if response is None:
        assert (header, extensions) == (None, [])
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
def test_d2_client_judges_a_response(response, options, agreed):
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
def test_client_offers_what_its_options_say(options, offer):
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
    header, (theirs,) = choose_extensions([("permessage-deflate", offer)], answering)
    (ours,) = check_agreed(parse_extensions([header]), [asked])
    assert ours.remote_no_context_takeover is theirs.local_no_context_takeover
    # Who compresses may use a smaller window, and may forget more, than the other one is prepared for.
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


def test_level_is_one_that_the_backend_has(backend):
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
                assert inflate_whole([extension.encode(Frame(TEXT, JSON)).payload]) == JSON


def test_default_level_is_that_of_the_backend(backend):
    factory = PerMessageDeflateFactory(level=-1, backend=backend)
    assert factory.level == load_backend(backend).Z_DEFAULT_COMPRESSION


def test_backend_that_is_not_installed_is_an_import_error_that_says_so(monkeypatch):
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


def test_repr_tells_what_was_agreed():
    assert repr(codec(remote=10)) == (
        "PerMessageDeflate(remote_no_context_takeover=False, local_no_context_takeover=False, "
        "remote_max_window_bits=10, local_max_window_bits=15)"
    )


# Sending


def codec(backend="zlib", *, remote_no=False, local_no=False, remote=15, local=15, **options):
    return PerMessageDeflate(
        PerMessageDeflateFactory(backend=backend, **options),
        remote_no_context_takeover=remote_no,
        local_no_context_takeover=local_no,
        remote_max_window_bits=remote,
        local_max_window_bits=local,
    )


def inflate_whole(payloads, wbits=15):
    """Inflate messages with zlib (RFC 7692 §7.2.2)."""
    inflater = zlib.decompressobj(-wbits)
    return b"".join(inflater.decompress(payload + b"\x00\x00\xff\xff") for payload in payloads)


def test_d14_context_is_kept_by_default(backend):
    """RFC 7692 §7.1.1: a message may refer to those before it."""
    sender = codec(backend)
    first, second = (sender.encode(Frame(TEXT, JSON)) for _ in range(2))
    assert first.rsv1
    assert second.rsv1
    assert len(second.payload) < len(first.payload) / 3
    assert inflate_whole([first.payload, second.payload]) == JSON * 2


def test_d5_without_takeover_each_message_inflates_alone(backend):
    """RFC 7692 §7.1.1.1, §7.1.1.2."""
    sender = codec(backend, local_no=True)
    first, second = (sender.encode(Frame(TEXT, JSON)).payload for _ in range(2))
    assert first == second
    assert inflate_whole([first]) == JSON
    assert not sender.holds_contexts


@pytest.mark.parametrize("bits", range(9, 16))
def test_d6_own_window_is_as_small_as_agreed(backend, bits):
    """RFC 7692 §7.1.2: nothing is farther back than 2^bits bytes, for which zlib with such a window is the judge."""
    sender = codec(backend, local=bits, level=3)
    messages = [RANDOM[:400], RANDOM[:3000] + RANDOM[:3000], RANDOM, RANDOM, JSON * 500, JSON]
    inflater = zlib.decompressobj(-bits)
    for message in messages:
        payload = sender.encode(Frame(BINARY, message)).payload
        assert inflater.decompress(payload + b"\x00\x00\xff\xff") == message


def test_window_of_8_bits_is_never_used_for_compression():
    sender = codec(local=8)
    for compress in (None, True):
        frame = Frame(TEXT, JSON)
        assert sender.encode(frame, compress) is frame
    frame = Frame(TEXT, JSON, fin=False)
    assert sender.encode(frame) is frame
    assert sender.standalone_key(1000) is None


def test_threshold_decides_what_is_compressed():
    sender = codec(threshold=10)
    assert not sender.encode(Frame(TEXT, b"x" * 9)).rsv1
    assert sender.encode(Frame(TEXT, b"x" * 10)).rsv1
    # The length of a fragmented message is not known yet.
    assert sender.encode(Frame(TEXT, b"", fin=False)).rsv1
    sender.encode(Frame(CONTINUATION, b""))
    assert not sender.encode(Frame(TEXT, b"")).rsv1


def test_compress_overrides_the_threshold(backend):
    sender = codec(backend, threshold=10)
    message = sender.encode(Frame(TEXT, b"x"), compress=True)
    assert message.rsv1
    assert inflate_whole([message.payload]) == b"x"
    plain = Frame(TEXT, b"x" * 1000)
    assert sender.encode(plain, compress=False) is plain
    # RFC 7692 §6: the continuation of a message that is not compressed is not, either.
    first, second = Frame(TEXT, b"x" * 1000, fin=False), Frame(CONTINUATION, b"x" * 1000)
    assert sender.encode(first, compress=False) is first
    assert sender.encode(second) is second


def test_d10_empty_message_is_one_byte(backend):
    """RFC 7692 §7.2.3.6; ISA-L writes two."""
    sender = codec(backend, threshold=0)
    payloads = [sender.encode(Frame(TEXT, b"")).payload for _ in range(2)]
    assert payloads == [b"\x00", b"\x00"] or (backend == "isal" and list(map(len, payloads)) == [2, 2])


def test_empty_message_can_be_inflated(backend):
    sender = codec(backend, threshold=0)
    assert inflate_whole([sender.encode(Frame(TEXT, data)).payload for data in (b"", b"", b"abc", b"")]) == b"abc"


def test_d8_rsv1_is_on_the_first_frame_only(backend):
    """RFC 7692 §6.1: the message is compressed as a whole, and then cut."""
    sender = codec(backend)
    frames = [
        sender.encode(Frame(TEXT, JSON, fin=False)),
        sender.encode(Frame(CONTINUATION, b"", fin=False)),
        sender.encode(Frame(CONTINUATION, JSON, fin=False)),
        sender.encode(Frame(CONTINUATION, b"")),
    ]
    assert [(frame.opcode, frame.fin, frame.rsv1) for frame in frames] == [
        (TEXT, False, True),
        (CONTINUATION, False, False),
        (CONTINUATION, False, False),
        (CONTINUATION, True, False),
    ]
    assert inflate_whole([b"".join(frame.payload for frame in frames)]) == JSON * 2


@pytest.mark.parametrize("opcode", [Opcode.CLOSE, Opcode.PING, Opcode.PONG])
def test_d8_control_frames_are_not_touched(opcode):
    """RFC 7692 §6."""
    extension = codec(threshold=0)
    frame = Frame(opcode, JSON)
    assert extension.encode(frame) is frame
    assert extension.encode(frame, compress=True) is frame
    assert extension.decode(frame) is frame


def test_standalone_message_is_the_same_for_equal_settings(backend):
    one, two = codec(backend), codec(backend, local_no=True, remote=9, threshold=10)
    assert one.standalone_key(100) == two.standalone_key(100) is not None
    assert one.encode_standalone(JSON) == two.encode_standalone(JSON)
    assert inflate_whole([one.encode_standalone(JSON)]) == JSON
    assert one.standalone_key(50) is None
    for other in (codec(backend, local=10), codec(backend, level=2), codec(backend, memory_level=9)):
        assert other.standalone_key(100) != one.standalone_key(100)
    assert (one.standalone_key(100) == codec("zlib").standalone_key(100)) is (backend == "zlib")


# Receiving


class Deflater:
    """A peer that makes every kind of block (RFC 1951 §3.2.3), each of which may refer back over any other."""

    def __init__(self, wbits=15, takeover=True):
        self.wbits = wbits
        self.takeover = takeover
        self.history = b""

    def block(self, data, kind="sync"):
        if kind == "empty final":
            return EMPTY_FINAL_BLOCK
        level = 0 if kind.startswith("stored") else 9
        strategy = zlib.Z_FIXED if kind.startswith("fixed") else zlib.Z_DEFAULT_STRATEGY
        deflater = zlib.compressobj(level, zlib.DEFLATED, -self.wbits, 8, strategy, zdict=self.history)
        self.history = (self.history + data)[-(1 << self.wbits) :]
        mode = zlib.Z_FINISH if kind.endswith("final") else zlib.Z_SYNC_FLUSH
        return deflater.compress(data) + deflater.flush(mode)

    def message(self, *blocks, trailer=b"\x00"):
        """Write a message of pairs of data and kind; one that ends with a final block has the trailer behind it."""
        if not self.takeover:
            self.history = b""
        wire = b"".join(self.block(data, kind) for data, kind in blocks)
        if blocks[-1][1].endswith("final"):
            return wire + trailer
        assert wire.endswith(b"\x00\x00\xff\xff")
        return wire[:-4]


def receive(extension, payload, *cuts, max_size=None, opcode=TEXT):
    """Decode a message that comes in fragments, cut at the given places."""
    ends = [*cuts, len(payload)]
    output = b""
    for number, (begin, end) in enumerate(zip([0, *cuts], ends, strict=True)):
        room = None if max_size is None else max_size - len(output)
        frame = Frame(CONTINUATION if number else opcode, payload[begin:end], number == len(cuts), number == 0)
        decoded = extension.decode(frame, max_size=room)
        assert (decoded.opcode, decoded.fin, decoded.rsv1) == (frame.opcode, frame.fin, False)
        output += decoded.payload
    return output


def attempt(extension, payload, *cuts, **options):
    """Decode a message that may be wrong; return what comes out, and the fault."""
    try:
        return receive(extension, payload, *cuts, **options), None
    except (ProtocolError, PayloadTooBig) as exc:
        return b"", exc.fault


def refuse(extension, payload, *cuts, **options):
    with pytest.raises(ProtocolError) as info:
        receive(extension, payload, *cuts, **options)
    assert info.value.fault is not None
    return info.value.fault


def test_d9_message_that_is_not_compressed_is_legal():
    """RFC 7692 §6."""
    extension = codec()
    for frame in (Frame(TEXT, JSON), Frame(TEXT, b"\xff", fin=False), Frame(CONTINUATION, b"\xff")):
        assert extension.decode(frame, max_size=1) is frame
    assert not extension.holds_contexts


@pytest.mark.parametrize("kind", ["sync", "fixed", "stored", "final", "fixed final", "stored final"])
def test_d10_kinds_of_blocks(backend, kind):
    """RFC 7692 §7.2.3.1 to §7.2.3.5."""
    peer, extension = Deflater(), codec(backend)
    for _ in range(3):
        assert receive(extension, peer.message((JSON, kind))) == JSON
        assert receive(extension, peer.message((JSON, kind), (b"", kind), (JSON, kind))) == JSON * 2
        assert receive(extension, peer.message((b"", kind))) == b""


@pytest.mark.parametrize("trailer", [b"\x00", b""], ids=["with trailer", "without"])
@pytest.mark.parametrize("takeover", [True, False])
def test_d10_two_messages_in_a_row_that_end_with_a_final_block(backend, takeover, trailer):
    """RFC 7692 §7.2.3.4: most peers lose the second."""
    peer, extension = Deflater(takeover=takeover), codec(backend, remote_no=not takeover)
    sizes = []
    for _ in range(3):
        payload = peer.message((JSON, "final"), trailer=trailer)
        sizes.append(len(payload))
        assert receive(extension, payload) == JSON
    # With takeover, the later ones refer back over the final block.
    assert sizes[1] < sizes[0] / 3 if takeover else len(set(sizes)) == 1


@pytest.mark.parametrize("trailer", [b"\x00", b""], ids=["with trailer", "without"])
def test_d10_final_block_among_others(backend, trailer):
    peer, extension = Deflater(), codec(backend)
    for kinds in (
        ["final", "sync"],
        ["sync", "final"],
        ["final"] * 3,
        ["empty final", "final"],
        ["stored", "final", "final"],
    ):
        payload = peer.message(*((JSON, kind) for kind in kinds), trailer=trailer)
        assert receive(extension, payload) == JSON * sum(kind != "empty final" for kind in kinds), kinds
    assert receive(extension, peer.message((b"", "empty final"), trailer=trailer)) == b""
    assert receive(extension, peer.message((JSON, "sync"))) == JSON


@pytest.mark.parametrize("trailer", [b"\x00", b""], ids=["with trailer", "without"])
@pytest.mark.parametrize("takeover", [True, False])
def test_final_block_at_the_end_of_a_fragment(backend, takeover, trailer):
    peer, extension = Deflater(takeover=takeover), codec(backend, remote_no=not takeover)
    for _ in range(2):
        payload = peer.message((JSON, "final"), trailer=trailer)
        block = len(payload) - len(trailer)
        # An empty last fragment, too.
        assert receive(extension, payload, block) == JSON
        payload = peer.message((JSON, "final"), (JSON, "final"), trailer=trailer)
        assert receive(extension, payload, len(payload) - len(trailer)) == JSON * 2
        payload = peer.message((JSON, "sync"), trailer=trailer)
        assert receive(extension, payload, len(payload)) == JSON


def test_final_block_within_a_fragment_refers_to_the_fragments_before(backend):
    for takeover in (True, False):
        peer, extension = Deflater(takeover=takeover), codec(backend, remote_no=not takeover)
        for _ in range(2):
            payload = peer.message((RANDOM[:1000], "sync"), (RANDOM[:500], "final"), (RANDOM[:1000], "sync"))
            assert receive(extension, payload, 1010) == RANDOM[:1000] + RANDOM[:500] + RANDOM[:1000]


BLOCK_KINDS = ["sync", "sync", "fixed", "stored", "final", "fixed final", "stored final", "empty final"]
PIECES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from([JSON, JSON[:40], RANDOM[:300], RANDOM, JSON * 60, b"\x00" * 9000, b"abc"]),
)
MESSAGES = st.lists(
    st.tuples(
        st.lists(st.tuples(PIECES, st.sampled_from(BLOCK_KINDS)), min_size=1, max_size=5),
        st.sampled_from([b"", b"\x00"]),
        st.lists(st.floats(0, 1), max_size=4),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


def test_any_legal_stream_in_any_fragments_is_decoded(backend):
    """Rows D10, D13 and D14: kinds of blocks, references back, fragments, pings between, contexts given up anywhere."""

    @settings(max_examples=150, deadline=None)
    @given(messages=MESSAGES, wbits=st.integers(8, 15), takeover=st.booleans())
    @example(messages=[([(JSON, "final")], b"", [1.0], True)] * 2, wbits=9, takeover=False)
    def check(messages, wbits, takeover):
        # zlib's smallest window reaches no farther back than one of 8 bits.
        peer, extension = Deflater(max(9, wbits), takeover), codec(backend, remote_no=not takeover, remote=wbits)
        for blocks, trailer, places, release in messages:
            payload = peer.message(*blocks, trailer=trailer)
            cuts = sorted(int(place * len(payload)) for place in places)
            data = b"".join(data for data, kind in blocks if kind != "empty final")
            ends = [*cuts, len(payload)]
            output = b""
            for number, (begin, end) in enumerate(zip([0, *cuts], ends, strict=True)):
                frame = Frame(CONTINUATION if number else BINARY, payload[begin:end], number == len(cuts), number == 0)
                output += extension.decode(frame, max_size=len(data) - len(output)).payload
                extension.decode(Frame(Opcode.PING, b"?"))
                if release:
                    extension.release_contexts()
            assert output == data

    check()


def test_contexts_can_be_given_up_between_messages_and_fragments(backend):
    sender, receiver = codec(backend), codec(backend)
    for _ in range(3):
        for extension in (sender, receiver):
            extension.release_contexts()
            assert not extension.holds_contexts
        assert receiver.decode(sender.encode(Frame(TEXT, JSON))).payload == JSON
        again = sender.encode(Frame(TEXT, JSON))
        receiver.release_contexts()
        # It refers to the message before it, whose decompressor is gone: the window was kept.
        assert len(again.payload) < 30
        assert receiver.decode(again).payload == JSON
        assert sender.holds_contexts
        assert receiver.holds_contexts
        output = b""
        for opcode, fin in ((TEXT, False), (CONTINUATION, False), (CONTINUATION, True)):
            output += receiver.decode(sender.encode(Frame(opcode, JSON, fin))).payload
            sender.release_contexts()
            receiver.release_contexts()
        assert output == JSON * 3


def test_what_is_kept_of_an_idle_connection_is_the_window():
    receiver = codec(remote=10)
    sender = Deflater(10)
    for _ in range(5):
        receive(receiver, sender.message((RANDOM, "sync")))
    receiver.release_contexts()
    assert len(receiver._window) == 1024
    # Without takeover, it is nothing.
    receiver = codec(remote=10, remote_no=True)
    receive(receiver, Deflater(10).message((RANDOM, "sync")), 100)
    receiver.release_contexts()
    assert len(receiver._window) == 0


def test_idle_timeout_is_that_of_the_options():
    assert codec(idle_timeout=3).idle_timeout == 3
    assert codec(idle_timeout=None).idle_timeout is None


# Attacks


WHOLE = Deflater().message((JSON, "final"))

INVALID = {
    # RFC 1951 §3.2.3: BTYPE 11 is reserved.
    "reserved block type": b"\x06",
    "reserved block type behind a final block": EMPTY_FINAL_BLOCK + b"\x06",
    "stored block with wrong length": b"\x00\x05\x00\x00\x00hello",
    "reference to before the beginning": b"\x02\x06\x00\x00",
    "random bytes": b"\xff" * 20,
    "gzip": bytes.fromhex("1f8b080000000000"),
}


@pytest.mark.parametrize("payload", [pytest.param(payload, id=name) for name, payload in INVALID.items()])
def test_d11_garbage_fails_the_connection(backend, payload):
    assert refuse(codec(backend), payload) is Fault.INVALID_DEFLATE
    assert refuse(codec(backend), payload, max_size=100) is Fault.INVALID_DEFLATE


def test_fault_tells_what_the_backend_says():
    with pytest.raises(ProtocolError, match=r"^a compressed message cannot be decompressed: Error -3 .* block type"):
        receive(codec(), b"\x06")


def test_d11_no_other_exception_leaks(backend):
    @settings(max_examples=300, deadline=None)
    @given(
        payload=st.binary(max_size=200)
        | st.tuples(st.binary(max_size=9), st.integers(0, 60), st.integers(0, 255)).map(
            # A right message with a byte changed, or cut short.
            lambda parts: parts[0] + WHOLE[: parts[1]] + bytes([parts[2]]) + WHOLE
        ),
        cut=st.integers(0, 200),
        limit=st.sampled_from([None, 0, 1, 50, 10_000]),
        takeover=st.booleans(),
    )
    def check(payload, cut, limit, takeover):
        extension = codec(backend, remote_no=not takeover, remote=9)
        for _ in range(2):
            output, fault = attempt(extension, payload, min(cut, len(payload)), max_size=limit)
            assert limit is None or len(output) <= limit
            if fault is not None:
                assert fault in (Fault.INVALID_DEFLATE, Fault.MESSAGE_TOO_BIG, Fault.TOO_MANY_FINAL_BLOCKS)
                break

    check()


def is_complete(payload):
    """Tell whether a message without final blocks ends where a block does, as zlib sees it."""
    inflater = zlib.decompressobj(-15)
    try:
        inflater.decompress(payload)
        behind = inflater.decompress(b"\x00\x00\xff\xff" + EMPTY_FINAL_BLOCK)
    except zlib.error:
        return False
    return inflater.eof and not behind


@pytest.mark.parametrize("takeover", [True, False])
@pytest.mark.parametrize("kind", ["sync", "fixed", "stored"])
def test_d11_message_that_is_cut_short_fails_the_connection(backend, kind, takeover):
    """RFC 7692 §7.2.2."""
    for data in (JSON, JSON * 20, RANDOM[:300], b"\x00" * 500):
        whole = Deflater().message((data, kind), (data, kind), (b"abc", kind))
        for size in (None, 10_000):
            outputs = set()
            for end in range(len(whole)):
                extension = codec(backend, remote_no=not takeover)
                cuts = (end // 2,) if size else ()
                if is_complete(whole[:end]):
                    outputs.add(receive(extension, whole[:end], *cuts, max_size=size))
                else:
                    assert refuse(extension, whole[:end], *cuts, max_size=size) is Fault.INVALID_DEFLATE, end
            # The first byte of a stored block may be that of the empty block at the end as well.
            assert outputs - {b""} == {data, data * 2}


@pytest.mark.parametrize("takeover", [True, False])
def test_d11_end_of_a_message(backend, takeover):
    """RFC 7692 §7.2.1: the last block is an empty one, of which all but the first bits have been removed."""
    for payload in (b"", RANDOM[:1] + b"\x00\x00\xff\xff", WHOLE[:-4], b"\x00" + b"\x00\x00\xff\xff"):
        assert refuse(codec(backend, remote_no=not takeover), payload) is Fault.INVALID_DEFLATE
    extension = codec(backend, remote_no=not takeover)
    peer = Deflater(takeover=takeover)
    for _ in range(3):
        # The bits that no block needs are anybody's; the empty block may be a final one.
        for end in (b"\x00", b"\xf8", b"\x01", b"\xf9"):
            assert receive(extension, peer.message((JSON, "final"), trailer=end)) == JSON
            assert receive(extension, end) == b""


def test_fault_tells_that_a_message_is_cut_short():
    with pytest.raises(ProtocolError, match=r"^a compressed message cannot be decompressed: it ends within a block$"):
        receive(codec(), b"")


@pytest.mark.parametrize("kind", ["sync", "stored", "final", "stored final"])
@pytest.mark.parametrize("size", [0, 1, 2, 257, 258, 4096, 70_000])
def test_d12_limit_passes_and_one_byte_more_does_not(backend, size, kind):
    data = (RANDOM * 14)[:size] if kind == "stored" else b"x" * size
    for blocks in (((data, kind),), ((data[: size // 2], kind), (data[size // 2 :], kind))):
        payload = Deflater().message(*blocks)
        for cuts in ((), (len(payload) // 2,), (1, 2, len(payload))):
            assert receive(codec(backend), payload, *cuts, max_size=size) == data
            if size:
                with pytest.raises(PayloadTooBig) as info:
                    receive(codec(backend), payload, *cuts, max_size=size - 1)
                assert info.value.fault is Fault.MESSAGE_TOO_BIG


def test_d12_limit_is_enforced_while_inflating(backend):
    """RFC 6455 §10.4: 100 MiB of zeros in 100 KiB."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(deflater.compress(bytes(2**20)) for _ in range(100)) + deflater.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < 110_000
    for prefix in (b"", EMPTY_FINAL_BLOCK):
        extension = codec(backend)
        tracemalloc.start()
        try:
            with pytest.raises(PayloadTooBig):
                receive(extension, prefix + bomb, max_size=2**20)
            assert tracemalloc.get_traced_memory()[1] < 4e6
        finally:
            tracemalloc.stop()


def test_d12_final_blocks_are_counted(backend):
    assert receive(codec(backend), EMPTY_FINAL_BLOCK * MAX_FINAL_BLOCKS) == b""
    chain = EMPTY_FINAL_BLOCK * (MAX_FINAL_BLOCKS + 1)
    assert refuse(codec(backend), chain) is Fault.TOO_MANY_FINAL_BLOCKS
    assert refuse(codec(backend), chain, *range(2, len(chain), 2)) is Fault.TOO_MANY_FINAL_BLOCKS
    # Each message has its own.
    extension = codec(backend)
    for _ in range(3):
        assert receive(extension, EMPTY_FINAL_BLOCK * MAX_FINAL_BLOCKS + b"\x00") == b""


def test_d12_chain_of_final_blocks_does_not_copy_the_rest_of_the_message(backend):
    # aiohttp's CVE-2026-128131: quadratic, with seconds of processor time for what takes milliseconds here.
    head = EMPTY_FINAL_BLOCK * (MAX_FINAL_BLOCKS - 1)
    for chain in (EMPTY_FINAL_BLOCK * 2**18, head + Deflater().message((RANDOM * 200, "stored"))):
        begin = time.process_time()
        _, fault = attempt(codec(backend), chain, max_size=2**20)
        assert time.process_time() - begin < 0.5
        assert fault in (Fault.TOO_MANY_FINAL_BLOCKS, None)


def test_pieces_behind_a_final_block_are_put_together(backend, monkeypatch):
    monkeypatch.setattr(deflate_module, "PIECE_SIZE", 3)
    peer, extension = Deflater(), codec(backend)
    for _ in range(2):
        payload = peer.message((JSON, "final"), (RANDOM, "sync"), (JSON, "final"), (b"abc", "stored"))
        assert receive(extension, payload, max_size=10_000) == JSON + RANDOM + JSON + b"abc"
