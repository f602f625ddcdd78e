"""The owner of a link on a parent, in any namespace: for messages, if the kernel refuses a second link of this kind."""

import os

from cni.errors import CNIError, KernelError
from cni.links import owner
from cni.site import Site

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cni.kernel.kinds import LinkKind
    from cni.kernel.rtnl import Link
    from cni.parent import Parent


def owner_on(site: Site, parent: "Parent", kind: "LinkKind") -> str:
    """The link on this parent with these values, or the attachment of that link; empty if none is found."""
    near = site.container.rtnl if parent.in_container else site.rtnl
    for link in _links(near.links(), kind):
        if (link.parent, link.other_namespace) == (parent.link.index, -1):
            return f"link {link.name} of the {'container' if parent.in_container else 'node'}"
    return "" if parent.in_container else next(_far(site, parent, kind), "")


def _links(links: "list[Link]", kind: "LinkKind") -> "Iterator[Link]":
    return (link for link in links if link.kind == kind.name and link.data == kind)


def _far(site: Site, parent: "Parent", kind: "LinkKind") -> "Iterator[str]":
    """The same in the namespaces of containers."""
    for path in _namespaces(site):
        other = Site(site.attachment, path, site.node)
        try:
            for link in _links(other.container.rtnl.links(), kind):
                if link.other_namespace != -1 and parent.carries(other, link):
                    yield owner(site.rtnl, link) or f"link {link.name} in {path}"
        except (OSError, CNIError, KernelError):  # it is gone by now, or no network namespace
            continue
        finally:
            other.close()


def _namespaces(site: Site) -> "Iterator[str]":
    """Paths of namespaces, each once: beside that of the container, in the usual folder, and those of processes."""
    # no other files are opened
    device, seen = os.fstat(site.container.fd).st_dev, set()
    for folder, rest in ((os.path.dirname(site.netns), ""), ("/run/netns", ""), (site.node.roots.proc, "/ns/net")):
        for name in _names(folder):
            path = f"{folder}/{name}{rest}"
            try:
                file = os.stat(path)
            except OSError:
                continue
            if file.st_dev == device and file.st_ino not in seen:
                seen.add(file.st_ino)
                yield path


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
