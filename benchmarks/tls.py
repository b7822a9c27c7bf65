"""Echo over TLS (``wss://``), with the OpenSSL that Python itself uses."""

from __future__ import annotations

import argparse
import pathlib
import ssl
import subprocess
import tempfile

from benchmarks.echo import case_name
from benchmarks.goals import LOOPS, both_loops, judge, print_goals
from benchmarks.harness import Case, Tools
from benchmarks.rounds import Contender, Suite, measure

SERVERS = [
    "wsframe callbacks",
    "wsframe",
    "wsframe callbacks, aiofastnet",
    "wsframe, aiofastnet",
    "picows",
    "picows.websockets",
    "aiohttp",
    "websockets",
]
"""The core of picows runs on aiofastnet too."""

SHAPES = [(1, 1, 256), (100, 16, 256), (1, 1, 100 * 1024)]


def make_certificate(directory: pathlib.Path) -> pathlib.Path:
    """Make a certificate for nobody, which nobody checks; return the file that has it and its key."""
    key, certificate, both = (directory / name for name in ("key.pem", "certificate.pem", "both.pem"))
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, stderr=subprocess.DEVNULL)
    both.write_text(key.read_text() + certificate.read_text())
    return both


def run(tools: Tools, options: argparse.Namespace) -> Suite:
    """Run the suite."""
    if not tools.has_tls:
        print("\nTLS is left out: the load client needs the headers of OpenSSL")
        return Suite([])
    print(f"\n{ssl.OPENSSL_VERSION}")
    suite = Suite([])
    with tempfile.TemporaryDirectory() as directory:
        certificate = make_certificate(pathlib.Path(directory))
        for shape in SHAPES:
            connections, in_flight, size = shape
            label = f"TLS, {case_name(*shape)}"
            cases = [(label, Case(connections, in_flight, (b"x" * size,), mode="tls"))]
            contenders = Contender.each(SERVERS, LOOPS, options)
            results = measure(tools, contenders, cases, options, certificate=certificate)
            goals = []
            for ours in ("", ", aiofastnet"):
                goals += both_loops(label, f"wsframe callbacks{ours}", "picows", 1)
                goals += both_loops(label, f"wsframe{ours}", "picows.websockets", 1)
            verdicts = judge(goals, results, "cpu_us")
            print_goals(verdicts)
            suite.results.extend(results)
            suite.verdicts.extend(verdicts)
    return suite
