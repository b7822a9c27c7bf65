"""Both implementations, and every cutting of a stream, give the same frames, fault and leftover (RFC 6455 §5).

Streams are mostly valid, with a few bytes damaged: random bytes alone hardly get past the first header.
"""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import event, example, given, settings

from wsframe.codec import _framing_py
from wsframe.constants import Role

TEXT = st.text(max_size=40).map(str.encode)
SIZES = st.sampled_from([124, 125, 126, 127, 200, 4095, 4096, 4097, 9000, 65535, 65536])
# At the limits below, and at 1/8 and 64 bytes above them, which is what messages with RSV1 may have.
EDGES = st.tuples(st.sampled_from([0, 1, 10, 64, 65, 75, 125, 126, 204, 205, 5000, 5689]), st.integers(0, 1)).map(sum)
LARGE = st.tuples(SIZES, st.sampled_from([b"x", "é".encode(), b"\xff"])).map(
    lambda pair: (pair[1] * pair[0])[: pair[0]]
)
REASON = st.tuples(st.sampled_from([1000, 1001, 1005, 1006, 1014, 1015, 2999, 3000, 4999, 5000]), TEXT).map(
    lambda pair: pair[0].to_bytes(2, "big") + pair[1][:100]
)
PAYLOAD = st.one_of(TEXT, st.binary(max_size=20), LARGE, EDGES.map(bytes))
LIMIT = st.one_of(st.none(), st.sampled_from([0, 1, 10, 125, 126, 5000, 2**16, 2**62]))
CUTS = st.one_of(st.just([1]), st.lists(st.integers(1, 40), min_size=1, max_size=20), st.just([4096]), st.just([10**9]))


@st.composite
def frame(draw, role):
    opcode = draw(st.sampled_from([0, 0, 1, 1, 1, 2, 2, 8, 9, 10]))
    mask = draw(st.binary(min_size=4, max_size=4)) if role is Role.SERVER else None
    payload = draw(
        st.one_of(st.just(b""), REASON) if opcode == 8 else st.binary(max_size=125) if opcode > 8 else PAYLOAD
    )
    fin = opcode > 7 or draw(st.booleans())
    rsv1 = opcode in (1, 2) and draw(st.integers(0, 3)) == 0
    return _framing_py.serialize_frame(opcode, payload, fin=fin, rsv1=rsv1, mask=mask)


@st.composite
def message(draw, role):
    """Write a whole message in fragments, a character perhaps over the border of two, with pings between them."""
    mask = draw(st.binary(min_size=4, max_size=4)) if role is Role.SERVER else None
    text = draw(st.booleans())
    rest = draw(TEXT if text else PAYLOAD)
    opcode, wire, rsv1 = 1 if text else 2, b"", draw(st.integers(0, 3)) == 0
    for size in draw(st.lists(st.integers(0, 30), max_size=3)):
        wire += _framing_py.serialize_frame(opcode, rest[:size], fin=False, rsv1=rsv1, mask=mask)
        if draw(st.booleans()):
            wire += _framing_py.serialize_frame(9, draw(st.binary(max_size=5)), mask=mask)
        opcode, rest, rsv1 = 0, rest[size:], False
    return wire + _framing_py.serialize_frame(opcode, rest, rsv1=rsv1, mask=mask)


@st.composite
def stream(draw):
    role = draw(st.sampled_from(Role))
    wire = bytearray(b"".join(draw(st.lists(st.one_of(message(role), frame(role)), max_size=6))))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        # Near the beginning, where headers are; after the first 1,000 bytes there is little but payload.
        place = draw(st.integers(0, max(0, min(len(wire), 1000) - 1)))
        wire[place : place + 1] = draw(st.binary(max_size=2))
    if draw(st.booleans()):
        wire += draw(st.binary(max_size=20))
    return role, bytes(wire)


def run(framing, wire, cuts, role, options):
    """Feed a stream in pieces of the given sizes, in turn; return everything that can be seen after each."""
    parser = framing.FrameParser(role, **options)
    frames, states, pos, turn = [], {}, 0, 0
    while pos < len(wire):
        piece = wire[pos : pos + cuts[turn % len(cuts)]]
        pos, turn = pos + len(piece), turn + 1
        frames += [
            (frame.opcode, frame.payload, frame.fin, frame.rsv1, frame.rsv2, frame.rsv3) for frame in parser.feed(piece)
        ]
        states[pos] = (len(frames), parser.fault, parser.pending_bytes)
    return frames, states


OPTIONS = st.fixed_dictionaries(
    {"max_message_size": LIMIT, "max_fragment_size": LIMIT, "rsv1": st.booleans()}
) | st.just({})


@settings(max_examples=400, deadline=None)
@given(stream=stream(), cuts=CUTS, options=OPTIONS)
@example(
    stream=(Role.CLIENT, b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"), cuts=[1], options={"max_message_size": None}
)
@example(stream=(Role.CLIENT, b"\x01\x02\xc3\xa9\x80\x7f" + b"\xff" * 8), cuts=[3], options={})
def test_mostly_valid_streams(twins, stream, cuts, options):
    role, wire = stream
    compiled = run(twins.c.framing, wire, cuts, role, options)
    assert compiled == run(twins.py.framing, wire, cuts, role, options)
    event(f"fault: {list(compiled[1].values())[-1][1] if wire else None}")


@settings(max_examples=300, deadline=None)
@given(role=st.sampled_from(Role), wire=st.binary(max_size=200), cuts=CUTS, options=OPTIONS)
def test_random_bytes(twins, role, wire, cuts, options):
    assert run(twins.c.framing, wire, cuts, role, options) == run(twins.py.framing, wire, cuts, role, options)


@settings(max_examples=300, deadline=None)
@given(stream=stream(), cuts=CUTS, options=OPTIONS)
def test_any_cutting_equals_one_feed(impl, stream, cuts, options):
    # What is known after each byte depends on the bytes before it alone (row F14).
    role, wire = stream
    wire = wire[:3000]
    frames, states = run(impl.framing, wire, cuts, role, options)
    whole_frames, whole = run(impl.framing, wire, [10**9], role, options)
    assert frames == whole_frames
    assert not wire or states[len(wire)] == whole[len(wire)]
    bytewise = run(impl.framing, wire, [1], role, options)[1]
    assert states.items() <= bytewise.items()


@settings(max_examples=200, deadline=None)
@given(
    opcode=st.integers(0, 15),
    payload=PAYLOAD,
    bits=st.fixed_dictionaries({name: st.booleans() for name in ("fin", "rsv1", "rsv2", "rsv3")}),
    mask=st.none() | st.binary(min_size=4, max_size=4),
)
def test_serialized_frames(twins, opcode, payload, bits, mask):
    compiled = twins.c.framing.serialize_frame(opcode, payload, mask=mask, **bits)
    assert compiled == twins.py.framing.serialize_frame(opcode, payload, mask=mask, **bits)


@settings(max_examples=300, deadline=None)
@given(pieces=st.lists(st.one_of(st.binary(max_size=100), TEXT, LARGE), max_size=6))
def test_utf8_verdicts(twins, pieces):
    compiled, pure = twins.c.utf8.Utf8Validator(), twins.py.utf8.Utf8Validator()
    for piece in pieces:
        assert compiled.feed(piece) == pure.feed(piece)
        assert compiled.valid == pure.valid
    assert compiled.finish() == pure.finish()


@settings(max_examples=100, deadline=None)
@given(opcode=st.integers(-2, 17), payload=TEXT, bits=st.lists(st.booleans(), max_size=4))
def test_frames(twins, opcode, payload, bits):
    results = []
    for twin in (twins.c, twins.py):
        try:
            frame = twin.framing.Frame(opcode, payload, *bits)
        except ValueError as exc:
            results.append(exc.args)
        else:
            results.append((repr(frame), frame == twin.framing.Frame(opcode, payload, *bits)))
    assert results[0] == results[1]


@settings(max_examples=300, deadline=None)
@given(
    limit=st.sampled_from([0, 1, 10, 125, 5000]),
    fragment_limit=st.none() | st.sampled_from([0, 10, 126]),
    sizes=st.lists(st.tuples(EDGES, st.booleans(), st.booleans()), min_size=1, max_size=4),
    cuts=CUTS,
)
def test_limits_of_messages_with_rsv1(twins, limit, fragment_limit, sizes, cuts):
    wire, fin = b"", True
    for size, rsv1, last in sizes:
        opcode, rsv1 = (2, rsv1) if fin else (0, False)
        fin = last
        wire += _framing_py.serialize_frame(opcode, bytes(size), fin=fin, rsv1=rsv1)
    options = {"max_message_size": limit, "max_fragment_size": fragment_limit, "rsv1": True}
    compiled = run(twins.c.framing, wire, cuts, Role.CLIENT, options)
    assert compiled == run(twins.py.framing, wire, cuts, Role.CLIENT, options)
    event(f"fault: {list(compiled[1].values())[-1][1]}")
