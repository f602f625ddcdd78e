"""skeleton: the container's interface, which a plugin before this one made, has an alias."""

from cni.errors import CheckFailed, CNIError, InvalidConfig
from cni.plan import Effect, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.namespace import Namespace
    from cni.kernel.rtnl import Link
    from cni.plan import Differ, Plan
    from cni.result import Result
    from cni.site import Site
    from cni.skel import Call
    from cni_skeleton.settings import Settings

# What an alias begins with that is ours to remove, whatever the configuration says by now.
_MARK = "skeleton: "


class Aliased(Effect[None], Kind):
    """The container's interface has the alias."""

    __slots__ = ("alias",)
    noun = "alias"
    repairable = True

    def __init__(self, site: "Site", words: str = "") -> None:
        """DEL and GC know no words."""
        super().__init__(site)
        self.alias = f"{_MARK}{words}"

    def make(self) -> None:
        """Set it."""
        self.site.container.rtnl.change(self._found().index, alias=self.alias)

    def compare(self, differ: "Differ") -> None:
        """It is the wanted one."""
        link = self._found()
        if link.alias != self.alias:
            text = f'alias of {link.name} is "{link.alias}", not "{self.alias}"'
            differ(CheckFailed(text, f"in {self.site.netns}"))

    def remove(self) -> None:
        """Clear it if it is ours; without a namespace there is nothing to do."""
        namespace = self.site.remaining
        link = self._link(namespace) if namespace is not None else None
        if namespace is not None and link is not None and link.alias.startswith(_MARK):
            namespace.rtnl.change(link.index, alias="")

    def _link(self, namespace: "Namespace") -> "Link | None":
        return namespace.rtnl.link(self.attachment.ifname)

    def _found(self) -> "Link":
        link = self._link(self.site.container)
        if link is None:
            text = f'failed to lookup "{self.attachment.ifname}": Link not found'
            raise CNIError(text, f"in {self.site.netns}")
        return link

    def describe(self) -> str:
        """The ``ip`` command for it."""
        return f"ip link set {self.attachment.ifname} alias '{self.alias}'"


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """The result is prevResult."""
    previous = call.site.previous
    if previous is None:
        raise InvalidConfig("must be called as chained plugin", "put it behind a plugin that makes an interface")
    if settings.words:
        yield from Aliased(call.site, settings.words)
    return previous


def left(call: "Call") -> list[Kind]:
    """The alias. It is in the container alone, so GC leaves it to the container's end."""
    return [Aliased(call.site)]
