"""A link in the container as ``CNI_IFNAME``, of any kind that netlink makes: macvlan, dummy and others.

It is made in the container under a name that is derived from the attachment, and then renamed and given an alias in one
step. So DEL and the next ADD recognise leftovers, wherever an ADD died: a link with the derived name, or a link
whose alias is ``Attachment.unfinished``. (Made from the node under ``CNI_IFNAME``, it would be refused by Linux before
6.15 if the node has a link of that name.) The last effect writes the final alias.
"""

from errno import EBUSY, EEXIST, EINVAL, EOPNOTSUPP, EPERM

from cni.errors import CheckFailed, CNIError, KernelError, Refused
from cni.kernel.rtnl import missing
from cni.links import compare_previous, in_go_words, of_container, owner
from cni.plan import Differ, Effect, Kind, Remains

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.attachment import Attachment
    from cni.kernel.kinds import LinkKind
    from cni.kernel.rtnl import Link, Rtnl
    from cni.parent import Parent


class ContainerLink(Effect["Link"], Kind):
    """The link; the value is what the kernel made."""

    kind: "LinkKind"
    # the link that it is on, for kinds that are on another
    parent: "Parent | None" = None
    mac: str = ""
    mtu: int = 0
    undoing = False
    noun = "link"
    # a container that runs gets no other interface
    repairable = False

    def identify(self, attachment: "Attachment") -> str:
        """The alias."""
        return attachment.alias

    def make(self) -> "Link":
        """Make it under its derived name; then it gets its name and its alias in one step."""
        self.undoing = True
        inside, attachment = self.site.container.rtnl, self.attachment
        try:
            self._create(inside)
        except KernelError as error:
            raise self._refusal(error) from None
        try:
            return self._finish(inside, inside.link(attachment.link))
        except KernelError as error:
            raise self._refusal(error, "rename" if self.parent is not None else "") from None

    def _finish(self, inside: "Rtnl", made: "Link | None") -> "Link":
        """Give it its name and alias. If that fails, remove it: without them undo does not recognise it."""
        attachment = self.attachment
        if made is not None:
            # macvlan in mode passthru takes no MAC when it is made
            mac = self.mac if made.mac != self.mac else ""
            try:
                inside.change(made.index, name=attachment.ifname, mac=mac, alias=attachment.unfinished)
            except BaseException:
                inside.delete(made.index)
                raise
            made = inside.link(index=made.index)
        if made is None:
            raise CNIError(f"the link {attachment.ifname} vanished while it was made", "did something remove it?")
        return made

    def _create(self, inside: "Rtnl") -> None:
        name, link = self.attachment.link, self.parent.link.index if self.parent is not None else 0
        if self.parent is None or self.parent.in_container:
            inside.add(name, self.kind, parent=link, mac=self.mac, mtu=self.mtu)
        else:
            fd = self.site.container.fd
            self.site.rtnl.add(name, self.kind, parent=link, mac=self.mac, mtu=self.mtu, namespace=fd)

    def _refusal(self, error: KernelError, step: str = "") -> CNIError:
        """Why it was not made: the kernel's reason, another's link, this attachment's own, or leftovers."""
        kind, attachment = self.kind.word, self.attachment
        text = f'failed to rename {kind} to "{attachment.ifname}"' if step else f"failed to create {kind}"
        text += f": {error}"
        if error.errno != EEXIST:
            return Refused(text, self._remedy(error))
        rtnl = self.site.container.rtnl
        inside = rtnl.link(attachment.ifname)
        named = owner(self.site.rtnl, inside) if inside is not None else ""
        if rtnl.link(attachment.link) is not None or named == attachment.unfinished:
            return Remains(f"{attachment.ifname} is a leftover of an ADD of {attachment} that died")
        if named == attachment.alias:
            return Refused(text, f"{attachment} is attached; send DEL first")
        if inside is None:
            return Refused(text)
        return Refused(text, f"a link {attachment.ifname} is in {self.site.netns}{named and f', of {named}'}")

    def _remedy(self, error: KernelError) -> str:
        if error.errno == EPERM:
            return "this needs CAP_NET_ADMIN"
        if error.errno == EOPNOTSUPP:
            return missing(self.kind.name)
        if error.errno in (EBUSY, EINVAL) and self.parent is not None:
            return f"another link on {self.parent.link.name} may exclude this one"
        return ""

    def compare(self, differ: "Differ") -> "Link":
        """It is of its kind, on its parent, and has the kind's values and the MAC of prevResult.

        The MTU may have been changed by a later plugin, such as tuning, which compares it.
        """
        kind = self.kind.word
        link = of_container(self.site, self.kind.name)
        found = link.data
        for field, *_ in self.kind.ROWS:
            if field in self.kind.USERS:
                continue
            wanted, has = getattr(self.kind, field), getattr(found, field)
            if wanted != has:
                text = f"Container {kind} {field} {has} does not match expected value: {wanted}"
                differ(CheckFailed(in_go_words(kind, text)))
        if self.parent is not None and not self.parent.carries(self.site, link):
            differ(CheckFailed(f"{link.name} is not on {self.parent.link.name}"))
        compare_previous(self.site, link, differ)
        return link

    def remove(self) -> None:
        """Remove it under both names, and a link ``CNI_IFNAME`` without an owner, which another plugin's ADD made.

        After an ADD that failed, such a link is not ours.
        """
        namespace, attachment = self.site.remaining, self.attachment
        if namespace is None:
            return
        ours = (attachment.alias, attachment.unfinished)
        for name in (attachment.link, attachment.ifname):
            link = namespace.rtnl.link(name)
            if link is None or link.loopback:
                continue
            named = owner(self.site.rtnl, link)
            if named in ours or (not named and (name == attachment.link or not self.undoing)):
                namespace.rtnl.delete(link.index)
            elif named:
                self.site.say(f"{name} in {namespace.path} belongs to {named}: left alone")

    def describe(self) -> str:
        """The ``ip`` commands for it."""
        attachment, on = self.attachment, f" link {self.parent.link.name}" if self.parent is not None else ""
        mac, mtu = f" address {self.mac}" if self.mac else "", f" mtu {self.mtu}" if self.mtu > 0 else ""
        values = "".join(f" {field} {getattr(self.kind, field)}" for field, *_ in self.kind.ROWS)
        return (
            f"ip link add {attachment.link}{on}{mac}{mtu} netns CONTAINER type {self.kind.name}{values}\n"
            f"ip link set {attachment.link} name {attachment.ifname} alias {attachment.unfinished}"
        )
