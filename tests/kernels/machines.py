"""The kernels and the codec on machines that this one is not: under qemu-user, by Debian's cross compilers.

    python tests/kernels/machines.py DIRECTORY

The C headers, by ``sweep.c``: s390x (big-endian), aarch64 (NEON), x86-64 without SSSE3 and without AVX, and this
machine by clang; plain and under sanitizers. The extension modules, which are framing too: on s390x and aarch64, by
unit tests in Debian's Python for these, which is unpacked into the directory and not installed. Run it in a copy of
the tree, with setuptools and Cython; it writes C files into ``src``. What is missing is an error.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DONE = re.compile(r"(\w+): (validated|decoded|encoded|masked): \d+ checks")
WARNINGS = ["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Werror"]
SANITIZED = ["-g", "-O1", "-fno-sanitize-recover=all", "-fsanitize=undefined,alignment"]


class Sweep(NamedTuple):
    name: str
    compiler: list[str]
    emulator: list[str]
    kernels: set[str]
    """For text; those for masks are other ones on x86."""


SWEEPS = [
    Sweep("s390x", ["s390x-linux-gnu-gcc", "-static"], ["qemu-s390x-static"], {"portable"}),
    Sweep("aarch64", ["aarch64-linux-gnu-gcc", "-static"], ["qemu-aarch64-static"], {"neon", "portable"}),
    Sweep("no SSSE3", ["x86_64-linux-gnu-gcc", "-static"], ["qemu-x86_64-static", "-cpu", "qemu64"], {"portable"}),
    Sweep(
        "no AVX",
        ["x86_64-linux-gnu-gcc", "-static"],
        ["qemu-x86_64-static", "-cpu", "core2duo"],
        {"ssse3", "portable"},
    ),
    Sweep("clang", ["clang"], [], set()),
]

# Debian's name of an architecture, and the GNU one.
PYTHONS = {"s390x": "s390x-linux-gnu", "arm64": "aarch64-linux-gnu"}
PACKAGES = ["python3-minimal", "libpython3-stdlib", "libpython3-dev"]
# What they import must be pure Python, which hypothesis is not, nor are two of the modules that compress.
REQUIREMENTS = ["h11", "pytest", "pytest-timeout"]
TESTS = [
    f"tests/unit/test_{name}.py" for name in ("framing", "vectors", "masking", "messenger", "events", "utf8_sweep")
]
SELECTION = "not zlib-ng and not isal"


def run(*command: str | Path, **environment: str) -> str:
    """Run a command in the tree; its output, or an error with it."""
    print("...", shlex.join(map(str, command)), flush=True)
    result = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(f"{shlex.join(map(str, command))}: {result.returncode}\n{result.stdout[-8000:]}")
    return result.stdout


def sweep(folder: Path, machine: Sweep, depth: int, *options: str) -> str:
    """Compile and run the sweep, and require that it has been through the kernels of that machine."""
    program = folder / f"sweep-{machine.name.replace(' ', '-')}-{depth}"
    includes = ["-Isrc/kernels", "-Itests/kernels"]
    run(*machine.compiler, *WARNINGS, *options, *includes, "tests/kernels/sweep.c", "-o", program)
    done = DONE.findall(run(*machine.emulator, program, str(depth)))
    swept = {kernel for kernel, part in done if part == "encoded"}
    if machine.kernels and swept != machine.kernels:
        raise RuntimeError(f"{machine.name}: {swept} were swept, not {machine.kernels}")
    return f"{machine.name}, {' '.join(options)}: {', '.join(f'{kernel} {part}' for kernel, part in done)}"


def unpack_python(folder: Path, architecture: str) -> Path:
    """Fetch Debian's Python for another architecture with a configuration of apt's own; return where it is unpacked."""
    lists, cache, root = (folder / name for name in ("lists", "cache", "root"))
    for path in (lists / "partial", cache / "archives/partial", root):
        path.mkdir(parents=True)
    # Of no packages; apt's lock is beside it.
    status = folder / "status"
    status.touch()
    configuration = folder / "apt.conf"
    configuration.write_text(
        f'APT::Architecture "{architecture}";\nAPT::Architectures "{architecture}";\nAPT::Sandbox::User "";\n'
        f'Dir::State::Lists "{lists}";\nDir::State::status "{status}";\nDir::Cache "{cache}";\n',
        encoding="ascii",
    )
    run("apt-get", "-qq", "update", APT_CONFIG=str(configuration))
    download = ["apt-get", "-qq", "-y", "--download-only", "--no-install-recommends", "install"]
    run(*download, *PACKAGES, APT_CONFIG=str(configuration))
    for package in sorted((cache / "archives").glob("*.deb")):
        run("dpkg", "-x", package, root)
    return root


def check_python(folder: Path, architecture: str) -> str:
    """Compile the extension modules for an architecture, and run unit tests in a Python of that."""
    triplet = PYTHONS[architecture]
    folder.mkdir()
    root = unpack_python(folder, architecture)
    (python,) = (path for path in (root / "usr/bin").glob("python3.*") if path.name[8:].isdigit())
    version = python.name.removeprefix("python")
    suffix = f".cpython-{version.replace('.', '')}-{triplet}.so"
    headers = root / "usr/include"
    for source in sorted(ROOT.glob("src/wsframe/**/*_c.c")):
        target = folder / source.relative_to(ROOT / "src").with_suffix(suffix)
        target.parent.mkdir(parents=True, exist_ok=True)
        includes = ["-Isrc", f"-I{headers / python.name}", "-idirafter", str(headers)]
        run(f"{triplet}-gcc", "-O1", "-shared", "-fPIC", *includes, source, "-o", target)
        # Beside the Python modules; the names differ for each architecture.
        target.rename(ROOT / "wsframe" / target.relative_to(folder / "wsframe"))
    packages = folder / "packages"
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--only-binary", ":all:", "--python-version", version]
    run(*pip, "--target", packages, *REQUIREMENTS)
    emulator = [f"qemu-{triplet.split('-')[0]}-static", "-L", root, python]
    environment = {"WSFRAME_REQUIRE_EXTENSIONS": "1", "PYTHONPATH": f"{ROOT}:{packages}", "PYTHONHOME": f"{root}/usr"}
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--impl=c", "--timeout", "600", "-k", SELECTION]
    output = run(*emulator, *pytest, *TESTS, **environment)
    order = run(*emulator, "-c", "import sys; print(sys.byteorder, sys.version)", **environment)
    return f"{architecture}, {order.strip()}: {output.strip().splitlines()[-1]}"


def main() -> None:
    """Do everything, two or more at a time."""
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    # Whatever it is asked for, setup.py makes the C files first.
    run(sys.executable, "setup.py", "--quiet", "--version")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(check_python, folder / architecture, architecture) for architecture in PYTHONS]
        for machine in SWEEPS:
            jobs.append(pool.submit(sweep, folder, machine, 2, "-O3"))
            options = [*SANITIZED, "-fsanitize=address"] if machine.name == "clang" else SANITIZED
            jobs.append(pool.submit(sweep, folder, machine, 1, *options))
        for job in as_completed(jobs):
            print(job.exception() or job.result(), flush=True)
    failures = sum(job.exception() is not None for job in jobs)
    print(f"{len(jobs) - failures} passed, {failures} failed")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
