"""A network namespace at a path (namespaces(7), setns(2), ioctl_ns(2)): opened, verified, entered and left."""

import errno
import os

from cni.errors import InvalidNetns, NetnsGone, NoNetns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni.address import Address
    from cni.kernel.rtnl import Rtnl

_CLONE_NEWNET = 0x40000000
_NS_GET_NSTYPE = 0xB703
# Errors of open(2) for paths that cannot be a namespace: through a file, a loop of links, a socket, too long.
_NONE = (errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.ENAMETOOLONG)


def setns(fd: int, kind: int) -> None:
    """Enter the namespace of ``fd``, which must be of this kind (CLONE_NEW…); raises ``OSError``."""
    if hasattr(os, "setns"):  # CPython 3.12 and later
        os.setns(fd, kind)
        return
    # importing ctypes takes 6 ms, its extension module 0.5 ms
    import _ctypes

    libc = _ctypes.dlopen(None, 2)  # type: ignore[arg-type]  # None is the program itself
    if _ctypes.call_function(_ctypes.dlsym(libc, "setns"), (fd, kind)):
        raise OSError("setns failed")


def _enter(fd: int) -> None:
    try:
        setns(fd, _CLONE_NEWNET)
    except OSError as error:
        raise InvalidNetns("cannot enter the network namespace", f"{error}; this needs CAP_SYS_ADMIN") from None


class Namespace:
    """A network namespace; as a context, the process (its thread) is in it."""

    def __init__(self, path: str) -> None:
        """Raises ``NetnsGone`` if ``path`` does not exist, ``NoNetns`` if it is no network namespace.

        Raises ``InvalidNetns`` itself if it cannot be opened now, but may be a network namespace.
        """
        import fcntl

        self.path = path
        self.fd = -1
        self._homes: list[int] = []
        self._rtnl: Rtnl | None = None
        try:
            # a blocking open of a pipe without a writer would never return
            self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            raise NetnsGone(
                f'failed to open netns "{path}": failed to Statfs "{path}": no such file or directory'
            ) from None
        except (OSError, ValueError) as error:
            certain = isinstance(error, ValueError) or error.errno in _NONE
            raise (NoNetns if certain else InvalidNetns)(f'failed to open netns "{path}": {error}') from None
        try:
            kind = fcntl.ioctl(self.fd, _NS_GET_NSTYPE)
        except OSError as error:
            # An emulator of another processor does not know the question. Then setns(2) refuses what is none.
            kind = _CLONE_NEWNET if error.errno == errno.ENOSYS else 0
        if kind != _CLONE_NEWNET:
            self.close()
            remedy = "CNI_NETNS must be the path of a network namespace, such as /var/run/netns/NAME"
            raise NoNetns(f'failed to open netns "{path}": it is no network namespace', remedy)

    @classmethod
    def remaining(cls, path: str, say: "Callable[[str], None]") -> "Namespace | None":
        """The container's namespace for cleanup; None if it is gone, and its links with it.

        Raises ``InvalidNetns`` if it cannot be opened now.
        """
        if not path:
            return None
        try:
            return cls(path)
        except NetnsGone:
            return None
        except NoNetns as error:
            say(f"{error}: taken for gone")
            return None

    def __enter__(self) -> "Namespace":
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(self.fd)
        except BaseException:
            os.close(home)
            raise
        self._homes.append(home)
        return self

    def __exit__(self, *exception: object) -> None:
        home = self._homes.pop()
        try:
            _enter(home)
        finally:
            os.close(home)

    @property
    def rtnl(self) -> "Rtnl":
        """An rtnetlink socket of the namespace, opened on first use."""
        if self._rtnl is None:
            from cni.kernel.rtnl import Rtnl

            with self:
                self._rtnl = Rtnl()
        return self._rtnl

    @property
    def identity(self) -> str:
        """A text that identifies the namespace in files: its cookie, or before Linux 5.14 device and inode of its file."""
        found = os.fstat(self.fd)
        return str(self.rtnl.cookie or f"{found.st_dev}:{found.st_ino}")

    def addresses_of(self, ifname: str) -> "set[Address]":
        """The addresses of one of the container's interfaces."""
        from cni.kernel import addresses

        link = self.rtnl.link(ifname)
        return {each.prefix.address for each in addresses.of(self.rtnl, link.index)} if link is not None else set()

    def addresses_beside(self, ifname: str) -> "set[Address]":
        """The addresses of the container's other interfaces, without loopback: those of other attachments."""
        from cni.kernel import addresses

        return {
            address.prefix.address
            for link in self.rtnl.links()
            if link.name != ifname and not link.loopback
            for address in addresses.of(self.rtnl, link.index)
        }

    def close(self) -> None:
        """Close the descriptors."""
        if self._rtnl is not None:
            self._rtnl.close()
            self._rtnl = None
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    __del__ = close  # a process may serve several plugins, one after the other
