"""A plugin's call, handed over to the fork server (docs/forkserver.md): the side of the file that the runtime started.

    server: the build that it is of
    plugin: the call, with descriptors
    server: N and a reason: nothing was done            or any number of O…, standard output, and S, the exit status

Every fault before the call is sent means: serve it here; so does N. Any other fault after it is an error, for the
server may have done a part. Nobody is told, unless CNI_DEBUG is set. Each message is one
packet. This starts fast: no module is imported but the one that `socket` itself stands on.
"""

import _socket
import posix
import sys

# Seconds that the server may take to say its build, and for the whole call: within the two minutes that kubelet gives.
PATIENCE, CALL_TIME = 1.0, 115.0
# The caller's surroundings, as descriptors, in this order, after the three standard streams.
SURROUNDINGS = (".", "/", "/proc/self/ns/net", "/proc/self/ns/mnt")
_O_PATH = 0o10000000


def serve(path: bytes, package: str, build: str) -> "int | None":
    """The exit status if the call was served there; None if nothing was done and it is to be served here."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    try:
        try:
            _offer(connection, path, package, build)
        except (OSError, ValueError) as error:
            _declined(error)
            return None
        status, output = _awaited(connection)
    except (OSError, ValueError, KeyboardInterrupt) as error:
        return _failed(error)
    finally:
        connection.close()
    if status is None:
        _declined(output.decode("utf-8", "replace"))
        return None
    return _written(status, output)


def _offer(connection: _socket.socket, path: bytes, package: str, build: str) -> None:
    """Hand the call over. Raises ``OSError`` or ``ValueError`` when that did not happen."""
    connection.settimeout(PATIENCE)
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


def _awaited(connection: _socket.socket) -> "tuple[int | None, bytes]":
    """Exit status and standard output; None and the reason if the server has done nothing."""
    connection.settimeout(CALL_TIME)
    output = b""
    while True:
        packet = connection.recv(1 << 17)
        kind, rest = packet[:1], packet[1:]
        if kind == b"O":
            output += rest
        elif kind == b"S":
            return rest[0], output
        elif kind == b"N":
            return None, rest
        else:
            raise ValueError("its process ended before it had answered")


def _declined(reason: object) -> None:
    """Nothing was done; a line on standard error for those who debug."""
    if posix.environ.get(b"CNI_DEBUG"):
        _say("cni-forkserver: not used: %s\n" % reason)


def _failed(reason: BaseException) -> int:
    """The call may have been served in part: an error object, and the runtime will send DEL."""
    text = str(reason) or type(reason).__name__
    text = "".join(letter if letter.isalnum() else " " for letter in text)
    document = '{"cniVersion": "1.1.0", "code": 11, "msg": "the fork server did not finish the call: %s", '
    document += '"details": "what it did of it DEL removes; then try again"}'
    return _written(1, (document % text).encode("utf-8", "replace"))


def _written(status: int, output: bytes) -> int:
    """Write what the plugin answered, as the plugin itself would have."""
    try:
        _write(1, output)
    except OSError as error:
        _say("cannot write the result: %s\n" % error)
        return 1
    return status


def _say(line: str) -> None:
    try:
        _write(2, line.encode("utf-8", "replace"))
    except OSError:
        pass  # nobody listens


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[posix.write(fd, data) :]
