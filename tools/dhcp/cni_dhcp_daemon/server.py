"""The daemon's side of the conversation (``cni_dhcp.conversation``): one request for each connection."""

from __future__ import annotations

import asyncio
import json
import select
import traceback
from typing import Any

from cni.errors import CNIError
from cni.names import check_container, check_interface, check_network
from cni_dhcp.conversation import LIMIT, MARK, VERSION
from cni_dhcp_daemon.keeper import Keeper
from cni_dhcp_daemon.keepers import Keepers
from cni_dhcp_daemon.log import say

# Seconds for a whole request.
_PATIENCE = 30.0
_CLOSED = select.POLLRDHUP | select.POLLHUP
_CALLS = ("allocate", "check", "release", "leases", "status")
# What Go's plugin begins with, and the answer that ends up in its error message.
_GO = b"CONNECT "
_REFUSAL = (
    b"HTTP/1.0 501 this daemon is pycni's and the plugin is another one: install pycni's dhcp plugin, or stop pycni's "
    b"daemon and start the one that belongs to the plugin\n\n"
)
# The keys of a request about an attachment, and of those that may acquire a lease, with their types.
_WHO: dict[str, type] = {"network": str, "container": str, "ifname": str, "netns": str, "addresses": list}
_OPTIONS: dict[str, type] = {
    "network": str, "container": str, "ifname": str, "netns": str, "provide": list, "request": list, "ipv4": bool,
    "ipv6": str, "probe": bool, "priority": int,
}  # fmt: skip
_KEYS: dict[str, dict[str, type]] = {"allocate": _OPTIONS, "check": _OPTIONS | _WHO, "release": _WHO}


class Connection(asyncio.Protocol):
    """One call."""

    __slots__ = ("_data", "_keeper", "_keepers", "_limit", "_replied", "_transport")

    def __init__(self, keepers: Keepers) -> None:
        self._keepers = keepers
        self._data = b""
        self._transport: asyncio.Transport | None = None
        self._keeper: Keeper | None = None
        self._replied = False
        self._limit: asyncio.TimerHandle | None = None

    # asyncio's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A plugin has connected."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport
        self._limit = asyncio.get_running_loop().call_later(_PATIENCE, transport.abort)

    def data_received(self, data: bytes) -> None:
        """A part of the request, or all of it."""
        if self._replied or self._keeper is not None:
            return  # more than a request
        self._data += data
        if self._data.startswith(_GO):
            self._send(_REFUSAL)
        elif b"\n" in self._data:
            line, self._data = self._data.partition(b"\n")[0], b""
            self._cancel_limit()
            self._serve(line)
        elif len(self._data) > LIMIT:
            self.fail(CNIError("the request is too long", f"at most {LIMIT} bytes are read"))

    def eof_received(self) -> bool:
        """The plugin has closed the connection, perhaps because it was killed."""
        return False

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        """The connection has ended: nobody waits any more."""
        self._cancel_limit()
        self._transport = None
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.abandon(self)

    def _cancel_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    # a call

    def _serve(self, line: bytes) -> None:
        try:
            request = _request(line)
            self._write({MARK: VERSION, "seconds": self._keepers.seconds})
            keeper = getattr(self._keepers, request["do"])(request, self)
            if not self._replied:
                self._keeper = keeper
        except CNIError as error:
            self.fail(error)
        except Exception as error:
            say("".join(traceback.format_exception(error)).rstrip())
            self.fail(CNIError(f"the daemon cannot serve the request: {type(error).__name__}: {error}", "see its log"))

    @property
    def gone(self) -> bool:
        """Whether the plugin has closed the connection, even if the loop has not seen that yet."""
        if self._transport is None:
            return True
        socket = self._transport.get_extra_info("socket")
        if socket is None:
            return False
        poll = select.poll()
        poll.register(socket.fileno(), _CLOSED)
        return bool(poll.poll(0))

    def reply(self, values: dict[str, Any]) -> None:
        """The call has succeeded."""
        self._finish(values)

    def fail(self, error: CNIError) -> None:
        """The call has failed."""
        self._finish({"error": {"msg": error.msg, "details": error.details, "code": error.code}})

    def _finish(self, values: dict[str, Any]) -> None:
        self._keeper = None
        if not self._replied:
            self._replied = True
            self._write(values)
            self._close()

    def _write(self, values: dict[str, Any]) -> None:
        if self._transport is not None:
            self._transport.write(json.dumps(values).encode() + b"\n")

    def _send(self, data: bytes) -> None:
        self._replied = True
        if self._transport is not None:
            self._transport.write(data)
        self._close()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _request(line: bytes) -> dict[str, Any]:
    """The checked request; raises ``CNIError``."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise CNIError("the request is no JSON object", "the plugin must be pycni's")
    if request.get(MARK) != VERSION:
        raise CNIError(
            f"the plugin has version {request.get(MARK)} of the protocol, and the daemon {VERSION}",
            "restart the daemon",
        )
    if request.get("do") not in _CALLS:
        raise CNIError(f"unknown request {request.get('do')!r}", "restart the daemon")
    for name, kind in _KEYS.get(request["do"], {}).items():
        if type(request.get(name)) is not kind:
            raise CNIError(f"the request has no valid {name}", "restart the daemon")
    if request["do"] in _KEYS:
        check_network(request["network"])
        check_container(request["container"])
        check_interface(request["ifname"])
    return request
