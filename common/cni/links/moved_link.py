"""A device of the node that is moved into the container as ``CNI_IFNAME``, and moved back by DEL.

The kernel moves and renames a device and writes its alias in one step, so whatever ended an ADD or DEL, the device is
in one of the two namespaces under a name that is known. Its alias in the container is its name on the node, as Go's
host-device has it: each version gives the other's devices back. What it was like before is noted in a file first. So it
is found if the pod has renamed it or the kernel has put it back, and gets its state, MTU, MAC, names and alias again.
"""

import os

from cni.attachment import Attachment
from cni.errors import CheckFailed, CNIError, KernelError, Refused
from cni.links import compare_previous
from cni.names import interface_fault
from cni.plan import Differ, Effect, Found, Kind, Remains
from cni.saved import Saved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cni.kernel.namespace import Namespace
    from cni.kernel.rtnl import Link, Rtnl
    from cni.site import Site

    Values = dict[str, Any]

# How long the kernel may take, after a namespace ended, to put hardware back; it destroys virtual devices. Seconds.
_PATIENCE = 5.0
# What ``Rtnl.change`` can restore by itself.
_RESTORED = ("mac", "mtu", "master", "promisc", "allmulti", "tx_queue_length")


class MovedLink(Effect["Link"], Kind):
    """The device; the value is the link in the container."""

    noun = "device"
    repairable = False

    def __init__(self, site: "Site", device: "Callable[[], Link] | None" = None) -> None:
        """``device`` finds it on the node, for ADD alone; it raises ``CNIError``."""
        super().__init__(site)
        self.device = device
        self.saved = Saved(_folder(site), site.attachment)

    def make(self) -> "Link":
        """Note what it is like, move it, and set it up. If that fails after the note, ``remove`` clears it."""
        attachment, ifname, container = self.attachment, self.attachment.ifname, self.site.container
        try:
            owner = self.saved.owner
        except CNIError as error:
            raise Refused(error.msg, error.details) from None
        if owner not in (None, attachment):
            raise Refused(f"failed to move link: {self.saved.path} is of {owner}", "send its DEL first")
        if self.saved.values():
            here = self.saved.values(container.identity)
            if here.get("finished") and _found(container.rtnl, here, True) is not None:
                raise Refused("failed to move link: file exists", f"{attachment} is attached; send DEL first")
            raise Remains(f"{self.saved.path} is a leftover of an ADD of {attachment} that died")
        device = self._wanted()
        if device.loopback:
            raise Refused(f'failed to move link "{device.name}": it is the loopback device, which cannot be moved')
        if container.rtnl.link(ifname) is not None:
            raise Refused(f'failed to move link "{device.name}": a link {ifname} is in {self.site.netns}')
        self.saved.keep(self._noted(device), container.identity)
        try:
            self.site.rtnl.change(device.index, name=ifname, alias=device.name, namespace=container.fd)
            moved = container.rtnl.link(ifname)
            if moved is None:
                raise CNIError(f"the device {device.name} vanished while it was moved", "did something remove it?")
            self.saved.keep({"inside": moved.index}, container.identity)
            container.rtnl.change(moved.index, up=True)
        except KernelError as error:
            raise CNIError(f'failed to move link "{device.name}" to {self.site.netns}: {error}') from None
        return container.rtnl.link(index=moved.index) or moved

    def _wanted(self) -> "Link":
        """The device. If the kernel has put it back after another container, it has another name, and its own as alias."""
        assert self.device is not None  # noqa: S101  # an ADD has one
        try:
            found = self.device()
            if found.alias in ("", found.name):
                return found
        except Refused:
            pass
        self._settle_others()
        return self.device()

    def _settle_others(self) -> None:
        """Restore devices that the kernel put back under another name, because their containers ended without DEL.

        The DEL that comes late finds them restored.
        """
        for found in self.present(""):
            owner = Attachment.parse(found, 1 << 20)
            if owner is None or owner == self.attachment:
                continue
            other = MovedLink(self.site.of(owner))
            try:
                saved = other.saved.values()
                namespace = other._namespace(saved)
                if namespace is not None:
                    namespace.close()
                    continue
                link = _found(self.site.rtnl, saved, False)
                if link is not None and link.name != saved["name"]:
                    other.remove()
            except CNIError as error:
                self.site.say(f"the device of {owner} could not be restored: {error}")

    def _noted(self, device: "Link") -> "Values":
        fields = ("name", "index", "kind", "permanent", "alias", "altnames", "up")
        values = {field: getattr(device, field) for field in (*fields, *_RESTORED)}
        return {**values, "netns": self.site.netns}

    def compare(self, differ: "Differ") -> "Link":
        """The link ``CNI_IFNAME`` exists, is the device that was moved, and is as prevResult has it."""
        ifname, container = self.attachment.ifname, self.site.container
        link, saved = container.rtnl.link(ifname), self.saved.values(container.identity)
        moved = _found(container.rtnl, saved, True)
        if link is None:
            renamed = f"the device is {moved.name} there" if moved is not None else f"in {self.site.netns}"
            raise CheckFailed(f'failed to lookup "{ifname}": Link not found', renamed)
        if saved and (moved is None or moved.index != link.index):
            differ(CheckFailed(f"{ifname} is not the device {saved['name']} of the node", f"in {self.site.netns}"))
        compare_previous(self.site, link, differ)
        return link

    def remove(self) -> None:
        """Move it back and restore what was noted; without a note, a link that another version moved.

        If its name is taken on the node it stays in the container as it is, and a later DEL moves it.
        """
        try:
            saved = self.saved.values()
        except CNIError as error:
            self.site.say(f"{error}: nothing is restored from it")
            saved = {}
        namespace = self._namespace(saved)
        if namespace is not None:
            link = _found(namespace.rtnl, saved, True) if saved else self._of_another_version(namespace.rtnl)
            if link is not None:
                self._move_back(namespace, link, saved)
        if saved:
            self._restore(saved, gone=namespace is None)
        self.saved.forget()

    def _namespace(self, saved: "Values") -> "Namespace | None":
        """The container's namespace: with a note the noted one, whether CNI_NETNS names it, another one, or nothing."""
        from cni.kernel.namespace import Namespace

        given = self.site.remaining
        if not saved or (given is not None and self.saved.values(given.identity)):
            return given
        noted = Namespace.remaining(saved["netns"], self.site.say) if saved["netns"] != self.site.netns else None
        return noted if noted is not None and self.saved.values(noted.identity) else None

    def _of_another_version(self, inside: "Rtnl") -> "Link | None":
        """The link ``CNI_IFNAME``, or one that the pod renamed and that has the MAC of prevResult, if its alias is a name."""
        ifname = self.attachment.ifname
        try:
            previous = self.site.previous
        except CNIError:
            previous = None
        interfaces = previous.interfaces if previous is not None else ()
        macs = {each.mac.lower() for each in interfaces if each.sandbox and each.name == ifname and each.mac}
        links = [link for link in inside.links() if not link.loopback and (link.name == ifname or link.mac in macs)]
        for link in sorted(links, key=lambda link: link.name != ifname):
            if link.alias and not interface_fault(link.alias):
                return link
            self.site.say(
                f"{link.name} in {self.site.netns} is no device of the node (its alias is no name): left alone"
            )
        return None

    def _move_back(self, namespace: "Namespace", link: "Link", saved: "Values") -> None:
        """In one step, as in ``make``. With a note the alias is restored last, because the device is found by it."""
        name = saved.get("name") or link.alias
        text = f'failed to move "{link.name}" back to the node as "{name}"'
        if self.site.rtnl.link(name) is not None:
            raise CNIError(f"{text}: file exists", f"rename the link {name} of the node, and send DEL again")
        node = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            namespace.rtnl.change(link.index, name=name, alias=None if saved else "", namespace=node)
        except KernelError as error:
            # it may have moved before it turned out that somebody took the name
            moved = self.site.rtnl.link(link.name)
            if moved is not None and moved.alias == link.alias and namespace.rtnl.link(link.name) is None:
                self.site.rtnl.change(moved.index, namespace=namespace.fd)
                namespace.rtnl.change(link.index, up=True)
            raise CNIError(f"{text}: {error}", "send DEL again") from None
        finally:
            os.close(node)

    def _restore(self, saved: "Values", gone: bool) -> None:
        """Restore what it was like on the node. What the kernel refuses is reported, so that DEL can succeed."""
        from cni.patience import attempts

        rtnl, name = self.site.rtnl, saved["name"]
        for _ in attempts(_PATIENCE if gone and not saved["kind"] else 0):
            link = _found(rtnl, saved, False)
            if link is not None:
                break
        else:
            self.site.say(f"device {name} was not found on the node: it is gone")
            return
        if link.name != name:
            self._rename(link, name)
        for field in _RESTORED:
            if field in saved and getattr(link, field) != saved[field]:
                self._attempt(link, field, rtnl.change, **{field: saved[field]})
        for other in set(saved["altnames"]) - set(link.altnames):
            self._attempt(link, "other name", rtnl.add_altname, name=other)
        if saved["up"]:
            self._attempt(link, "state", rtnl.change, up=True)
        if link.alias != saved["alias"]:
            self._attempt(link, "alias", rtnl.change, alias=saved["alias"])

    def _rename(self, link: "Link", name: str) -> None:
        try:
            self.site.rtnl.change(link.index, up=False)
            self.site.rtnl.change(link.index, name=name)
        except KernelError as error:
            text = f'failed to rename "{link.name}" of the node to "{name}": {error}'
            raise CNIError(text, f"rename the link {name}, and send DEL again") from None

    def _attempt(self, link: "Link", what: str, change: "Callable[..., None]", **values: "Any") -> None:
        try:
            change(link.index, **values)
        except KernelError as error:
            self.site.say(f"the {what} of {link.name} could not be restored: {error}")

    def present(self, network: str) -> list[Found]:
        """Those that are noted for attachments of a network; notes that cannot be read are reported."""
        found = []
        for saved in Saved.every(_folder(self.site)):
            try:
                owner, name = saved.owner, str(saved.values().get("name", ""))
            except CNIError as error:
                self.site.say(f"{error}")
                continue
            if owner is not None and network in ("", owner.network):
                found.append(Found(str(owner), str(owner), device=name))
        return found

    def discard(self, identity: str) -> None:
        """Move back the device of this attachment."""
        attachment = Attachment.parse(identity, 1 << 20)
        if attachment is not None:
            MovedLink(self.site.of(attachment)).remove()

    def describe(self) -> str:
        """The ``ip`` command for it."""
        return f"ip link set DEVICE netns CONTAINER name {self.attachment.ifname} alias DEVICE up"


class Settled(Effect[None]):
    """The note says that the ADD was whole: the last effect."""

    # nothing is compared
    repairable = False

    def __init__(self, moved: MovedLink) -> None:
        super().__init__(moved.site)
        self.moved = moved

    def make(self) -> None:
        """Write it."""
        self.moved.saved.keep({"finished": True}, self.site.container.identity)

    def compare(self, differ: "Differ") -> None:
        """Another version notes nothing, so nothing is compared."""


def _folder(site: "Site") -> str:
    return f"{site.node.roots.run}/moved"


def _found(rtnl: "Rtnl", saved: "Values", inside: bool) -> "Link | None":
    """The device among the links of a namespace: by the MAC of its hardware, its index in the container, or its alias.

    Or by what it was before: an ADD that died may not have moved it yet.
    """
    if not saved:
        return None
    links = [link for link in rtnl.links() if (link.kind, link.permanent) == (saved["kind"], saved["permanent"])]
    if saved["permanent"] and len(links) == 1:
        return links[0]
    name, mac = saved["name"], saved["mac"]
    marks: tuple[Callable[[Link], bool], ...] = (
        lambda link: inside and link.index == saved.get("inside"),
        lambda link: link.alias == name,
        lambda link: link.name == name and (link.mac == mac != "" or (not inside and link.index == saved["index"])),
    )
    return next((link for fits in marks for link in links if fits(link)), None)
