"""Send a plugin's call to the fork server (docs/forkserver.md). This is the plugin's side.

    server: its build
    plugin: the call, with file descriptors
    server: N and a reason (nothing was done), or O and standard output, any number of times, then S and the exit status

Each message is one packet. After a fault before the call is sent, and after N, the plugin serves the call itself; the
reason is only printed if CNI_DEBUG is set. Any other fault is an error, because the server may have done a part. To start
fast, this imports `_socket` and not `socket`.
"""

import _socket
import posix
import sys

# Seconds that the server may take to send its build, and for the whole call. kubelet's limit is two minutes.
GREETING_TIME, CALL_TIME = 1.0, 115.0
# Of a packet of the server, and of the whole output.
PIECE_MAX, OUTPUT_MAX = (1 << 17) - 1, 16 << 20
# The caller's surroundings, sent as file descriptors in this order, after the three standard streams.
SURROUNDINGS = (".", "/", "/proc/self/ns/net", "/proc/self/ns/mnt")
_O_PATH = 0o10000000


def serve(path: bytes, package: str, build: str) -> "int | None":
    """The exit status if the server has served the call. None if the server did nothing."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        try:
            _send_call(connection, path, package, build)
        except (OSError, ValueError) as error:
            _report_not_used(error)
            return None
        status, output = _receive_answer(connection)
    except (OSError, ValueError, KeyboardInterrupt) as error:
        return _print_failure(error)
    finally:
        connection.close()
    if status is None:
        _report_not_used(output.decode("utf-8", "replace"))
        return None
    return _print_output(status, output)


def _send_call(connection: _socket.socket, path: bytes, package: str, build: str) -> None:
    """Connect and send the call. Raises ``OSError`` or ``ValueError`` if it was not sent."""
    connection.settimeout(GREETING_TIME)
    connection.connect(path)
    credentials = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    if credentials[4:8] != b"\0\0\0\0":
        raise ValueError("the server is not root's")
    if connection.recv(128) != build.encode():
        raise ValueError("the server is of another build")
    encoding, errors = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
    if encoding != "utf-8":
        raise ValueError("file names are in " + encoding)
    mask = posix.umask(0o77)
    posix.umask(mask)
    fields = [build.encode(), package.encode(), b"%d" % mask, b"%d" % len(sys.argv)]
    fields += [word.encode(encoding, errors) for word in sys.argv]
    fields += [name + b"=" + value for name, value in posix.environ.items()]
    opened = []
    try:
        for place in SURROUNDINGS:
            opened.append(posix.open(place, posix.O_CLOEXEC | (posix.O_RDONLY if "ns" in place else _O_PATH)))
        rights = b"".join([fd.to_bytes(4, sys.byteorder) for fd in [0, 1, 2] + opened])  # noqa: RUF005
        connection.sendmsg([b"\0".join(fields)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
    finally:
        for fd in opened:
            posix.close(fd)


def _receive_answer(connection: _socket.socket) -> "tuple[int | None, bytes]":
    """The exit status and the standard output. None and the reason if the server has done nothing."""
    connection.settimeout(CALL_TIME)
    output = b""
    while True:
        packet = connection.recv(PIECE_MAX + 1)
        kind, rest = packet[:1], packet[1:]
        if len(packet) > PIECE_MAX or len(output) + len(rest) > OUTPUT_MAX:
            raise ValueError("its answer is too large")
        if kind == b"O":
            output += rest
        elif kind == b"S" and rest:
            return rest[0], output
        elif kind == b"N":
            return None, rest
        else:
            raise ValueError("its process ended before it had answered")


def _report_not_used(reason: object) -> None:
    """Print why the server was not used, if CNI_DEBUG is set."""
    if posix.environ.get(b"CNI_DEBUG"):
        _print_error("cni-forkserver: not used: %s\n" % reason)


def _print_failure(reason: BaseException) -> int:
    """Print an error object: the server may have done a part of the call, and the runtime will send DEL."""
    text = str(reason) or type(reason).__name__
    text = "".join(letter if letter.isalnum() else " " for letter in text)
    document = '{"cniVersion": "1.1.0", "code": 11, "msg": "the fork server did not finish the call: %s", '
    document += '"details": "DEL removes what the call has done; then try again"}'
    return _print_output(1, (document % text).encode("utf-8", "replace"))


def _print_output(status: int, output: bytes) -> int:
    """Print the plugin's output, and return the exit status."""
    try:
        _write(1, output)
    except OSError as error:
        _print_error("cannot write the result: %s\n" % error)
        return 1
    return status


def _print_error(line: str) -> None:
    try:
        _write(2, line.encode("utf-8", "replace"))
    except OSError:
        pass  # standard error is closed


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[posix.write(fd, data) :]
