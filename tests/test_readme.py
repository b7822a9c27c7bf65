"""What the README and the guides say is true: their code runs, defaults are the package's, links lead somewhere."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import PATIENCE_S, connect_in_time, free_port, run, soon

import wsframe
import wsframe.sync.client
from wsframe.cli import build_parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SERVERS = [block for block in BLOCKS if "serve_forever" in block]
GUIDES = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))]
SCRIPTS = [block for block in BLOCKS if block not in SERVERS] + [
    block for guide in GUIDES for block in re.findall(r"^```python\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
]


def name_of(block):
    return re.search(r"(serve|Protocol|Connection|FrameParser|serialize_frame)\b", block)[1]


def start(block, port):
    """Run a block of code, with another port."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", block.replace("8765", str(port))],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # Not the work tree: the installed package is tested.
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": str(Path(wsframe.__file__).parents[1]), "PYTHONIOENCODING": "utf-8"},
        encoding="utf-8",
    )


def test_each_use_has_code():
    assert [name_of(block) for block in BLOCKS] == ["serve", "Protocol", "Connection", "FrameParser", "serialize_frame"]


@pytest.mark.parametrize("block", SCRIPTS, ids=name_of)
def test_code_prints_the_output_in_its_comments(block):
    expected = re.findall(r"^ *print\(.*\)  # (.*)$", block, re.MULTILINE)
    assert expected
    if "import aiofastnet" in block and sys.implementation.name != "cpython":
        pytest.skip("aiofastnet needs CPython")
    with start(block, free_port()) as process:
        assert process.communicate(timeout=PATIENCE_S)[0].splitlines() == expected


@pytest.mark.parametrize("block", SERVERS, ids=name_of)
def test_servers_echo(block):
    port = free_port()

    async def talk():
        async with await connect_in_time(f"ws://localhost:{port}") as websocket:
            await websocket.send("Hello")
            return await soon(websocket.recv())

    with start(block, port) as process:
        try:
            assert run(talk()) == "Echo: Hello"
        finally:
            process.terminate()


def test_links_have_targets():
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_the_defaults_are_those_of_the_package():
    serve = {name: parameter.default for name, parameter in inspect.signature(wsframe.serve).parameters.items()}
    units = {"MiB": 2**20, "KiB": 2**10}
    for value, name in re.findall(r"^\| [^|]+ \| ([^|]+) \| `(\w+)` \|$", README, re.MULTILINE):
        number, _, unit = value.partition(" ")
        assert serve[name] == int(number) * units.get(unit, 1), name
    assert (serve["ping_interval"], serve["ping_timeout"]) == (20, 20)
    limits = wsframe.Limits()
    assert (limits.max_head_size, limits.max_headers) == (32 * 1024, 128)
    assert (limits.max_fragments, limits.max_control_rate) == (1_048_576, 10_000)
    assert (limits.max_send_buffer, limits.send_buffer_policy) == (16 * 2**20, "wait")


def test_the_defaults_of_compression_are_those_of_the_package():
    factory = wsframe.PerMessageDeflateFactory()
    guide = (ROOT / "docs" / "compression.md").read_text(encoding="utf-8")
    for name, value in re.findall(r"^\| `(\w+)` \| ([^| ]+)", guide, re.MULTILINE):
        assert str(getattr(factory, name)) in (value.strip("`"), value.strip('`"'), f"{value}.0"), name
    _, extension = factory.accept_offer([("client_max_window_bits", None)])
    assert (extension.local_max_window_bits, extension.remote_max_window_bits) == (12, 12)


def test_the_commands_exist():
    commands = set(re.findall(r"\bwsframe (\w+)", "".join(re.findall(r"^```sh\n(.*?)^```$", README, re.M | re.S))))
    assert commands == {"demo", "echo", "connect"}
    help_text = build_parser().format_help()
    assert all(command in help_text for command in commands)


def test_sync_server_is_missing_as_stated():
    assert importlib.util.find_spec("wsframe.sync.server") is None
