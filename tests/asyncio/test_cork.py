"""``Cork``, which hosts with their own connections write through."""

from __future__ import annotations

import asyncio

import pytest

from wsframe.hosting import Cork
from wsframe.limits import JOINED_BYTES


@pytest.fixture
def writes():
    return []


@pytest.fixture
def cork(writes):
    return Cork(writes.append)


async def test_frames_are_written_at_once_unless_held(cork, writes):
    cork.write(b"a")
    cork.write(b"b")
    assert writes == [b"a", b"b"]


async def test_frames_held_within_a_read_are_written_in_one_piece(cork, writes):
    cork.hold()
    cork.write(b"a")
    cork.write(b"b")
    assert writes == []
    cork.release()
    assert writes == [b"ab"]
    cork.write(b"c")
    assert writes == [b"ab", b"c"]


async def test_release_without_frames_writes_nothing(cork, writes):
    cork.hold()
    cork.release()
    assert writes == []


async def test_a_single_held_frame_is_not_copied(cork, writes):
    frame = bytes(1000)
    cork.hold()
    cork.write(frame)
    cork.release()
    assert writes[0] is frame


async def test_flush_keeps_holding(cork, writes):
    cork.hold()
    cork.write(b"a")
    cork.flush()
    cork.write(b"b")
    assert writes == [b"a"]
    cork.release()
    assert writes == [b"a", b"b"]


async def test_frames_held_for_a_turn_are_written_at_its_end(cork, writes):
    loop = asyncio.get_running_loop()
    for data in (b"a", b"b"):
        cork.hold_for_turn(loop)
        cork.write(data)
    assert writes == []
    await asyncio.sleep(0)
    assert writes == [b"ab"]
    cork.write(b"c")
    assert writes == [b"ab", b"c"]


@pytest.mark.parametrize(("size", "count"), [(JOINED_BYTES, 0), (JOINED_BYTES + 1, 1)])
async def test_frames_are_held_up_to_a_limit(cork, writes, size, count):
    cork.hold()
    cork.write(b"")
    cork.write(bytes(size))
    assert len(writes) == count
    cork.write(b"a")
    cork.release()
    assert b"".join(writes) == bytes(size) + b"a"


async def test_frames_sent_by_a_write_follow_it():
    writes = []

    def write(data):
        writes.append(data)
        if data == b"ab":
            cork.write(b"c")

    cork = Cork(write)
    cork.hold()
    cork.write(b"a")
    cork.write(b"b")
    cork.release()
    assert writes == [b"ab", b"c"]


async def test_frames_after_a_failed_write_are_written():
    writes = []

    def write(data):
        if not writes:
            writes.append("failed")
            raise OSError
        writes.append(data)

    cork = Cork(write)
    cork.hold()
    cork.write(b"a")
    with pytest.raises(OSError):
        cork.release()
    cork.write(b"b")
    assert writes == ["failed", b"b"]


async def test_frames_kept_by_the_caller_are_counted(cork, writes):
    assert not cork.keeps(1)
    cork.hold()
    assert cork.keeps(JOINED_BYTES)
    assert not cork.keeps(1)
    assert cork.keeps(JOINED_BYTES)
    cork.release()
    cork.hold()
    assert cork.keeps(JOINED_BYTES)
    assert writes == []
