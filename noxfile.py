"""What a person can run on any system, by name: ``nox -s lint``, ``nox -s tests-3.12 -- tests/unit``.

.ci/run uses ``lint`` and ``coverage`` from here; it adds what needs Linux, and copies of the work tree.
"""

from __future__ import annotations

import os

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "tests-3.13", "pure"]

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
MAIN = "3.13"
COMPILED = {"WSFRAME_REQUIRE_EXTENSIONS": "1", "WSFRAME_NO_EXTENSIONS": "0"}
PURE = {"WSFRAME_REQUIRE_EXTENSIONS": "0", "WSFRAME_NO_EXTENSIONS": "1"}
MOST_WORKFLOW_LINES = 250


def dependencies(session: nox.Session, *extras: str) -> list[str]:
    """Return what the project and its extras ask for."""
    project = nox.project.load_toml("pyproject.toml")["project"]
    return [*project["dependencies"], *(name for extra in extras for name in project["optional-dependencies"][extra])]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests on both implementations; arguments go to pytest."""
    session.install(".[test]", env=COMPILED)
    session.run("pytest", *session.posargs)


@nox.session(python=MAIN)
def pure(session: nox.Session) -> None:
    """Run the tests on the pure implementation, installed without a compiler."""
    session.install(".[test]", env=PURE)
    session.run("pytest", *session.posargs, env=PURE)


@nox.session(python=MAIN)
def long(session: nox.Session) -> None:
    """Run the tests that take long, but for those that take minutes each."""
    session.install(".[test]", env=COMPILED)
    selection = "not all_of_compression and not five_bytes"
    session.run("pytest", "-m", "long", "--timeout", "600", "-k", selection, *session.posargs)


@nox.session(python=MAIN)
def lint(session: nox.Session) -> None:
    """Check style, types, workflows and changelog fragments."""
    session.install(*dependencies(session, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("mypy", "--strict", "examples/own_server.py")
    session.run("pyright", "examples/own_server.py")
    session.run("cython-lint", "--max-line-length=120", "src")
    workflows = sorted(entry.path for entry in os.scandir(".github/workflows"))
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)
    session.run("zizmor", "--offline", ".github/workflows")
    session.run("towncrier", "build", "--draft", "--version", "the next one")
    lines = 0
    for path in workflows:
        with open(path, encoding="utf-8") as file:
            lines += len(file.readlines())
    if lines > MOST_WORKFLOW_LINES:
        session.error(f"the workflows have {lines} lines, more than {MOST_WORKFLOW_LINES}")


@nox.session(python=MAIN)
def coverage(session: nox.Session) -> None:
    """Run the tests on the pure implementation, and fail unless they take all branches.

    The one thing that a pure run never does is to select the compiled twins.
    """
    session.install("coverage", *dependencies(session, "test"))
    session.install(".", env=COMPILED)
    session.run("coverage", "erase")
    # By path, since -m would find the work tree first, which has no compiled twins.
    command, pytest = (os.path.join(session.bin, name) for name in ("wsframe", "pytest"))
    session.run("coverage", "run", "--parallel-mode", command, "demo", env=COMPILED, silent=True)
    session.run("coverage", "run", "--parallel-mode", pytest, "--ignore=tests/autobahn", *session.posargs, env=PURE)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report", "--fail-under=100")


@nox.session(python=MAIN)
def hosts(session: nox.Session) -> None:
    """Run other projects' own tests, without and with wsframe; arguments name projects."""
    session.run("python", "tests/adapters/host_suites.py", *session.posargs, env=COMPILED)
    if not session.posargs:
        session.run("python", "tests/adapters/host_versions.py", env=COMPILED)
