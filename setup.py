"""The extension modules and the switches; everything else is in pyproject.toml."""

import glob
import os
import runpy
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import BaseError, CCompilerError

ROOT = os.path.dirname(os.path.abspath(__file__))
# By path: importing the package would need what is about to be built.
read_switches = runpy.run_path(os.path.join(ROOT, "wsframe", "_switches.py"))["read_switches"]
NO_EXTENSIONS, REQUIRE_EXTENSIONS = read_switches()
# For developers: lines for coverage.py; the sanitizers of gcc and clang.
LINETRACE, SANITIZE = (os.environ.get(f"WSFRAME_{name}", "0") for name in ("LINETRACE", "SANITIZE"))
for name, value in (("LINETRACE", LINETRACE), ("SANITIZE", SANITIZE)):
    if value not in ("0", "1"):
        raise ValueError(f"WSFRAME_{name} must be 0 or 1, not {value!r}")
# Undefined behaviour ends the process too. Above -O1, code that a sanitizer would have caught may be gone before it.
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
SANITIZED = ["-O1", "-g", "-fno-omit-frame-pointer", "-UNDEBUG", *SANITIZERS]
HEADERS = glob.glob("src/**/*.h", recursive=True)


def say(text):
    """Write to standard error, and to the terminal if that is not one: pip hides what a build prints."""
    print(text, file=sys.stderr, flush=True)
    if not sys.stderr.isatty():
        try:
            with open("/dev/tty", "w") as terminal:
                print(text, file=terminal)
        except OSError:
            pass


class BuildExtensions(build_ext):
    """Build the extensions, or say that there will be none."""

    def run(self):
        try:
            super().run()
        except (BaseError, CCompilerError):
            if REQUIRE_EXTENSIONS:
                raise
        if not all(os.path.exists(self.get_ext_fullpath(ext.name)) for ext in self.extensions):
            say("wsframe: no working C compiler: installing the pure-Python implementation")

    def build_extensions(self):
        if self.compiler.compiler_type != "msvc":
            for ext in self.extensions:
                ext.extra_compile_args = SANITIZED if SANITIZE == "1" else ["-O3"]
                ext.extra_link_args = SANITIZERS if SANITIZE == "1" else []
        super().build_extensions()


class BuildPython(build_py):
    """Add what others need to cimport."""

    def run(self):
        super().run()
        if not (NO_EXTENSIONS or self.editable_mode):
            for source in glob.glob("src/kernels/*.h") + glob.glob("src/wsframe/**/*.pxd", recursive=True):
                target = os.path.join(self.build_lib, "wsframe", "_include", os.path.relpath(source, "src"))
                self.mkpath(os.path.dirname(target))
                self.copy_file(source, target)


def extensions():
    if NO_EXTENSIONS:
        return []
    from Cython.Build import cythonize  # noqa: PLC0415 - a build without extensions needs no Cython

    modules = [
        Extension(name, [f"src/{name.replace('.', '/')}.pyx"], include_dirs=["src"], depends=HEADERS)
        for name in (
            "wsframe.codec._masking_c",
            "wsframe.codec._utf8_c",
            "wsframe.codec._message_c",
            "wsframe.codec._framing_c",
            "wsframe.messages._messenger_c",
            "wsframe.asyncio.datapath._stream_c",
            "wsframe.asyncio.datapath._queue_c",
        )
    ]
    directives = {
        "language_level": "3",
        # What comes from outside may be None, and so may attributes of what was never initialized. Functions that every
        # message passes through do without, where each object has been checked, or made, before.
        "nonecheck": True,
        "annotation_typing": False,
        "binding": True,
        "freethreading_compatible": True,
        "linetrace": LINETRACE == "1",
    }
    # Sources generated for coverage differ from the others, which their time stamps do not tell.
    modules = cythonize(modules, include_path=["src", "."], compiler_directives=directives, force=LINETRACE == "1")
    for module in modules:
        # cythonize() forgets this if it is set above.
        module.optional = not REQUIRE_EXTENSIONS
        if LINETRACE == "1":
            # coverage.py takes events from extensions through sys.settrace() only.
            module.define_macros = [("CYTHON_TRACE", "1"), ("CYTHON_USE_SYS_MONITORING", "0")]
    return modules


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExtensions, "build_py": BuildPython})
