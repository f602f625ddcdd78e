"""Sysctls of the network namespace that the process is in, as files under /proc/sys (sysctl(5), ip-sysctl.rst)."""

import os


def read(path: str) -> str:
    """The value at ``net/…`` (slashes, so that dots in interface names survive); raises ``OSError``."""
    fd = os.open(f"/proc/sys/{path}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096).decode().strip()
    finally:
        os.close(fd)


def write(path: str, value: str) -> None:
    """Write a value; raises ``OSError``."""
    fd = os.open(f"/proc/sys/{path}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def ensure(path: str, value: str) -> None:
    """Write a value unless it reads so already (a read-only /proc/sys may hold the right one); raises ``OSError``."""
    if read(path) != value:
        write(path, value)


def attempt(path: str, value: str) -> None:
    """Write a value where the kernel has that sysctl and lets us."""
    try:
        write(path, value)
    except OSError:
        pass
