"""What docs/servers.md says about ``cimport``: its module compiles against our declarations, and works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import environment

import wsframe
from wsframe import FrameParser, Role, serialize_frame

GUIDE = (Path(__file__).parents[1] / "docs" / "servers.md").read_text(encoding="utf-8")
DECLARATIONS = [
    "wsframe/__init__.pxd",
    "wsframe/codec/_framing_c.pxd",
    "wsframe/codec/_masking_c.pxd",
    "wsframe/codec/_utf8_c.pxd",
    "kernels/mask.h",
    "kernels/utf8.h",
]


def block(language, text):
    return next(block for block in re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.M | re.S) if text in block)


def test_declarations_are_installed():
    folder = Path(wsframe.get_include())
    if wsframe.IMPLEMENTATION == "python" and folder.name == "src" and not folder.exists():
        pytest.skip("a pure package has none")
    assert [name for name in DECLARATIONS if not (folder / name).is_file()] == []


@pytest.mark.long
@pytest.mark.skipif(sys.platform == "win32", reason="needs a C compiler on the PATH")
@pytest.mark.parametrize("package", ["wsframe", "wsframe._framing_c"])
def test_third_party_module_compiles(tmp_path, twins, package):
    source = block("cython", "cimport").replace("from wsframe cimport", f"from {package} cimport")
    (tmp_path / "echo.pyx").write_text("# cython: language_level=3\n" + source)
    (tmp_path / "setup.py").write_text(block("py", "cythonize"))
    env = environment("c")
    subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"], cwd=tmp_path, env=env, check=True, timeout=100
    )
    program = """
import wsframe, echo
parser = wsframe.FrameParser(wsframe.Role.SERVER)
print(echo.echo(parser, bytearray(wsframe.serialize_frame(1, b"Hello", mask=b"abcd") * 2)).hex())
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=env, check=True, capture_output=True)
    frames = FrameParser(Role.CLIENT).feed(bytes.fromhex(done.stdout.decode()))
    assert serialize_frame(1, b"Hello") * 2 == b"".join(serialize_frame(f.opcode, f.payload) for f in frames)


def test_folder_of_an_installed_package(tmp_path, monkeypatch):
    module = tmp_path / "wsframe" / "_cimport.py"
    module.parent.mkdir()
    monkeypatch.setattr("wsframe._cimport.__file__", str(module))
    assert wsframe.get_include() == str(tmp_path / "src")
    (module.parent / "_include").mkdir()
    assert wsframe.get_include() == str(module.parent / "_include")
