"""Containers find each other by name and alias, through aardvark-dns if it is installed.

netavark's own networks have aardvark-dns too, but drivers do not get it. So this is an instance of our own, with a folder
of its own: a file for each network, which names the addresses to listen on (the gateways, as far as they are the
node's), and one line for each container. aardvark-dns reads the folder again on SIGHUP, and ends when it is empty.
"""

import _signal as signal  # type: ignore[import-not-found]  # `signal` imports enum
import _socket as socket
import fcntl
import os
import select
from collections.abc import Callable, Iterable
from dataclasses import dataclass

PROGRAMS = ("/usr/libexec/podman/aardvark-dns", "/usr/lib/podman/aardvark-dns", "/usr/lib/aardvark-dns")
SEARCH = "dns.podman"
# Seconds until aardvark-dns has started. It returns when it listens.
_START = 10


class NamesFailed(Exception):
    """aardvark-dns could not be started. The text is for podman."""


@dataclass(frozen=True, slots=True)
class Record:
    """A container in one network."""

    container_id: str
    addresses: tuple[str, ...]
    names: tuple[str, ...]

    def line(self) -> str:
        """As aardvark-dns reads it: id, IPv4 addresses, IPv6 addresses, names."""
        families: dict[int, list[str]] = {4: [], 6: []}
        for text in self.addresses:
            families[6 if ":" in text else 4].append(text)
        return " ".join([self.container_id, ",".join(families[4]), ",".join(families[6]), ",".join(self.names)])


def listening(gateways: Iterable[str]) -> list[str]:
    """The gateways that are addresses of this node, so that it can answer there."""
    found = []
    for text in gateways:
        family = socket.AF_INET6 if ":" in text else socket.AF_INET
        trial = socket.socket(family, socket.SOCK_DGRAM)
        try:
            trial.bind((text, 0))
            found.append(text)
        except OSError:
            continue
        finally:
            trial.close()
    return found


class _Locked:
    """The only user of the records, for a ``with`` block."""

    def __init__(self, folder: str) -> None:
        os.makedirs(folder, 0o755, exist_ok=True)
        # not in the folder: aardvark-dns takes each file in it for a network
        self._lock = open(f"{folder}.lock", "w")  # noqa: SIM115

    def __enter__(self) -> None:
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._lock.close()


@dataclass(frozen=True, slots=True)
class Names:
    """The names of all networks whose records are in one folder."""

    folder: str
    program: str
    say: Callable[[str], object]

    @classmethod
    def here(cls, folder: str, say: Callable[[str], object]) -> "Names | None":
        """None if aardvark-dns is not installed."""
        program = next((path for path in PROGRAMS if os.access(path, os.X_OK)), "")
        return cls(folder, program, say) if program else None

    def add(self, network: str, gateways: list[str], servers: Iterable[str], record: Record) -> None:
        """Serve the record on the gateways, in place of an older one. ``servers`` answer everything else.

        Raises ``NamesFailed``.
        """
        with _Locked(self.folder):
            listen, lines = self._read(network)
            kept = [line for line in lines if line.partition(" ")[0] != record.container_id]
            listen = sorted({*listen, *gateways})
            head = " ".join([",".join(listen), *([",".join(servers)] if servers else [])])
            self._write(network, [head, *kept, record.line()])
            self._serve()

    def remove(self, network: str, container_id: str) -> None:
        """Remove a container's record. Without records, the network's file is removed too."""
        self.keep(lambda name, of: name != network or of != container_id)

    def keep(self, wanted: Callable[[str, str], bool]) -> None:
        """Keep only the records for which ``wanted(network, container_id)`` is true."""
        if not os.path.isdir(self.folder):
            return
        with _Locked(self.folder):
            changed = False
            for network in self._networks():
                head, lines = self._head(network), self._read(network)[1]
                kept = [line for line in lines if wanted(network, line.partition(" ")[0])]
                if kept != lines:
                    self._write(network, [head, *kept] if kept else [])
                    changed = True
            if changed:
                self._reload()

    def _networks(self) -> list[str]:
        return [name for name in sorted(os.listdir(self.folder)) if name != "aardvark.pid" and not name.startswith(".")]

    def _content(self, network: str) -> list[str]:
        try:
            with open(os.path.join(self.folder, network)) as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    def _head(self, network: str) -> str:
        return next(iter(self._content(network)), "")

    def _read(self, network: str) -> tuple[list[str], list[str]]:
        """The addresses to listen on, and the records."""
        content = self._content(network)
        return (content[0].partition(" ")[0].split(",") if content else []), [line for line in content[1:] if line]

    def _write(self, network: str, lines: list[str]) -> None:
        path = os.path.join(self.folder, network)
        if not lines:
            os.unlink(path)
            return
        temporary = os.path.join(self.folder, f"..{network}")
        with open(temporary, "w") as file:
            file.write("".join(f"{line}\n" for line in lines))
        os.rename(temporary, path)

    def _pid(self) -> int:
        """The process id of our aardvark-dns; 0 if it does not run."""
        try:
            with open(os.path.join(self.folder, "aardvark.pid")) as file:
                pid = int(file.read())
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except (OSError, ValueError):
            return 0
        return pid if self.folder.encode() in words else 0

    def _reload(self) -> None:
        pid = self._pid()
        if pid:
            os.kill(pid, signal.SIGHUP)

    def _serve(self) -> None:
        """Let a running aardvark-dns read the records, or start it."""
        if self._pid():
            self._reload()
            return
        command = [self.program, "--config", self.folder, "--port", "53", "run"]
        if os.path.isdir("/run/systemd/system"):
            # in a scope of its own: it must not end with the service that has started this container
            command = ["systemd-run", "--quiet", "--scope", *(["--user"] if os.geteuid() else []), *command]
        fault = _started(command)
        if fault:
            raise NamesFailed(f"{self.program} cannot be started ({fault}); -o dns=false goes without names")


def _started(command: list[str]) -> str:
    """Run a program that returns when it serves. Returns why it does not; without `subprocess`, which takes 10 ms to import."""
    said = os.memfd_create("said")
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, said, 1),
        (os.POSIX_SPAWN_DUP2, said, 2),
    ]
    try:
        pid = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
        ended, poll = os.pidfd_open(pid), select.poll()
        poll.register(ended, select.POLLIN)
        if not poll.poll(_START * 1000):
            os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(ended)
        text = os.pread(said, 1 << 16, 0).decode("utf-8", "replace").strip()
    except OSError as error:
        return str(error)
    finally:
        os.close(said)
    return (text or f"exit status {status}") if status else ""
