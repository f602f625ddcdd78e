"""The device that the configuration names: found on the node by its name or MAC, or in /sys by its place there."""

import os

from cni.errors import CNIError, Refused, Step
from cni.links.moved_link import MovedLink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.rtnl import Link
    from cni.site import Site
    from cni_host_device.settings import Settings

# With these drivers a program drives the device, and the kernel has no link for it.
DPDK_DRIVERS = ("vfio-pci", "uio_pci_generic", "igb_uio")
_MISSING = "failed to find host device: "


class Device:
    """The device. ``dpdk``: a program of the container drives it, so there is no link to move."""

    def __init__(self, site: "Site", settings: "Settings") -> None:
        """Raises ``CNIError`` if /sys lacks what the runtime or ``pciBusID`` names."""
        self.site = site
        self.settings = settings
        self.pci = settings.pci
        self.auxiliary = ""
        if settings.device_id:
            self._requested(settings.device_id)
        self.dpdk = self._driver() in DPDK_DRIVERS if self.pci else settings.dpdk

    def _requested(self, name: str) -> None:
        if os.path.exists(self._place("pci", name)):
            self.pci = name
        elif os.path.exists(self._place("auxiliary", name)):
            self.pci, self.auxiliary = "", name
        else:
            fault = f"runtime config DeviceID {name} not found or unsupported"
            raise CNIError(fault, "the node has no PCI or auxiliary device of this name")

    def _place(self, bus: str, name: str) -> str:
        return f"{self.site.node.roots.sys}/bus/{bus}/devices/{name}"

    def _driver(self) -> str:
        """The name of the PCI device's driver; as in Go, a device without one is an error."""
        link = f"{self._place('pci', self.pci)}/driver"
        try:
            return os.path.basename(os.readlink(link))
        except OSError as error:
            fault = f"error with host device: lstat {link}: {(error.strerror or '').lower()}"
            raise CNIError(fault, f"the node has no PCI device {self.pci} with a driver") from None

    def link(self) -> "Link":
        """Its link on the node; raises ``Refused``."""
        settings, rtnl = self.settings, self.site.rtnl
        if settings.device:
            with Step("failed to find host device", error=Refused):
                # the kernel would read a name up to its zero byte
                found = None if "\0" in settings.device else rtnl.link(settings.device)
            return found if found is not None else self._gone(settings.device)
        if settings.hwaddr:
            macs = (link for link in rtnl.links() if link.mac == settings.hwaddr and not link.loopback)
            found = next(macs, None)
        else:
            name = self._name()
            found = rtnl.link(name)
        if found is None:
            raise Refused(f"{_MISSING}failed to find physical interface", "another namespace may have it")
        return found

    def _gone(self, name: str) -> "Link":
        """Raises ``Refused``; the details tell where the device may be."""
        remedy = f"no link of the node has the name {name}"
        for found in MovedLink(self.site).present(""):
            if found.facts["device"] == name:
                remedy = f"{found.owner} has it"
        for link in self.site.rtnl.links():
            if link.alias == name:
                remedy = f"{link.name} has {name} as its alias: a container may have ended without DEL; rename it"
        raise Refused(f"{_MISSING}Link not found", remedy)

    def _name(self) -> str:
        """The name of the link, from the device's folder in /sys."""
        kernel_path = self.settings.kernel_path
        if kernel_path:
            return self._first(f"{self.site.node.roots.sys}{kernel_path.removeprefix('/sys')}/net")
        if self.auxiliary:
            return self._first(f"{self._place('auxiliary', self.auxiliary)}/net")
        device = self._place("pci", self.pci)
        folders = [f"{device}/net"]
        if not os.path.isdir(folders[0]):
            # a virtio device's link is below the device that the bus of virtio has for it
            below = sorted(name for name in _names(device) if name.startswith("virtio"))
            folders = [path for path in (f"{device}/{name}/net" for name in below) if os.path.isdir(path)]
        if not folders:
            raise Refused(f"{_MISSING}no net directory under pci device {self.pci}", "its driver makes no link")
        return self._first(folders[0])

    def _first(self, folder: str) -> str:
        names = sorted(_names(folder))
        if not names:
            remedy = "another namespace may have it, which is not seen here"
            raise Refused(f"{_MISSING}failed to find network device in path {folder}", remedy)
        return names[0]


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError as error:
        fault = f"{_MISSING}failed to read directory {folder}: {(error.strerror or '').lower()}"
        raise Refused(fault, "the node has no such device, or it has no link") from None
