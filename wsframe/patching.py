"""Put wsframe into other people's servers and clients, by name. Rank 5.

A host is another project. ``HOSTS`` has a line for each that can be patched, and ``wsframe.adapters`` a module::

    def replacements() -> list[tuple[object, str, object]]:
        import tornado.websocket

        return [(tornado.websocket, "WebSocketProtocol13", Protocol)]

that is, what to set in the host: owner (a module or a class), attribute, new value. The module is imported, and the
function called, only when somebody patches that host; ``replacements`` imports the host and changes nothing itself.
It raises ImportError or AttributeError where the host has not what it hooks into. Setting attributes, taking them
back, counting who wants them, and judging versions happens here and nowhere else.

A name that a host's modules have bound by ``from ... import`` must be replaced in each of those modules. What a
host has made before it was patched, connections say, need not change; what it makes from then on does.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import importlib.util
import warnings
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from wsframe._checks import check_type
from wsframe._escape import escape

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["HOSTS", "Host", "Patch", "PatchError", "UntestedVersionWarning", "patch"]


class PatchError(Exception):
    """A host is not installed, or has not what the patch hooks into."""


class UntestedVersionWarning(UserWarning):
    """A host was patched in a version that wsframe's tests have not seen."""


@dataclasses.dataclass(frozen=True)
class Host:
    """A project that can be patched.

    Attributes:
        name: What people call it, and its distribution is called.
        module: The module that it is imported by.
        adapter: Our module for it.
        hook: What is replaced, in a few words.
        tested: The series that the tests have seen, as ``17.4`` for 17.4, 17.4.1 and so on. Of each, the oldest and the
            newest release are checked one by one (``tests/adapters/host_versions.py``).
    """

    name: str
    module: str
    adapter: str
    hook: str
    tested: Sequence[str]

    def version(self) -> str | None:
        """Return the version that is installed; None for none."""
        try:
            if importlib.util.find_spec(self.module) is None:
                return None
            return importlib.metadata.version(self.name)
        except importlib.metadata.PackageNotFoundError:
            return None

    def is_tested(self, version: str) -> bool:
        """Tell whether a version belongs to a tested series."""
        return any(f"{version}.".startswith(f"{series}.") for series in self.tested)

    @property
    def is_active(self) -> bool:
        """Whether it is patched."""
        return self.name in _active


HOSTS: dict[str, Host] = {
    host.name: host
    for host in [
        Host(
            "autobahn",
            module="autobahn",
            adapter="wsframe.adapters.autobahn",
            hook="create_xor_masker, XorMaskerNull and Utf8Validator of autobahn.websocket.protocol",
            tested=["26.10"],
        ),
        Host(
            "gevent-websocket",
            module="geventwebsocket",
            adapter="wsframe.adapters.gevent_websocket",
            hook="mask_payload and unmask_payload of Header, and Utf8Validator, of geventwebsocket.websocket",
            tested=["0.10"],
        ),
        Host(
            "tornado",
            module="tornado",
            adapter="wsframe.adapters.tornado",
            hook="tornado.websocket.WebSocketProtocol13",
            tested=["6.6"],
        ),
        Host(
            "uvicorn",
            module="uvicorn",
            adapter="wsframe.adapters.uvicorn",
            hook="uvicorn.config.WS_PROTOCOLS",
            tested=["0.54"],
        ),
        Host(
            "websocket-client",
            module="websocket",
            adapter="wsframe.adapters.websocket_client",
            hook="websocket.ABNF.format, websocket.ABNF.mask, websocket._utils._validate_utf8",
            tested=["1.9"],
        ),
        Host(
            "websockets",
            module="websockets",
            adapter="wsframe.adapters.websockets",
            hook="websockets.protocol.Protocol, websockets.asyncio.connection.Connection",
            tested=["17.0", "17.1", "17.2", "17.3", "17.4"],
        ),
        Host(
            "hypercorn",
            module="hypercorn",
            adapter="wsframe.adapters.hypercorn",
            hook="hypercorn.protocol.ws_stream.WSStream.app_send, hypercorn.protocol.h11.H11Protocol.handle",
            tested=["0.18"],
        ),
        Host(
            "websockify",
            module="websockify",
            adapter="wsframe.adapters.websockify",
            hook="websockify.websocket.WebSocket._mask, _unmask",
            tested=["0.13"],
        ),
        Host(
            "wsproto",
            module="wsproto",
            adapter="wsframe.adapters.wsproto.installed",
            hook="wsproto.connection.Connection, wsproto.frame_protocol.FrameProtocol",
            tested=["1.3"],
        ),
    ]
}
"""What ``patch`` knows, by name."""


class Patch:
    """What ``patch`` has done: ``undo`` takes it back, and so does the end of a ``with`` block.

    Attributes:
        names: The hosts.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._undone = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.undo()

    def undo(self) -> None:
        """Take it back; a host stays patched as long as others want it so. A second call does nothing."""
        if not self._undone:
            self._undone = True
            for name in reversed(self.names):
                _release(name)


def patch(*names: str) -> Patch:
    """Put wsframe's codec into other projects, in this process, from now on.

    Call it before connections are made. Patching what is patched already does no harm::

        wsframe.patch("tornado", "wsproto")

        with wsframe.patch("websocket-client"):
            ...

    Args:
        names: Hosts, as ``wsframe patch --list`` names them.

    Returns:
        A handle that takes it back.

    Raises:
        TypeError: If a name is no str: several are given one by one, and not as a list.
        ValueError: If a name is not known, or there is none.
        PatchError: If a host is not installed, or has not what the patch hooks into; then nothing is patched.
    """
    if not names:
        raise ValueError(f"there is nothing to patch: known are {', '.join(HOSTS)}")
    for name in names:
        check_type("each name", name, str, "a str")
        if name not in HOSTS:
            raise ValueError(f"cannot patch {escape(name)!r}: known are {', '.join(HOSTS)}")
    unique = list(dict.fromkeys(names))
    found = {}
    for name in unique:
        if name not in _active:
            found[name] = _find(HOSTS[name])
    started: list[tuple[str, _Active]] = []
    try:
        for name, replacements in found.items():
            started.append((name, _Active(replacements)))
    except BaseException:
        for _, active in reversed(started):
            active.undo()
        raise
    _active.update(started)
    for name in unique:
        _active[name].users += 1
    return Patch(unique)


Replacement = tuple[object, str, object]
"""Owner, attribute, value."""

_MISSING = object()


class _Active:
    """What was replaced in one host, and how many want it so."""

    def __init__(self, replacements: Sequence[Replacement]) -> None:
        self.users = 0
        # What a class has of its own: a descriptor stays one, and what is inherited is not made its own.
        self._replaced: list[tuple[Replacement, object]] = []
        try:
            for item in replacements:
                owner, name, value = item
                original = vars(owner).get(name, _MISSING)
                setattr(owner, name, value)
                self._replaced.append((item, original))
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        for (owner, name, value), original in reversed(self._replaced):
            # What others have put there since is theirs.
            if vars(owner).get(name) is not value:
                continue
            if original is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, original)


_active: dict[str, _Active] = {}


def _release(name: str) -> None:
    active = _active[name]
    active.users -= 1
    if not active.users:
        del _active[name]
        active.undo()


def _find(host: Host) -> list[Replacement]:
    """Find out what to replace in a host, without doing so."""
    version = host.version()
    if version is None:
        raise PatchError(f"cannot patch {host.name}: it is not installed")
    try:
        replacements: list[Replacement] = importlib.import_module(host.adapter).replacements()
    except (ImportError, AttributeError) as exc:
        raise PatchError(f"cannot patch {host.name} {version}: {exc}") from exc
    if not host.is_tested(version):
        tested = ", ".join(host.tested)
        # The caller of patch().
        warnings.warn(
            f"{host.name} {version} is patched, but tested are only {tested}", UntestedVersionWarning, stacklevel=3
        )
    return replacements
