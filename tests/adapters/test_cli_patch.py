"""``wsframe patch --list`` and ``wsframe run --patch``."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import PATIENCE_S

import wsframe
from wsframe.adapters.patching import HOSTS, Host
from wsframe.cli import main

PROGRAM = """
import sys
import helper_of_the_program
from wsframe.adapters import patching
if __name__ == "__main__":
    print(patching.HOSTS["wsproto"].is_active, sys.argv[0].endswith("program.py"), sys.argv[1:])
    sys.exit(3)
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "helper_of_the_program.py").write_text("")
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def run(*arguments, cwd):
    env = {**os.environ, "PYTHONPATH": str(Path(wsframe.__file__).parents[1]), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-W", "error", "-m", "wsframe", "run", *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, encoding="utf-8", timeout=PATIENCE_S)


@pytest.fixture
def clean(monkeypatch):
    """Whatever a program changes is changed back."""
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("helper_of_the_program", None)
    assert not HOSTS["wsproto"].is_active


def test_list_shows_version_state_and_hook(capsys, monkeypatch):
    host = HOSTS["wsproto"]
    monkeypatch.setitem(HOSTS, "wsproto", dataclasses.replace(host, tested=["0.9", "0.8"]))
    monkeypatch.setitem(HOSTS, "absent", Host("absent", "no_such_module", "adapter", "a hook", ["1"]))
    monkeypatch.setitem(HOSTS, "uvicorn", Host("uvicorn", "uvicorn", "adapter", "its hook", ["0"]))
    assert main(["patch", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["host", "version", "state", "what", "is", "replaced"]
    by_host = {line.split()[0]: line for line in lines}
    assert "  -  " in by_host["absent"]
    assert "not installed" in by_host["absent"]
    assert "untested (tested: 0.9, 0.8)" in by_host["wsproto"]
    assert by_host["wsproto"].endswith(host.hook)
    assert "available" in by_host["uvicorn"]
    with pytest.warns(wsframe.UntestedVersionWarning), wsframe.patch("wsproto"):
        assert main(["patch", "--list"]) == 0
    assert "  active  " in capsys.readouterr().out


def test_patch_without_list_shows_usage(capsys):
    assert main(["patch"]) == 1
    assert "wsframe run" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["module", "file"])
def test_run_in_a_subprocess(program, kind):
    what = ["-m", "program"] if kind == "module" else [str(program)]
    done = run("--patch", "wsproto", *what, "--port", "5", "-m", "x", cwd=program.parent)
    assert done.stderr == ""
    assert done.stdout == "True True ['--port', '5', '-m', 'x']\n"
    assert done.returncode == 3


@pytest.mark.parametrize("kind", ["module", "file"])
def test_run_in_this_process(program, kind, clean, capsys, monkeypatch):
    monkeypatch.chdir(program.parent)
    what = ["-m", "program"] if kind == "module" else ["program.py"]
    with pytest.raises(SystemExit):
        main(["run", "--patch", "wsproto", *what, "one"])
    assert capsys.readouterr().out == "True True ['one']\n"


@pytest.mark.parametrize("kind", ["module", "file"])
def test_status_of_a_normal_exit_is_0(program, kind, clean, monkeypatch):
    monkeypatch.chdir(program.parent)
    program.write_text("pass")
    assert main(["run", "--patch", "wsproto", *(["-m", "program"] if kind == "module" else ["program.py"])]) == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--patch", "wsproto"], "no module or file to run"),
        (["--patch", "wsproto", "-m"], "no module or file to run"),
        (["--patch", "wsprot", "-m", "program"], "cannot patch 'wsprot': known are"),
    ],
)
def test_programs_that_cannot_run_are_reported(arguments, text, capsys):
    assert main(["run", *arguments]) == 1
    assert text in capsys.readouterr().err


def test_run_needs_something_to_patch(capsys):
    with pytest.raises(SystemExit) as exc_info:
        main(["run", "-m", "program"])
    assert exc_info.value.code == 2
    assert "--patch" in capsys.readouterr().err
