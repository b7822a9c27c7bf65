"""Put wsframe into other projects' servers and clients, by name.

A host is another project. For each that can be patched, ``HOSTS`` has an entry and ``wsframe.adapters`` a module::

    def replacements() -> list[tuple[object, str, object]]:
        import tornado.websocket

        return [(tornado.websocket, "WebSocketProtocol13", Protocol)]

Each tuple names what to set in the host: owner (a module or a class), attribute, new value. The module is imported, and
the function called, only when that host is patched. ``replacements`` imports the host and changes nothing itself; it
raises ImportError or AttributeError if the host lacks what it hooks into. Setting and restoring attributes, counting
users, and checking versions happen only in this module.

A name that a host's modules have bound by ``from ... import`` must be replaced in each of those modules. Objects that a
host has created before it was patched, such as connections, need not change; later ones must.
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

from wsframe.hosting import describe, escape

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["HOSTS", "Host", "Patch", "PatchError", "UntestedVersionWarning", "patch"]


class PatchError(Exception):
    """A host is not installed, or lacks what the patch hooks into."""


class UntestedVersionWarning(UserWarning):
    """A host was patched in a version that wsframe's tests do not cover."""


@dataclasses.dataclass(frozen=True)
class Host:
    """A project that can be patched.

    Attributes:
        name: Its name, which is also that of its distribution.
        module: The module that programs import.
        adapter: Our module for it.
        hook: What is replaced, in a few words.
        tested: The release series covered by tests, such as ``17.4`` for 17.4, 17.4.1 and so on. The oldest and the
            newest release of each series are tested one by one (``tests/adapters/host_versions.py``).
    """

    name: str
    module: str
    adapter: str
    hook: str
    tested: Sequence[str]

    def version(self) -> str | None:
        """Return the installed version; None if the host is not installed."""
        try:
            if importlib.util.find_spec(self.module) is None:
                return None
            return importlib.metadata.version(self.name)
        except importlib.metadata.PackageNotFoundError:
            return None

    def is_tested(self, version: str) -> bool:
        """Return whether a version belongs to a tested series."""
        return any(f"{version}.".startswith(f"{series}.") for series in self.tested)

    @property
    def is_active(self) -> bool:
        """Whether the host is patched."""
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
"""The hosts that ``patch`` supports, by name."""


class Patch:
    """The result of ``patch``: ``undo`` or the end of a ``with`` block reverts it.

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
        """Revert the patch; a host stays patched while other patches of it exist. A second call does nothing."""
        if not self._undone:
            self._undone = True
            for name in reversed(self.names):
                _release(name)


def patch(*names: str) -> Patch:
    """Put wsframe's codec into other projects, in this process, from now on.

    Call it before creating connections. Patching a host that is already patched does no harm::

        wsframe.patch("tornado", "wsproto")

        with wsframe.patch("websocket-client"):
            ...

    Args:
        names: Hosts, as listed by ``wsframe patch --list``.

    Returns:
        A handle that reverts the patch.

    Raises:
        TypeError: If a name is not a str: pass several names as separate arguments, not as a list.
        ValueError: If a name is unknown, or if there are no names.
        PatchError: If a host is not installed or lacks what the patch hooks into; then nothing is patched.
    """
    if not names:
        raise ValueError(f"there is nothing to patch: known are {', '.join(HOSTS)}")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"each name must be a str, not {describe(name)}")
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
    """The replacements in one host, and the number of their users."""

    def __init__(self, replacements: Sequence[Replacement]) -> None:
        self.users = 0
        # Only attributes of the class itself: a descriptor stays one, and inherited attributes are not copied.
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
            # Do not revert what other code has set since.
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
    """Return the replacements for a host without making them."""
    version = host.version()
    if version is None:
        raise PatchError(f"cannot patch {host.name}: it is not installed")
    try:
        replacements: list[Replacement] = importlib.import_module(host.adapter).replacements()
    except (ImportError, AttributeError) as exc:
        raise PatchError(f"cannot patch {host.name} {version}: {exc}") from exc
    if not host.is_tested(version):
        tested = ", ".join(host.tested)
        # The stack level of the caller of patch().
        warnings.warn(
            f"{host.name} {version} is patched, but tested are only {tested}", UntestedVersionWarning, stacklevel=3
        )
    return replacements
