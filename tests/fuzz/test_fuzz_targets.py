"""The ordinary run of the targets, by hypothesis: a few examples of each, and more of them with ``-m long``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from .implementations import implementations
from .source import ByteSource, HypothesisSource
from .targets import load_targets

TARGETS = load_targets()

# Of an example that fails, with large messages in it.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

OPTIONS = {"deadline": None, "suppress_health_check": list(HealthCheck)}


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=20, **OPTIONS)
@given(data=st.data())
def test_target(name, data):
    list(TARGETS[name](HypothesisSource(data)))


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=1000, **OPTIONS)
@given(data=st.data())
def test_target_for_longer(name, data):
    list(TARGETS[name](HypothesisSource(data)))


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=40, **OPTIONS)
@given(data=st.binary(max_size=400))
def test_target_on_bytes(name, data):
    list(TARGETS[name](ByteSource(data)))


def run(*arguments):
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.fuzz", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=100, check=False)


def test_driver_lists_targets():
    result = run("--list")
    assert result.returncode == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == list(TARGETS)


def test_driver_finds_nothing_in_a_short_run(tmp_path):
    result = run("serialize", "--seconds", "1", "--seed", "1", "--corpus", str(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr
    stored = list((tmp_path / "serialize").iterdir())
    assert stored
    again = run("serialize", "--input", str(stored[0]))
    assert again.returncode == 0
    assert "passed" in again.stdout


@pytest.mark.parametrize("arguments", [["no-such-target"], [], ["all", "--input", "x"], ["masks", "--seconds", "0"]])
def test_driver_refuses_wrong_arguments(arguments):
    assert run(*arguments).returncode == 2


def test_implementations_are_separate_copies():
    names = [one.name for one in implementations()]
    assert names in (["c", "py"], ["py"])
    for one in implementations():
        assert one.connection.SansIOConnection.__mro__[1].__module__ == f"wsframe.messages._messenger_{one.name}"
        assert one.codec.apply_mask(b"abc", b"\0\0\0\0") == b"abc"
        assert one.connection.SansIOConnection(one.constants.Role.SERVER).state is one.constants.State.OPEN
    packages = [one.package for one in implementations()]
    assert len(set(map(id, packages))) == len(packages)
