"""What should be for one attachment of vlan.

Chained after the plugin that made ``CNI_IFNAME``, the link has another name than that: ``eth0.100``.
"""

from cni import mainlink
from cni.errors import InvalidConfig, InvalidEnvironment
from cni.ipam import Addresses
from cni.kernel.kinds import Vlan
from cni.names import interface_fault
from cni.result import Result
from cni.settings import chosen
from cni.skel import Call
from cni_vlan.link import VlanLink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.plan import Kind, Plan
    from cni_vlan.settings import Settings


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """A VLAN's link on the master, with the addresses of IPAM if there is one."""
    own = _named(call, settings.id) if settings.chained else call
    _check(own.attachment.ifname)
    link = VlanLink(own.site, settings.kind, settings.parent(own.site), mtu=settings.mtu)
    if not settings.chained:
        return (yield from mainlink.attached(call, settings, link))
    previous = _previous(call)
    made = yield from mainlink.attached(own, settings, link, given=_layer3(own, settings) if settings.ipam else None)
    for ip in made.ips:
        ip.interface = len(previous.interfaces)
    dns = previous.dns if settings.dns is None else settings.dns
    return Result([*previous.interfaces, *made.interfaces], [*previous.ips, *made.ips], previous.routes, dns)


def left(call: "Call") -> "list[Kind]":
    """All that an ADD may have left. Only the keys that give the link's name are read."""
    inside, master, id = (chosen(call.config, name) for name in ("linkInContainer", "master", "vlanId"))
    chained = inside is True and not master and type(id or 0) is int and call.verb != "GC"
    own = _named(call, id or 0) if chained else call
    return [VlanLink(own.site, Vlan()), Addresses(call)]


def _check(name: str) -> None:
    """Raises ``InvalidEnvironment`` if an interface cannot have this name."""
    fault = interface_fault(name)
    if fault:
        raise InvalidEnvironment(fault, f"{name} is made of CNI_IFNAME and vlanId: shorten CNI_IFNAME")


def _named(call: "Call", id: int) -> "Call":
    """The call for the link of this name. IPAM plugins get the environment, so for them it is ``CNI_IFNAME``."""
    from cni.attachment import Attachment

    name = f"{call.attachment.ifname}.{id}"
    own = Call(call.environ, call.stdin, call.log, part_of=call)
    own.attachment = Attachment(call.network, call.attachment.container, name)
    return own


def _previous(call: "Call") -> Result:
    """The result of the plugin that made the master."""
    if call.site.previous is None:
        fault = "linkInContainer without master needs the result of an earlier plugin"
        raise InvalidConfig(fault, "name a link of the container with key master")
    return call.site.previous


def _layer3(own: "Call", settings: "Settings") -> "Plan[Result]":
    """Addresses and routes. The result has no routes of this link: CHECK of the earlier plugin would look for them."""
    found = yield from mainlink.addresses(own, settings)
    if own.verb == "CHECK":
        found.routes = []
    return found
