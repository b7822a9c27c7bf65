"""The C headers by themselves: ``sweep.c`` against its reference, sanitizers, warnings, and what it has to find."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from support import skip_without_tool

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "src" / "kernels"
WARNINGS = ["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror"]
SANITIZERS = ["-g", "-O1", "-fsanitize=address,undefined,alignment", "-fno-sanitize-recover=all"]
EMULATE_AVX512 = "-DSWEEP_EMULATE_AVX512"

DONE = re.compile(r"(\w+): (validated|decoded|encoded|masked): (\d+) checks")


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


@pytest.fixture(scope="session")
def compiler(twins):
    """The command that compiles extensions of this Python, as a list."""
    command = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "")
    if not command or not shutil.which(command[0]) or os.name != "posix":
        skip_without_tool("there is no C compiler")
    return command


@pytest.fixture(scope="session")
def compile_sweep(compiler, tmp_path_factory):
    """Compile the sweep with some options, and return the program; one and the same for the same options."""
    programs = {}

    def compile_with(*options, sources=SOURCES):
        key = (options, sources)
        if key not in programs:
            program = tmp_path_factory.mktemp("sweep") / "sweep"
            includes = [f"-I{sources}", f"-I{HERE}"]
            result = run(*compiler, *WARNINGS, *options, *includes, str(HERE / "sweep.c"), "-o", str(program))
            assert result.returncode == 0, result.stdout
            programs[key] = program
        return programs[key]

    return compile_with


def sweep(program, depth):
    """Run the sweep, and return how many checks each kernel has passed in each part."""
    result = run(str(program), str(depth))
    assert result.returncode == 0, result.stdout[-4000:]
    return {(kernel, part): int(checks) for kernel, part, checks in DONE.findall(result.stdout)}


def check_complete(checks, transcoders, masks, least):
    """Require that no kernel is left out, and no part of it."""
    parts = ("validated", "decoded", "encoded")
    expected = {(kernel, part) for kernel in transcoders for part in parts}
    assert set(checks) == expected | {(kernel, "masked") for kernel in [*masks, "any"]}
    assert min(checks[kernel, "validated"] for kernel in transcoders) >= least
    assert min(checks.values()) >= 100_000


def require_avx2(twins):
    if "avx2" not in twins.c.utf8._kernels():
        pytest.skip("AVX-512 is emulated on x86-64 processors with AVX2 only")


@pytest.fixture(scope="session")
def can_sanitize(compiler, tmp_path_factory):
    source = tmp_path_factory.mktemp("sanitizers") / "empty.c"
    source.write_text("int main(void) { return 0; }\n", encoding="utf-8")
    if run(*compiler, *SANITIZERS, str(source), "-o", str(source.with_suffix(""))).returncode:
        skip_without_tool("the C compiler has no sanitizers")


@pytest.mark.timeout(300)
def test_every_kernel_on_short_sequences(twins, compile_sweep):
    checks = sweep(compile_sweep("-O3"), 2)
    check_complete(checks, twins.c.utf8._kernels(), twins.c.masking._kernels(), 7_000_000)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_kernel_on_sequences_of_five_bytes(twins, compile_sweep):
    checks = sweep(compile_sweep("-O3"), 5)
    check_complete(checks, twins.c.utf8._kernels(), twins.c.masking._kernels(), 500_000_000)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_avx512_emulated(twins, compile_sweep):
    require_avx2(twins)
    check_complete(sweep(compile_sweep("-O3", EMULATE_AVX512), 3), ["avx512"], ["avx512"], 28_000_000)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_kernel_under_sanitizers(twins, compile_sweep, can_sanitize):
    checks = sweep(compile_sweep(*SANITIZERS), 2)
    check_complete(checks, twins.c.utf8._kernels(), twins.c.masking._kernels(), 7_000_000)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_avx512_emulated_under_sanitizers(twins, compile_sweep, can_sanitize):
    require_avx2(twins)
    check_complete(sweep(compile_sweep(*SANITIZERS, EMULATE_AVX512), 1), ["avx512"], ["avx512"], 1_900_000)


def test_headers_compile_without_warnings(compiler, tmp_path):
    for header in ("utf8.h", "transcode.h", "mask.h"):
        source = tmp_path / "alone.c"
        source.write_text(f'#include "{header}"\nint main(void) {{ return 0; }}\n', encoding="utf-8")
        result = run(*compiler, *WARNINGS, "-O2", f"-I{SOURCES}", str(source), "-o", str(tmp_path / "alone"))
        assert (result.returncode, result.stdout) == (0, "")


# Faults that the sweep has to find: a file, what stands there, and what is wrong in its place.
FAULTS = {
    "the portable kernel drops an incomplete character": (
        "utf8.h",
        "utf8_scalar(&state, text, length) && !state.missing;",
        "utf8_scalar(&state, text, length);",
    ),
    "a full last block may end within a character": (
        "utf8.h",
        "text[length - 1] < 0xC0 && text[length - 2] < 0xE0 && text[length - 3] < 0xF0;",
        "text[length - 1] < 0xC0 && text[length - 2] < 0xE0 && text[length - 3] <= 0xF0;",
    ),
    "surrogates": ("utf8.h", "state->high = 0x9F;", "state->high = 0xBF;"),
    "a decoder writes blocks past the end of its output": (
        "transcode.h",
        "while (stop - text >= (step) + 3 && end - out >= (step))",
        "while (stop - text >= (step) + 3)",
    ),
    "a decoder reads past the text": (
        "transcode.h",
        "while (stop - text >= (step) + 3 && end - out >= (step))",
        "while (stop - text >= (step) && end - out >= (step))",
    ),
    "an encoder writes blocks past the end of its output": (
        "transcode.h",
        "while (stop - text >= (step) && end - out >= (most))",
        "while (stop - text >= (step) && end - out >= (step))",
    ),
    "the last vector is masked with an unrotated key": ("mask.h", "return key >> bits | key", "return key | key"),
}


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", FAULTS)
def test_sweep_detects(compile_sweep, tmp_path, name):
    file, right, wrong = FAULTS[name]
    sources = tmp_path / "src"
    sources.mkdir()
    for header in SOURCES.glob("*.h"):
        text = header.read_text(encoding="utf-8")
        if header.name == file:
            assert text.count(right) == 1
            text = text.replace(right, wrong)
        (sources / header.name).write_text(text, encoding="utf-8")
    result = run(str(compile_sweep("-O1", sources=sources)), "2")
    # A line about the difference, or a signal.
    assert result.returncode == 1 or result.returncode < 0, result.stdout
