"""dhcp: the lease of one attachment, which the daemon keeps."""

from cni.address import Address, Prefix
from cni.errors import CheckFailed, CNIError, InvalidNetns
from cni.plan import Differ, Effect, Found, Kind
from cni.result import DNS, IPConfig, Result, Route
from cni_dhcp import records
from cni_dhcp.conversation import NotRunning, ask
from cni_dhcp.settings import socket_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from cni.plan import Plan
    from cni.skel import Call
    from cni_dhcp.settings import Settings

# The scope of a route without a gateway, as Go's plugin has it in its result.
_SCOPE_LINK = 253


class Lease(Effect[Result], Kind):
    """The lease of an attachment; the value is the result. DEL and GC give no settings."""

    socket: str
    settings: "Settings | None" = None
    noun = "lease"
    # the daemon asks for a lost lease itself
    repairable = False

    def make(self) -> Result:
        """Ask the daemon for the lease, and wait until it has one. A lease that exists is returned as it is."""
        return result(ask(self.socket, "allocate", **self._request()), self._priority)

    def compare(self, differ: "Differ") -> Result:
        """The daemon has the lease, and it is what prevResult says. Nothing is acquired."""
        previous = self.site.previous
        known = previous.of(self.attachment.ifname) if previous is not None else Result()
        addresses = [str(ip.address) for ip in known.ips]
        reply = ask(self.socket, "check", **self._request(), addresses=addresses)
        found = result(reply, self._priority)
        if previous is not None:
            for text in differences(self.attachment.ifname, found, known):
                differ(CheckFailed(f"dhcp: {text}", f"the lease of {self.attachment} has changed since ADD"))
        return found

    def remove(self) -> None:
        """Ask the daemon to give the lease back. Without the daemon, it does so when it starts."""
        try:
            ask(self.socket, "release", **self._who(), addresses=list(map(str, self.site.known())))
        except NotRunning as error:
            self._mark(records.name(self.attachment), error)

    def _mark(self, name: str, error: CNIError) -> None:
        folder = self._folder
        try:
            records.mark_deleted(folder, name)
        except OSError as fault:
            text = f"cannot mark the lease of {self.attachment} as deleted: {fault}"
            raise CNIError(text, f"{error}; remove {folder}/{name}{records.LEASE}") from None

    def discard(self, identity: str) -> None:
        """Give back the lease of the attachment with this text."""
        network, container, ifname = identity.split("/")
        other = type(self.attachment)(network, container, ifname)
        try:
            ask(self.socket, "release", network=network, container=container, ifname=ifname, netns="", addresses=[])
        except NotRunning as error:
            self._mark(records.name(other), error)

    def present(self, network: str) -> "Iterable[Found]":
        """The leases of a network: the daemon's, or without it those in its files."""
        try:
            leases = ask(self.socket, "leases")["leases"]
        except NotRunning:
            leases = list(self._kept())
        for lease in leases:
            owner = f"{lease['network']}/{lease['container']}/{lease['ifname']}"
            if not network or lease["network"] == network:
                yield Found(owner, owner, address=lease["addresses"])

    def _kept(self) -> "Iterable[dict[str, Any]]":
        for path in records.names(self._folder):
            try:
                found = records.content(path)
                yield {name: found[name] for name in ("network", "container", "ifname", "addresses")}
            except (OSError, CNIError, KeyError) as error:
                self.site.say(f"dhcp: {path} cannot be read: {error}")

    @property
    def _folder(self) -> str:
        return records.folder(self.site.node.roots.run, self.socket)

    @property
    def _priority(self) -> int:
        return self.settings.priority if self.settings is not None else 0

    def _who(self) -> "dict[str, Any]":
        """The attachment in a request. The daemon opens the namespace itself, and must find the same one."""
        import os

        who = self.attachment
        found: dict[str, Any] = {"network": who.network, "container": who.container, "ifname": who.ifname}
        namespace = self.site.remaining
        found["netns"] = os.path.abspath(self.site.netns) if namespace is not None else ""
        if namespace is not None:
            stat = os.fstat(namespace.fd)
            found["namespace"] = f"{stat.st_dev}:{stat.st_ino}"
        return found

    def _request(self) -> "dict[str, Any]":
        settings = self.settings
        assert settings is not None  # noqa: S101
        self._must_have_namespace()
        return {
            **self._who(),
            "provide": [[number, value.hex()] for number, value in settings.provided.items()],
            "request": settings.requested,
            "ipv4": settings.ipv4,
            "ipv6": settings.ipv6,
            "probe": settings.probe,
            "priority": settings.priority,
        }

    def _must_have_namespace(self) -> None:
        """Raise ``InvalidNetns`` with the text of Go's daemon, which opens it."""
        try:
            self.site.container  # noqa: B018 -- opened
        except InvalidNetns as error:
            text = error.msg.removeprefix(f'failed to open netns "{self.site.netns}": ')
            raise InvalidNetns(f"error calling DHCP.Allocate: {text}", error.details) from None

    def describe(self) -> str:
        """Where the lease is."""
        return f"lease of {self.attachment} from the daemon at {self.socket}"


def result(reply: "dict[str, Any]", priority: int) -> Result:
    """The result of a lease as the daemon's reply has it."""
    ips, routes, dns = [], [], DNS()
    for lease in reply["leases"]:
        gateway = Address.parse(lease["gateway"]) if lease["gateway"] else None
        for text in lease["addresses"]:
            ips.append(IPConfig(Prefix.parse(text), gateway))
        for destination, hop in lease["routes"]:
            dst = Prefix.parse(destination)
            gw = Address.parse(hop) if hop else Address(bytes(len(dst.address.packed)))
            routes.append(Route(dst, gw, priority=priority, scope=None if hop else _SCOPE_LINK))
        dns.nameservers += [each for each in lease["servers"] if each not in dns.nameservers]
        dns.search += [each for each in lease["search"] if each not in dns.search]
        dns.domain = dns.domain or lease["domain"]
    return Result((), ips, routes, dns)


def differences(ifname: str, lease: Result, known: Result) -> "list[str]":
    """What the lease has that prevResult lacks, or has otherwise. prevResult may have more, of other plugins."""
    there = {ip.address: ip.gateway for ip in known.ips}
    found = []
    for ip in lease.ips:
        if ip.address not in there:
            others = ", ".join(str(each) for each in there if each.version == ip.version) or "none"
            found.append(f"{ifname} has a lease of {ip.address}, and prevResult has {others}")
        elif ip.gateway not in (None, there[ip.address]):
            found.append(f"the gateway of {ip.address} is now {ip.gateway}, and {there[ip.address]} in prevResult")
    routes = {(route.dst.network, _hop(route)) for route in known.routes}
    for route in lease.routes:
        if (route.dst.network, _hop(route)) not in routes:
            found.append(f"the server now gives a route to {route.dst} via {route.gw}, which prevResult lacks")
    return found


def _hop(route: Route) -> Address | None:
    return route.gw if route.gw is not None and any(route.gw.packed) else None


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """The lease."""
    return (yield from Lease(call.site, settings.socket, settings))


def left(call: "Call") -> "list[Kind]":
    """The lease."""
    return [Lease(call.site, socket_path(call))]
