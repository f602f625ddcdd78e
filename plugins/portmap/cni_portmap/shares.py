"""Files that note which attachments need ``route_localnet`` on a link, and the sysctl's value before.

They are files because a flush of the ruleset must not lose them.

::

    /run/cni/pycni/localnet/NAMESPACE/INDEX/was         old value of route_localnet on the link with this index
                                           /guarded     exists if the link needs the guard
                                           /vethabc...  one file for each attachment, by its link name; its content is the owner

A link keeps its index when it is renamed. All writes, and all reads before a change, are under the lock ``localnet``.
"""

import os

from cni.attachment import COMMENT_MAX, is_of_network, network_prefix
from cni.plan import Found

_WAS, _GUARDED = "was", "guarded"
_COMMENT_MAX = 4096


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _text(path: str) -> str:
    """A file's content; empty if there is no file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        return os.read(fd, _COMMENT_MAX).decode("utf-8", "replace")
    finally:
        os.close(fd)


def _write(path: str, text: str = "") -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


class Shares:
    """The shares of one network namespace."""

    def __init__(self, namespace: int, run: str) -> None:
        """``namespace`` is a number that no other namespace has had since boot. ``run`` is a folder."""
        self._folder = f"{run}/localnet/{namespace}"

    def _at(self, index: int) -> str:
        return f"{self._folder}/{index}"

    def links(self) -> list[int]:
        """The indices of the links in which an attachment has a share."""
        return [int(name) for name in _names(self._folder) if name.isdigit()]

    def guarded(self) -> list[int]:
        """The indices of the links that need the guard."""
        return [index for index in self.links() if os.path.exists(f"{self._at(index)}/{_GUARDED}")]

    def of(self, link: str) -> list[int]:
        """The indices of the links in which the attachment with this link name has a share: one or none."""
        return [index for index in self.links() if os.path.exists(f"{self._at(index)}/{link}")]

    def beside(self, index: int, link: str) -> bool:
        """Whether another attachment has a share in the link."""
        return any(name not in (_WAS, _GUARDED, link) for name in _names(self._at(index)))

    def was(self, index: int) -> "int | None":
        """The value of route_localnet before the first share in the link."""
        text = _text(f"{self._at(index)}/{_WAS}")
        return int(text) if text.isdigit() else None

    def add(self, index: int, link: str, comment: str, was: int, guard: bool) -> None:
        """Write the share of the attachment with this link name and comment, and the sysctl's old value if not known.

        Raises ``OSError``.
        """
        at = self._at(index)
        os.makedirs(at, 0o755, exist_ok=True)
        _write(f"{at}/{link}", comment)
        if self.was(index) is None:
            _write(f"{at}/{_WAS}", str(was))
        if guard:
            _write(f"{at}/{_GUARDED}")

    def remove(self, index: int, link: str) -> None:
        """Remove an attachment's share; with the last share, remove everything about the link."""
        at = self._at(index)
        last = not self.beside(index, link)
        # the attachment's own file goes last: if this stops half-way, the next DEL finds the rest by it
        for name in (_GUARDED, _WAS, link) if last else (link,):
            if os.path.exists(f"{at}/{name}"):
                os.unlink(f"{at}/{name}")
        for folder in (at, self._folder) if last else ():
            try:
                os.rmdir(folder)
            except OSError:
                return

    def forget(self) -> None:
        """Remove all files without changing the links: another plugin takes them over."""
        for index in self.links():
            for name in _names(self._at(index)):
                if name not in (_WAS, _GUARDED):
                    self.remove(index, name)

    def present(self, network: str) -> list[Found]:
        """The attachments with a share, of one network or of all: their link names and owners."""
        prefix = network_prefix(network) if network else ""
        found = []
        for index in self.links():
            for name in _names(self._at(index)):
                owner = _text(f"{self._at(index)}/{name}")
                is_share = name not in (_WAS, _GUARDED) and name.startswith(prefix)
                if is_share and is_of_network(owner, network, COMMENT_MAX):
                    found.append(Found(name, owner, link=str(index)))
        return found
