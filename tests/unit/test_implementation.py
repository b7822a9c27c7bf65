"""The two switches, at import and at build, and the decision they lead to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wsframe import _implementation
from wsframe._switches import read_switches

ROOT = Path(__file__).parent.parent.parent
SWITCHES = ["WSFRAME_NO_EXTENSIONS", "WSFRAME_REQUIRE_EXTENSIONS"]


@pytest.fixture
def switches(monkeypatch):
    """Set the switches given by name; unset the others."""

    def set_switches(**values):
        for name in SWITCHES:
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(f"WSFRAME_{name}", value)

    set_switches()
    return set_switches


def run(*arguments, cwd=ROOT, **switches):
    environ = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    environ |= {f"WSFRAME_{name}": value for name, value in switches.items()}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("values", "result"),
    [
        ({}, (False, False)),
        ({"NO_EXTENSIONS": "0", "REQUIRE_EXTENSIONS": "0"}, (False, False)),
        ({"NO_EXTENSIONS": "1"}, (True, False)),
        ({"REQUIRE_EXTENSIONS": "1"}, (False, True)),
        ({"NO_EXTENSIONS": "1", "REQUIRE_EXTENSIONS": "0"}, (True, False)),
    ],
)
def test_switches_are_0_or_1(switches, values, result):
    switches(**values)
    assert read_switches() == result


@pytest.mark.parametrize("name", ["NO_EXTENSIONS", "REQUIRE_EXTENSIONS"])
@pytest.mark.parametrize("value", ["", "2", "true", "yes", "01", " 1"])
def test_another_value_is_an_error(switches, name, value):
    switches(**{name: value})
    with pytest.raises(ValueError, match=f"WSFRAME_{name} must be 0 or 1, not {value!r}"):
        read_switches()


def test_both_switches_contradict_each_other(switches):
    switches(NO_EXTENSIONS="1", REQUIRE_EXTENSIONS="1")
    with pytest.raises(ValueError, match="contradict each other"):
        read_switches()


def test_without_extensions_python_runs(switches):
    switches(NO_EXTENSIONS="1")
    assert _implementation.choose_implementation() == ("python", "WSFRAME_NO_EXTENSIONS=1 is set")


def test_with_extensions_c_runs(switches, monkeypatch):
    monkeypatch.setattr(_implementation, "EXTENSIONS", ("json", "zlib"))
    monkeypatch.setattr(_implementation, "ASYNCIO_EXTENSIONS", ("asyncio",))
    assert _implementation.choose_implementation() == ("c", "the compiled extensions were built and can be imported")
    switches(REQUIRE_EXTENSIONS="1")
    assert _implementation.choose_implementation()[0] == "c"


def test_missing_extensions_are_reported(switches, monkeypatch):
    monkeypatch.setattr(_implementation, "EXTENSIONS", ("json", "wsframe._no_such_module"))
    implementation, reason = _implementation.choose_implementation()
    assert implementation == "python"
    assert "No module named 'wsframe._no_such_module'" in reason


def test_missing_asyncio_extension_is_reported(switches, monkeypatch):
    monkeypatch.setattr(_implementation, "EXTENSIONS", ("json", "zlib"))
    monkeypatch.setattr(_implementation, "ASYNCIO_EXTENSIONS", ("asyncio", "wsframe._no_such_module"))
    assert _implementation.choose_implementation() == (
        "python",
        "the compiled extensions cannot be imported: No module named 'wsframe._no_such_module'",
    )


def test_missing_extensions_are_an_error_if_required(switches, monkeypatch):
    monkeypatch.setattr(_implementation, "EXTENSIONS", ("wsframe._no_such_module",))
    switches(REQUIRE_EXTENSIONS="1")
    with pytest.raises(ImportError, match="^WSFRAME_REQUIRE_EXTENSIONS=1 is set, but No module named"):
        _implementation.choose_implementation()


def test_missing_extensions_are_reported_once(switches, monkeypatch):
    """Importing an extension may raise the same error for a module that its package imports."""

    def refuse(name):
        raise _implementation._ExtensionsRequired("reported already")

    switches(REQUIRE_EXTENSIONS="1")
    monkeypatch.setattr(_implementation.importlib, "import_module", refuse)
    with pytest.raises(ImportError, match="^reported already$"):
        _implementation.choose_implementation()


def test_the_decision_is_made_at_import(impl):
    """Each process decides once, for all modules."""
    code = (
        "from wsframe import _implementation, codec; from wsframe.messages import messenger;"
        "names = codec.FrameParser, codec.apply_mask, codec.Message, codec.Utf8Validator, messenger.Messenger;"
        "print(_implementation.IMPLEMENTATION, *(name.__module__ for name in names))"
    )
    # Not the work tree: the installed package is tested.
    tested = Path(_implementation.__file__).parent.parent
    switch, decision = ("NO_EXTENSIONS", "python") if impl.name == "py" else ("REQUIRE_EXTENSIONS", "c")
    result = run("-c", code, cwd=tested, **{switch: "1"})
    modules = ["codec._framing", "codec._masking", "codec._message", "codec._utf8", "messages._messenger"]
    assert result.stdout.split() == [decision, *(f"wsframe.{module}_{impl.name}" for module in modules)]


@pytest.mark.parametrize("module", ["_implementation", "codec", "messages.connection", "asyncio.server"])
def test_the_decision_does_not_depend_on_the_first_import(impl, module):
    code = f"import wsframe.{module}, wsframe; print(wsframe.IMPLEMENTATION, wsframe._implementation.REASON)"
    switches = {"NO_EXTENSIONS": "1"} if impl.name == "py" else {}
    result = run("-c", code, cwd=Path(_implementation.__file__).parent.parent, **switches)
    assert result.stdout.split()[0] == ("python" if impl.name == "py" else "c"), result


@pytest.mark.parametrize("name", ["NO_EXTENSIONS", "REQUIRE_EXTENSIONS"])
@pytest.mark.parametrize("arguments", [["-c", "import wsframe"], ["setup.py", "--version"]], ids=["import", "build"])
def test_bad_switches_stop_an_import_and_a_build(arguments, name):
    if arguments[0] == "setup.py":
        pytest.importorskip("setuptools")
        if not (ROOT / "setup.py").exists():
            pytest.skip("needs the source tree")
    result = run(*arguments, **{name: "yes"})
    assert result.returncode != 0
    assert f"ValueError: WSFRAME_{name} must be 0 or 1, not 'yes'" in result.stderr


@pytest.mark.parametrize("name", ["LINETRACE", "SANITIZE"])
def test_bad_switches_of_developers_stop_a_build(name):
    pytest.importorskip("setuptools")
    if not (ROOT / "setup.py").exists():
        pytest.skip("needs the source tree")
    result = run("setup.py", "--version", **{name: "yes"})
    assert result.returncode != 0
    assert f"ValueError: WSFRAME_{name} must be 0 or 1, not 'yes'" in result.stderr
