"""Files of the kernel: sysctls (sysctl(5), ip-sysctl.rst), and facts about links that netlink does not report."""

import os

# NET_ADDR_SET
_ADDRESS_SET = "3"


def _read(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096).decode().strip()
    finally:
        os.close(fd)


def mac_was_set(sys: str, name: str, index: int) -> bool:
    """Whether a link's MAC was set, and is neither random nor a port's.

    ``sys`` is the folder /sys; False if it shows another namespace's links.
    """
    link = f"{sys}/class/net/{name}"
    try:
        return _read(f"{link}/addr_assign_type") == _ADDRESS_SET and int(_read(f"{link}/ifindex")) == index
    except (OSError, ValueError):
        return False


class Sysctls:
    """The sysctls of the network namespace that the process is in, below one /proc.

    Names are paths, ``net/…``, because interface names may have dots.
    """

    __slots__ = ("_folder",)

    def __init__(self, proc: str = "/proc") -> None:
        self._folder = f"{proc}/sys"

    def read(self, path: str) -> str:
        """The value; raises ``OSError``."""
        return _read(f"{self._folder}/{path}")

    def write(self, path: str, value: str) -> None:
        """Write a value; raises ``OSError``."""
        fd = os.open(f"{self._folder}/{path}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode() or b"\n")  # writing nothing would change nothing
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
