"""Where an attachment's interface is: a namespace by its path, and a link in it. Nothing is kept open."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from cni.errors import NetnsGone, NoNetns
from cni.kernel.namespace import Namespace
from cni.kernel.rtnl import Link


class Gone(Exception):
    """The namespace or the link does not exist any more. The text says which; ``where`` is the namespace's path."""

    def __init__(self, text: str, where: str) -> None:
        super().__init__(text)
        self.where = where


class Place:
    """A link in a namespace. It is the same namespace only if its identity is the same (a path may be used again)."""

    __slots__ = ("_open", "identity", "ifname", "index", "inode", "path")

    def __init__(self, path: str, ifname: str, inode: str = "", identity: str = "", index: int = 0) -> None:
        """``inode`` and ``identity`` are empty, and ``index`` is 0, if they are not known yet."""
        self.path = path
        self.ifname = ifname
        self.inode = inode
        self.identity = identity
        self.index = index
        self._open: tuple[Namespace, Link] | None = None

    @contextmanager
    def opened(self) -> Iterator[tuple[Namespace, Link]]:
        """The namespace and the link; raises ``Gone``, or ``InvalidNetns`` if the namespace cannot be opened now.

        What is called meanwhile, and opens the place again, gets the same ones.
        """
        if self._open is not None:
            yield self._open
            return
        try:
            namespace = Namespace(self.path)
        except (NetnsGone, NoNetns) as error:
            raise Gone(error.msg, self.path) from None
        try:
            self._same(namespace)
            self._open = namespace, self._link(namespace)
            yield self._open
        finally:
            self._open = None
            namespace.close()

    def _same(self, namespace: Namespace) -> None:
        """Raises ``Gone`` if it is another namespace. The first time, its identity is noted."""
        found = os.fstat(namespace.fd)
        inode = f"{found.st_dev}:{found.st_ino}"
        if self.inode and inode != self.inode:
            raise Gone(f"{self.path} is another namespace now", self.path)
        identity = namespace.identity
        if self.identity and identity != self.identity:
            raise Gone(f"{self.path} is another namespace now", self.path)
        self.inode, self.identity = inode, identity

    def _link(self, namespace: Namespace) -> Link:
        """The link, also if it was renamed. One of the same name with another index is another link."""
        link = namespace.rtnl.link(index=self.index) if self.index else namespace.rtnl.link(self.ifname)
        if link is None:
            raise Gone(f'error looking up "{self.ifname}": Link not found', self.path)
        self.index = link.index
        return link

    @property
    def ended(self) -> bool:
        """Whether the namespace has certainly ended, by one look at its path."""
        try:
            found = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False
        return bool(self.inode) and f"{found.st_dev}:{found.st_ino}" != self.inode
