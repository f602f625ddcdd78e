"""The conversation with the daemon, over its Unix socket: one request, one acknowledgement, one reply.

    plugin: {"pycni-dhcp": 1, "do": "allocate", …}
    daemon: {"pycni-dhcp": 1, "seconds": 213}     (it has read the request, and replies within this time)
    daemon: {"lease": …} or {"error": {"msg": …, "details": …, "code": …}}

Each is one line. If the plugin closes the connection before the reply, the daemon ends what it did for it.

Go's pair speaks net/rpc: its plugin begins with ``CONNECT /_goRPC_ HTTP/1.0``, and gets an HTTP error from our daemon.
Its daemon answers our request, which is no HTTP, with an HTTP error as well.
"""

from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket

from cni import wire
from cni.errors import CNIError, NotAvailable, TryAgainLater

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MARK, VERSION = "pycni-dhcp", 1
# The most bytes of a line. A request has the options of the configuration, a reply all routes of a lease.
LIMIT = 1 << 20
# Seconds for connecting, and until the acknowledgement; and beyond the time in which the daemon wants to reply.
_GREETING, _BEYOND = 10.0, 10.0
_METHODS = {"allocate": "Allocate", "release": "Release", "check": "Check"}
_START = "start it: dhcp daemon, or systemctl start cni-dhcp.socket (docs/dhcp.md)"


class NotRunning(CNIError):
    """No daemon listens at the socket."""


class _Foreign(Exception):
    """The daemon is of another make or version; the text says which."""


def ask(path: str, what: str, **request: "Any") -> "dict[str, Any]":
    """The daemon's reply; raises ``NotRunning``, or the daemon's error as ``CNIError``."""
    said = f"error calling DHCP.{_METHODS.get(what, what.title())}: "
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        _connect(connection, path)
        try:
            reply = _answer(connection, {MARK: VERSION, "do": what, **request})
        except TimeoutError:
            raise TryAgainLater(
                f"{said}the daemon at {path} does not answer", "look at its log, or restart it"
            ) from None
        except _Foreign as error:
            raise CNIError(
                f"{said}the daemon at {path} is {error}", "stop it, and start the dhcp daemon of this build"
            ) from None
        except (OSError, CNIError) as error:
            fault = f"{said}the daemon at {path} ended before it had answered"
            raise TryAgainLater(fault, f"{error}; try again when it runs again") from None
    finally:
        connection.close()
    if "error" in reply:
        fault = reply["error"]
        raise CNIError(f"{said}{fault.get('msg', '')}", str(fault.get("details", "")), fault.get("code", 999))
    return reply


def _connect(connection: socket, path: str) -> None:
    connection.settimeout(_GREETING)
    try:
        connection.connect(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise NotRunning(f"error dialing DHCP daemon: dial unix {path}: connect: {reason}", _START) from None


def _answer(connection: socket, request: "dict[str, Any]") -> "dict[str, Any]":
    """Send the request, and return the reply. Raises ``OSError``, ``CNIError`` and ``_Foreign``."""
    lines = Lines(connection)
    try:
        connection.sendall(wire.encode(request).encode("utf-8", "surrogateescape") + b"\n")
    except BrokenPipeError:  # the answer may be there nevertheless
        pass
    acknowledged = _object(lines.line())
    if "error" in acknowledged:  # the request was refused, such as one of another version
        return acknowledged
    if acknowledged.get(MARK) != VERSION:
        raise _Foreign(f"pycni's with version {acknowledged.get(MARK)} of the protocol, not {VERSION}")
    connection.settimeout(acknowledged.get("seconds", 0) + _BEYOND)
    return _object(lines.line())


def _object(line: bytes) -> "dict[str, Any]":
    if line.startswith(b"HTTP/"):
        raise _Foreign("not pycni's: it speaks Go's net/rpc")
    found = wire.decode(line)
    if not isinstance(found, dict):
        raise _Foreign("not pycni's: its answer is no object")
    return found


class Lines:
    """The lines that are read from a connection."""

    __slots__ = ("_connection", "_rest")

    def __init__(self, connection: socket) -> None:
        self._connection = connection
        self._rest = b""

    def line(self) -> bytes:
        """The next line. Raises ``OSError``, ``ConnectionError`` at the end of the data."""
        while b"\n" not in self._rest:
            if len(self._rest) > LIMIT:
                raise ConnectionError("its answer is too long")
            piece = self._connection.recv(1 << 16)
            if not piece:
                raise ConnectionError("the connection was closed")
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return line


def ready(path: str) -> None:
    """Raise ``NotAvailable`` unless the daemon answers."""
    try:
        ask(path, "status")
    except CNIError as error:
        raise NotAvailable(error.msg, error.details) from None
