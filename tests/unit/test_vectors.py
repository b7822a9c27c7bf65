"""The vectors of ``tests/vectors``, for parsing and for serializing (RFC 6455 §5, with the examples of §5.7).

A vector has the wire in hex (or hex repeated), the role of who receives it, options of the parser, and what must
come out: frames, a fault or null, and how many bytes of an incomplete frame are pending.

Those of ``deflate.json`` (RFC 7692 §7.2.3) are received by a client that has agreed on permessage-deflate. They have
messages instead of frames; where they are ``written``, it is also what we make of these messages.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wsframe.codec import Frame
from wsframe.constants import Opcode, Role, State
from wsframe.exceptions import Fault
from wsframe.extensions.deflate import PerMessageDeflate, PerMessageDeflateFactory
from wsframe.limits import Limits

VECTORS = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parent.parent / "vectors").glob("*.json"))
}
DEFLATE_VECTORS = VECTORS.pop("deflate")


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
    of_parser = {vector["fault"] for vector in VECTORS["faults"]}
    of_deflate = {vector["fault"] for vector in DEFLATE_VECTORS} - {None}
    # Only a connection limits the number of fragments: see test_connection_limits.
    assert of_parser | of_deflate | {"TOO_MANY_FRAGMENTS"} == {fault.name for fault in Fault}
    assert of_deflate - of_parser == {"INVALID_DEFLATE", "TOO_MANY_FINAL_BLOCKS"}


def test_every_example_of_the_rfc_has_a_vector():
    # RFC 6455 §5.7 lists six, and the one with the pong answers that with the ping.
    assert len(VECTORS["rfc6455_5_7"]) == 7
    sections = {vector["section"] for vector in DEFLATE_VECTORS}
    assert {f"RFC 7692 §7.2.3.{number}" for number in range(1, 7)} <= sections


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
    # After a fault or within a frame, there are no frames to serialize.
    whole = vector["fault"] is None and vector["pending"] == 0 and vector["section"] != "RFC 6455 §1.4"
    assert spell(vector["wire"])[: None if whole else len(wire)] == wire


each_deflate_vector = pytest.mark.parametrize(
    "vector", DEFLATE_VECTORS, ids=[vector["name"] for vector in DEFLATE_VECTORS]
)


def deflate(vector, backend):
    no_context_takeover = vector.get("no_context_takeover", False)
    return PerMessageDeflate(
        PerMessageDeflateFactory(backend=backend, threshold=0),
        remote_no_context_takeover=no_context_takeover,
        local_no_context_takeover=no_context_takeover,
        remote_max_window_bits=15,
        local_max_window_bits=15,
    )


def receiving(impl):
    """Make the class of the part of a connection that receives messages; a fault it takes for an event."""

    class Receiver(impl.messenger.Messenger):
        def _receive_fault(self, fault, refused_length, refused_payload, read):
            return fault

        def _receive_control(self, frame):
            return None

    return Receiver


@each_deflate_vector
def test_receiving_compressed_messages_in_each_two_pieces(impl, backend, vector):
    wire = spell(vector["wire"])
    limit = vector.get("max_message_size")
    for cut in range(len(wire)) if len(wire) < 100 else (0, 100):
        core = receiving(impl)(Role.CLIENT, State.OPEN, Limits(limit), [deflate(vector, backend)])
        received = core.receive_data(wire[:cut]) + core.receive_data(wire[cut:])
        fault = received.pop().name if received and isinstance(received[-1], Fault) else None
        assert [message.data for message in received if message is not None] == vector["messages"], cut
        assert fault == vector["fault"], cut


@pytest.mark.parametrize(
    "vector", [vector for vector in DEFLATE_VECTORS if "written" in vector], ids=lambda v: v["name"]
)
def test_sending_compressed_messages(impl, vector):
    extension = deflate(vector, "zlib")
    frames = [extension.encode(Frame(Opcode.TEXT, message.encode())) for message in vector["messages"]]
    wire = [impl.framing.serialize_frame(frame.opcode, frame.payload, rsv1=frame.rsv1) for frame in frames]
    assert wire == [bytes.fromhex(part) for part in vector["wire"]]
