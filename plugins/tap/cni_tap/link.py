"""The tap, as an effect: a link of the container that /dev/net/tun makes, perhaps as a port of a bridge there."""

from errno import EBUSY, EEXIST, EPERM

from cni.errors import CheckFailed, CNIError, KernelError, Step
from cni.kernel import tun
from cni.links.container_link import ContainerLink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.rtnl import Link, Rtnl
    from cni.plan import Differ
    from cni.site import Site
    from cni_tap.settings import Settings


class Tap(ContainerLink):
    """The tap. It exists without a program that has it open; then it has no carrier."""

    noun = "tap"

    def __init__(self, site: "Site", settings: "Settings") -> None:
        super().__init__(site, settings.kind, None, settings.mac, settings.mtu)
        self.settings = settings

    def _create(self, inside: "Rtnl") -> None:
        """Under its derived name, with its MTU and MAC, in its bridge. ``remove`` finds what is half made."""
        name, ifname, wanted = self.attachment.link, self.attachment.ifname, self.settings.bridge
        bridge = inside.link(wanted) if wanted else None
        if wanted and bridge is None:
            raise CNIError(f"failed to get bridge {wanted}: Link not found", f"in {self.site.netns}")
        if inside.link(name) is not None or inside.link(ifname) is not None:
            raise KernelError(EEXIST)
        with self.site.container:
            self._make(name)
        made = inside.link(name)
        index = made.index if made is not None else 0
        with Step("failed to create tap", "the kernel refuses this MTU or MAC"):
            inside.change(index, mac=self.mac, mtu=self.mtu)
        if bridge is not None:
            with Step(f"failed to set tap {ifname} as a port of bridge {wanted}", f"it is a {bridge.kind or 'device'}"):
                inside.change(index, master=bridge.index)

    def _make(self, name: str) -> None:
        """In the namespace that the process is in."""
        if self.settings.context:
            self._labelled(name)
            return
        try:
            tun.make(name, self.settings.kind)
        except OSError as error:
            number = error.errno or 0
            raise KernelError(EEXIST if number == EBUSY else number) from None

    def _labelled(self, name: str) -> None:
        """By the program ``ip`` in the SELinux context, because the kernel gives a tap the context of its maker."""
        from cni.kernel import program, selinux

        kind = self.settings.kind
        words = ["multi_queue"] if kind.multi_queue else []
        for key, number in (("user", kind.owner), ("group", kind.group)):
            words += [key, str(number)] if number >= 0 else []
        with selinux.ExecutedAs(self.settings.context, self.site.node.roots.proc):
            fault, _ = program.run("ip", "tuntap", "add", "mode", "tap", "name", name, *words)
        if fault:
            raise CNIError(f"failed to run command ip: {fault}", f"in the SELinux context {self.settings.context}")

    def _remedy(self, error: KernelError) -> str:
        return f"this needs CAP_NET_ADMIN, and access to {tun.DEVICE}" if error.errno == EPERM else tun.REMEDY

    def compare(self, differ: "Differ") -> "Link":
        """As every link of a container; and it is a port of its bridge."""
        link = super().compare(differ)
        wanted = self.settings.bridge
        if wanted:
            bridge = self.site.container.rtnl.link(wanted)
            if bridge is None or bridge.index != link.master:
                differ(CheckFailed(f"{link.name} is not a port of bridge {wanted}", f"in {self.site.netns}"))
        return link

    def describe(self) -> str:
        """The ``ip`` commands for it."""
        attachment, values = (
            self.attachment,
            (("address", self.mac), ("mtu", self.mtu), ("master", self.settings.bridge)),
        )
        words = "".join(f" {word} {value}" for word, value in values if value)
        return (
            f"ip tuntap add mode tap name {attachment.link}\n"
            f"ip link set {attachment.link} name {attachment.ifname} alias {attachment.unfinished}{words}"
        )
