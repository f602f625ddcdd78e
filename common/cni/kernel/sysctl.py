"""Sysctls of the network namespace that the process is in, as files under /proc/sys (sysctl(5), ip-sysctl.rst)."""

import os


class Sysctls:
    """The sysctls below one /proc. Names are paths, ``net/…``, because interface names may have dots."""

    __slots__ = ("_folder",)

    def __init__(self, proc: str = "/proc") -> None:
        self._folder = f"{proc}/sys"

    def read(self, path: str) -> str:
        """The value; raises ``OSError``."""
        fd = os.open(f"{self._folder}/{path}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 4096).decode().strip()
        finally:
            os.close(fd)

    def write(self, path: str, value: str) -> None:
        """Write a value; raises ``OSError``."""
        fd = os.open(f"{self._folder}/{path}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)

    def ensure(self, path: str, value: str) -> None:
        """Write a value unless it is already set, since /proc/sys may be read-only; raises ``OSError``."""
        if self.read(path) != value:
            self.write(path, value)

    def attempt(self, path: str, value: str) -> None:
        """Write a value, and ignore errors."""
        try:
            self.write(path, value)
        except OSError:
            pass
