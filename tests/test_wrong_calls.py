"""Arguments are checked where they are given, with the same words in both implementations; right ones stay accepted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import wrong_calls
from support import environment
from wrong_calls import TABLE

pytest.importorskip("werkzeug.routing")

EXPECTED = {**TABLE["wrong"], **TABLE["live"], **TABLE["blocking"], **dict.fromkeys(TABLE["right"], "accepted")}


@pytest.fixture(scope="module")
def here():
    return wrong_calls.outcomes()


@pytest.mark.parametrize("call", EXPECTED)
def test_call(call, here):
    assert here[call] == EXPECTED[call]


def test_every_wrong_call_is_refused_with_a_message():
    assert len(TABLE["wrong"]) > 1000
    for call, words in TABLE["wrong"].items():
        kind, _, text = words.partition(": ")
        assert kind not in ("accepted", "AttributeError", "IndexError", "KeyError", "AssertionError"), call
        assert len(text) > 10, call


def test_both_implementations_give_the_same_messages(impl):
    program = [sys.executable, str(Path(wrong_calls.__file__))]
    done = subprocess.run(program, env=environment(impl.name), capture_output=True, timeout=120, check=True)
    found = json.loads(done.stdout)
    assert {call: found[call] for call in EXPECTED if found[call] != EXPECTED[call]} == {}
