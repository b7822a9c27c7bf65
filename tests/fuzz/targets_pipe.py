"""The model of a client and a server over a pipe as a target."""

from __future__ import annotations

from collections.abc import Iterable

from .implementations import implementations
from .model import ENDS, Pipe
from .source import Source
from .targets import target
from .targets_connection import deflate_options

SIZES = (0, 8, 40, 125, 126, 1000, 5000, 30_000)

KINDS = (
    "send", "deliver", "flush", "exchange", "exchange", "fragment", "fragment", "fragment", "ping", "pong", "stream",
    "stream", "join", "prepared", "hold", "unhold", "release", "interrupt", "close",
)  # fmt: skip


def step(source: Source, pipe: Pipe) -> str:
    """Do one thing at one end."""
    end = source.choice(ENDS)
    kind = source.choice(KINDS)
    compress = (None, True, False)
    if kind == "send":
        pipe.send(end, source.choice(SIZES), source.boolean(), source.choice(compress))
    elif kind == "deliver":
        pipe.deliver(end, source.choice((1 << 30, 1, 3, 10, 100, 1000)))
    elif kind == "flush":
        pipe.flush(end)
    elif kind == "exchange":
        pipe.exchange(end)
    elif kind == "fragment":
        pipe.send_fragment(end, source.choice(SIZES), source.chance(4), source.choice(compress))
    elif kind in ("ping", "pong"):
        pipe.control(end, kind, source.bytes(0, 4))
    elif kind == "stream":
        pipe.stream(end)
    elif kind == "prepared":
        pipe.send_prepared(end, source.choice(SIZES))
    elif kind == "join":
        pipe.join(end)
    elif kind in ("hold", "unhold"):
        pipe.hold_pongs(end, kind == "hold")
    elif kind == "release":
        pipe.release(end)
    elif kind == "interrupt":
        pipe.interrupt(end)
    elif source.chance(3):
        code = source.choice((1000, 3000, None))
        pipe.close(end, code, source.choice(("", "bye")) if code else "")
    return f"{end} {kind}"


@target("pipe")
def play(source: Source) -> Iterable[str]:
    """A client and a server, of any implementation each, over a pipe that cuts and delays."""
    client, server = source.choice(implementations()), source.choice(implementations())
    deflate = deflate_options(source) if source.boolean() else None
    pipe = Pipe(client, server, deflate)
    words = [step(source, pipe) for _ in range(source.integer(1, 40))]
    pipe.finish()
    return [f"{one} after {other}" for one, other in zip(words[1:], words, strict=False)]
