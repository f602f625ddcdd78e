"""A client of D-Bus' system bus for calls with strings (D-Bus specification 0.41): connects, authenticates, calls.

Only what firewalld needs: arguments are strings, an answer is a string, a boolean or nothing. Libraries for D-Bus bring
an event loop, or take longer to import than everything else of a call.
"""

import os
import struct
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket

from cni.errors import CNIError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_DEFAULT = "unix:path=/var/run/dbus/system_bus_socket"
_VARIABLE = "DBUS_SYSTEM_BUS_ADDRESS"
# Seconds for an answer: firewalld answers nothing else during a reload.
_TIMEOUT = 15.0
# types of messages, and of the fields in their headers
_CALL, _RETURN, _ERROR = 1, 2, 3
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_TO, _DESTINATION, _SIGNATURE = 1, 2, 3, 4, 5, 6, 8
_KINDS = {_PATH: "o", _INTERFACE: "s", _MEMBER: "s", _DESTINATION: "s", _SIGNATURE: "g"}
# Byte order, type, flags, version, length of the body, serial number, length of the fields.
_HEADER = struct.Struct("<BBBBIII")
_ORDERS = {ord("l"): "<", ord("B"): ">"}
_MOST = 1 << 20
BUS = "org.freedesktop.DBus"


class BusError(CNIError):
    """The bus cannot be reached, or a call failed; ``name`` is the error's name, empty if there is no answer."""

    def __init__(self, msg: str, name: str = "", details: str = "") -> None:
        super().__init__(msg, details)
        self.name = name


def _padded(data: bytes, to: int) -> bytes:
    return data.ljust(-(-len(data) // to) * to, b"\0")


def _string(text: str) -> bytes:
    data = text.encode("utf-8", "replace")
    return struct.pack("<I", len(data)) + data + b"\0"


def _field(code: int, text: str) -> bytes:
    kind = _KINDS[code]
    value = bytes((len(text),)) + text.encode() + b"\0" if kind == "g" else _string(text)
    return bytes((code, 1)) + kind.encode() + b"\0" + value


def call_message(serial: int, target: "tuple[str, str, str]", member: str, arguments: "tuple[str, ...]") -> bytes:
    """A method call; ``target`` is destination, object's path and interface."""
    destination, path, interface = target
    body = b""
    for argument in arguments:
        body = _padded(body, 4) + _string(argument)
    given = {_PATH: path, _DESTINATION: destination, _INTERFACE: interface, _MEMBER: member}
    if arguments:
        given[_SIGNATURE] = "s" * len(arguments)
    fields = b""
    for code, text in given.items():
        fields = _padded(fields, 8) + _field(code, text)
    header = _HEADER.pack(ord("l"), _CALL, 0, 1, len(body), serial, len(fields))
    return _padded(header + fields, 8) + body


class Answer:
    """A message that the bus sent."""

    __slots__ = ("error", "kind", "reply_to", "value")

    def __init__(self, order: str, kind: int, fields: bytes, body: bytes) -> None:
        self.kind = kind
        found = dict(_fields(order, fields))
        self.reply_to = found.get(_REPLY_TO, 0)
        self.error = str(found.get(_ERROR_NAME, ""))
        signature = str(found.get(_SIGNATURE, ""))
        self.value: str | bool | None = None
        if signature[:1] in ("s", "o"):
            self.value = _text(order, body, 0)[0]
        elif signature == "b":
            self.value = bool(struct.unpack_from(f"{order}I", body)[0])


def _text(order: str, data: bytes, at: int) -> "tuple[str, int]":
    (length,) = struct.unpack_from(f"{order}I", data, at)
    return data[at + 4 : at + 4 + length].decode("utf-8", "replace"), at + 5 + length


def _fields(order: str, data: bytes) -> "Iterator[tuple[int, str | int]]":
    """The header's fields, up to one of an unknown type."""
    at = 0
    while at + 4 < len(data):
        code, kind = data[at], data[at + 2 : at + 3]
        at += 4
        value: str | int
        if kind in (b"s", b"o"):
            value, at = _text(order, data, at)
        elif kind == b"g":
            length = data[at]
            value, at = data[at + 1 : at + 1 + length].decode("ascii", "replace"), at + 2 + length
        elif kind == b"u":
            (value,) = struct.unpack_from(f"{order}I", data, at)
            at += 4
        else:
            return
        yield code, value
        at = -(-at // 8) * 8


def addresses(text: str) -> "list[bytes]":
    """The Unix sockets in a list of addresses; abstract ones begin with a zero byte."""
    found = []
    for each in text.split(";"):
        transport, _, rest = each.partition(":")
        keys = dict(part.partition("=")[::2] for part in rest.split(","))
        for name, beginning in (("path", b""), ("abstract", b"\0")):
            if transport == "unix" and keys.get(name):
                found.append(beginning + _unescaped(keys[name]))
    return found


def _unescaped(text: str) -> bytes:
    first, *others = text.encode().split(b"%")
    try:
        return first + b"".join(bytes((int(each[:2], 16),)) + each[2:] for each in others)
    except ValueError:
        return text.encode()


class Bus:
    """A connection to the system bus, as a context."""

    def __init__(self) -> None:
        """Raises ``BusError``."""
        self._serial = 0
        self._socket = _connected()
        try:
            self._authenticate()
            self.call((BUS, "/org/freedesktop/DBus", BUS), "Hello")
        except OSError as error:
            self._socket.close()
            raise BusError(f"failed to talk to the system bus: {error}") from None
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> "Bus":
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def _authenticate(self) -> None:
        self._socket.sendall(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\n")
        answer = b""
        while not answer.endswith(b"\r\n") and len(answer) < 4096:
            answer += self._received(1)
        if not answer.startswith(b"OK "):
            raise BusError(f"the system bus refused authentication: {answer.decode('utf-8', 'replace').strip()}")
        self._socket.sendall(b"BEGIN\r\n")

    def call(self, target: "tuple[str, str, str]", member: str, *arguments: str) -> "str | bool | None":
        """Call a method, and return the first value of its answer. Raises ``BusError``."""
        self._serial += 1
        try:
            self._socket.sendall(call_message(self._serial, target, member, arguments))
            while True:
                answer = self._answer()
                if answer.reply_to == self._serial and answer.kind in (_RETURN, _ERROR):
                    break
        except (OSError, struct.error, IndexError) as error:
            raise BusError(f"no answer from {target[0]} on the system bus: {error}") from None
        if answer.kind == _ERROR:
            raise BusError(str(answer.value or answer.error), answer.error)
        return answer.value

    def _answer(self) -> Answer:
        header = self._received(_HEADER.size)
        order = _ORDERS.get(header[0], "<")
        _, kind, _, _, body, _, fields = struct.unpack(f"{order}BBBBIII", header)
        if body + fields > _MOST:
            raise BusError("the answer of the system bus is too long")
        space = -(-fields // 8) * 8
        data = self._received(space + body)
        return Answer(order, kind, data[:fields], data[space:])

    def _received(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            if not part:
                raise BusError("the system bus closed the connection")
            data += part
        return bytes(data)


def _connected() -> socket:
    fault = f"no Unix socket in {_VARIABLE}"
    for address in addresses(os.environ.get(_VARIABLE) or _DEFAULT):
        made = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        made.settimeout(_TIMEOUT)
        try:
            made.connect(address)
        except OSError as error:
            made.close()
            fault = f"{address.decode('utf-8', 'replace')}: {error}"
        else:
            return made
    raise BusError(f"failed to connect to the system bus: {fault}", details=f"{_VARIABLE} may name another socket")
