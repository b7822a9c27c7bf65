"""The vectors of ``tests/vectors``, for parsing and for serializing (RFC 6455 §5, with the examples of §5.7).

A vector has the wire in hex (or hex repeated), the role of who receives it, options of the parser, and what must
come out: frames, a fault or null, and how many bytes of an incomplete frame are pending.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wsframe.constants import Opcode, Role
from wsframe.exceptions import Fault

VECTORS = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent.parent / "vectors").glob("*.json"))
}


def spell(parts):
    return b"".join(
        bytes.fromhex(part) if isinstance(part, str) else bytes.fromhex(part["hex"]) * part["times"] for part in parts
    )


def summarize(frames):
    return [(frame.opcode, frame.payload, frame.fin, frame.rsv1) for frame in frames]


def expected(vector):
    return [
        (Opcode[frame["opcode"]], spell(frame["payload"]), frame["fin"], frame.get("rsv1", False))
        for frame in vector["frames"]
    ]


each_vector = pytest.mark.parametrize(
    "vector",
    [pytest.param(vector, id=f"{name}: {vector['name']}") for name, vectors in VECTORS.items() for vector in vectors],
)


def test_every_fault_has_a_vector():
    assert {vector["fault"] for vector in VECTORS["faults"]} == {fault.name for fault in Fault}


def test_every_example_of_the_rfc_has_a_vector():
    # RFC 6455 §5.7 lists six, and the one with the pong answers that with the ping.
    assert len(VECTORS["rfc6455_5_7"]) == 7


@each_vector
def test_parsing_in_one_piece_and_in_each_two(impl, vector):
    wire = spell(vector["wire"])
    middle = range(len(wire) // 4, len(wire), 4099) if len(wire) > 300 else ()
    cuts = [*range(min(len(wire), 300)), *middle]
    for cut in cuts or [0]:
        parser = impl.framing.FrameParser(Role[vector["role"]], **vector.get("options", {}))
        frames = parser.feed(wire[:cut]) + parser.feed(wire[cut:])
        assert summarize(frames) == expected(vector), cut
        assert (parser.fault and parser.fault.name) == vector["fault"], cut
        assert parser.pending_bytes == vector["pending"], cut


@each_vector
def test_parsing_byte_by_byte(impl, vector):
    wire = spell(vector["wire"])
    parser = impl.framing.FrameParser(Role[vector["role"]], **vector.get("options", {}))
    frames = []
    for i in range(len(wire)):
        assert parser.fault is None, "a vector ends with the byte that settles its fault"
        frames += parser.feed(wire[i : i + 1])
    assert summarize(frames) == expected(vector)
    assert (parser.fault and parser.fault.name) == vector["fault"]
    assert parser.pending_bytes == vector["pending"]


@each_vector
def test_serializing(impl, vector):
    wire = b"".join(
        impl.framing.serialize_frame(
            Opcode[frame["opcode"]],
            spell(frame["payload"]),
            fin=frame["fin"],
            rsv1=frame.get("rsv1", False),
            mask=bytes.fromhex(frame["mask"]) if "mask" in frame else None,
        )
        for frame in vector["frames"]
    )
    # Behind a fault or within a frame there are no frames to write the rest of the wire from.
    whole = vector["fault"] is None and vector["pending"] == 0 and vector["section"] != "RFC 6455 §1.4"
    assert spell(vector["wire"])[: None if whole else len(wire)] == wire
