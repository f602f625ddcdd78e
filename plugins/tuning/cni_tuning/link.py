"""The values of the interface, as an effect that can restore them."""

from cni.errors import CheckFailed, CNIError, Step
from cni.plan import Effect, Kind
from cni.saved import Saved, restore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cni.plan import Differ

_NONE: "Mapping[str, Any]" = {}

# By the name in the configuration and in the file: the attribute of a link, and Go's words for a difference.
_ROWS = {
    "mac": ("mac", "Error: Tuning configured Ethernet of {} is {}, current value is {}"),
    "promisc": ("promisc", "Error: Tuning link {} configured promisc is {}, current value is {}"),
    "mtu": ("mtu", "Error: Tuning configured MTU of {} is {}, current value is {}"),
    "allmulti": ("allmulti", "Error: Tuning configured all-multicast mode of {} is {}, current value is {}"),
    "txQLen": ("tx_queue_length", "Error: Tuning configured TX queue length of {} is {}, current value is {}"),
}


class TunedLink(Effect[None], Kind):
    """The interface has the wanted values."""

    saved: Saved
    # by their names in the configuration
    values: "Mapping[str, Any]" = _NONE
    # what this ADD has changed
    before: "dict[str, Any] | None" = None
    noun = "values of an interface"
    repairable = True

    def make(self) -> None:
        """Save the original values, then set the new ones. Raises ``CNIError`` with the name of the value."""
        self.before = {}
        ifname, container = self.attachment.ifname, self.site.container
        link = container.rtnl.link(ifname)
        if link is None:
            raise CNIError(f'failed to get "{ifname}": Link not found', f"in {self.site.netns}")
        before = {name: getattr(link, _ROWS[name][0]) for name in self.values}
        self.saved.keep(before, container.identity)
        for name, value in self.values.items():
            if before[name] != value:
                self.before[name] = before[name]
                with Step(f'failed to set {name} of "{ifname}" to {str(value).lower()}'):
                    container.rtnl.change(link.index, **{_ROWS[name][0]: value})

    def compare(self, differ: "Differ") -> None:
        """The interface exists, and has each value."""
        ifname = self.attachment.ifname
        link = self.site.container.rtnl.link(ifname)
        if link is None:
            raise CheckFailed(f"Cannot find container link {ifname}", f"in {self.site.netns}")
        for name, value in self.values.items():
            attribute, words = _ROWS[name]
            found = getattr(link, attribute)
            if found != value:
                text = words.format(ifname, str(value).lower(), str(found).lower())
                differ(CheckFailed(text, f"in {self.site.netns}"))

    def remove(self) -> None:
        """Restore what this ADD has changed; for DEL, what is saved. Namespace and interface may be gone."""
        namespace, old, undo = self.site.remaining, self.before, self.before is not None
        if namespace is None:
            return
        if old is None:
            old = self.saved.restorable(namespace, self.site.say)
        values = {name: old[name] for name in reversed(_ROWS) if name in old}
        link = namespace.rtnl.link(self.attachment.ifname) if values else None
        if link is not None:
            rtnl, index = namespace.rtnl, link.index
            restore(self.site, values, lambda name, value: rtnl.change(index, **{_ROWS[name][0]: value}), undo)

    def describe(self) -> str:
        """The ``ip`` command for it."""
        values = " ".join(f"{name} {str(value).lower()}" for name, value in self.values.items())
        return f"ip link set {self.attachment.ifname} {values}"
