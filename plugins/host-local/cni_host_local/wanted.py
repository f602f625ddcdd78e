"""host-local: one address of each range set is leased. The container's namespace is not used.

DEL and GC do without the settings and ``cni.pool``: they need only the store.
"""

import os

from cni.address import Prefix
from cni.errors import CheckFailed, CNIError, Refused
from cni.plan import Differ, Effect, Found, Kind
from cni.result import IPConfig, Result
from cni.settings import chosen
from cni_host_local import DATA_DIR
from cni_host_local.store import Store, contents, is_lease

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cni.address import Address
    from cni.attachment import Attachment
    from cni.plan import Plan
    from cni.pool import Range, RangeSet
    from cni.skel import Call
    from cni_host_local.settings import Settings


class Leases(Effect["list[tuple[Range, Address]]"], Kind):
    """One address of each range set is leased. The value is the list of (range, address). DEL and GC give no sets."""

    store: Store
    sets: "Sequence[RangeSet]" = ()
    requested: "Sequence[Address]" = ()
    noun = "lease"
    # the address may belong to another container by now
    repairable = False

    def make(self) -> "list[tuple[Range, Address]]":
        """Lease from all sets or none: if a later set fails, the leases that this call made are removed, and no others."""
        try:
            with self.store:
                return self._make()
        # Refused: undo must not remove older leases of the attachment, nor wait for the lock again
        except CNIError as error:
            raise Refused(error.msg, error.details, error.code) from None
        except OSError as error:
            raise Refused(f"host-local: {error}", self.store.where()) from None

    def _make(self) -> "list[tuple[Range, Address]]":
        from cni import pool

        got: list[tuple[Range, Address]] = []
        try:
            for found in pool.allocate(self.sets, self.requested, self.attachment, self.store):
                got.append(found)
        except BaseException:
            if got:
                who = self.attachment
                self.store.give_back(who.container, who.ifname, [address for _, address in got])
            raise
        return got

    def compare(self, differ: "Differ") -> "list[tuple[Range, Address]]":
        """The attachment has a lease, and a lease of each address of prevResult that is in the ranges."""
        who, expected = self.attachment, self._expected()
        with self.store:
            holds = self.store.files(who.container, who.ifname)
            held = self.store.leases(who.container, who.ifname) if expected else []
        fault = f"host-local: Failed to find address added by container {who.container}"
        lost = [str(address) for address in expected if address not in held]
        if not holds:
            differ(CheckFailed(fault, f"{who} has no lease in {self.store.folder}"))
        elif lost:
            details = f"prevResult has it, and {who} has no lease of it in {self.store.folder}"
            differ(CheckFailed(f"{fault}: {', '.join(lost)}", details))
        return []

    def _expected(self) -> "list[Address]":
        previous = self.site.previous
        if previous is None:
            return []
        others = {place for place, each in enumerate(previous.interfaces) if each.name != self.attachment.ifname}
        addresses = [ip.address.address for ip in previous.ips if ip.interface not in others]
        return [address for address in addresses if any(each.holding(address) for each in self.sets)]

    def remove(self) -> None:
        """Release the leases of the container and interface. The ranges do not matter."""
        if self.store.exists():
            with self.store:
                self.store.release(self.attachment.container, self.attachment.ifname)

    def present(self, network: str) -> "Iterable[Found]":
        """The leases of a network, or of all networks. Read without the lock, because nothing is changed."""
        folder = self.store.folder.rpartition("/")[0]
        for name in [network] if network else sorted(os.listdir(folder) if os.path.isdir(folder) else ()):
            store = Store(folder, name)
            for content, path in store.walk() if store.exists() else ():
                if "/" not in path and is_lease(content, path):
                    container, _, ifname = content.decode("utf-8", "replace").partition("\r\n")
                    file = f"{store.folder}/{path}"
                    yield Found(file, f"{name}/{container}/{ifname}", address=path, file=file)

    def collect(self, network: str, valid: "Iterable[Attachment]") -> "list[Found]":  # noqa: ARG002
        """Release every lease whose attachment is not valid. A lease in the oldest format names only the container."""
        if not self.store.exists():
            return []
        kept = {content for attachment in valid for content in contents(attachment.container, attachment.ifname)}
        gone = []
        with self.store:
            found = self.store.current()
            stale = (content for content, path in found if content not in kept and is_lease(content, path))
            for content in dict.fromkeys(stale):
                self.store.discard(content)
                gone.append(Found(content.decode("utf-8", "replace").replace("\r\n", "/")))
        return gone

    def describe(self) -> str:
        """The lease of each set."""
        lines = [f"lease of {each} in {self.store.folder} for {self.attachment}" for each in self.sets]
        lines += [f"  requested: {address}" for address in self.requested]
        return "\n".join(lines) or f"leases in {self.store.folder} for {self.attachment}"


def wanted(call: "Call", settings: "Settings") -> "Plan[Result]":
    """One lease of each range set. CHECK compares the leases with the addresses of prevResult."""
    from cni_host_local.settings import dns

    found = dns(settings.resolv_conf) if call.verb == "ADD" else None
    got = yield from Leases(call.site, _store(call), settings.sets, settings.requested)
    ips = [IPConfig(Prefix(address, member.subnet.length), member.gateway) for member, address in got]
    return Result((), ips, settings.routes, found)


def left(call: "Call") -> "list[Kind]":
    """The attachment's leases."""
    return [Leases(call.site, _store(call))]


def data_dir(call: "Call") -> str:
    """``ipam.dataDir``. DEL and GC read no other key, so no other key can make them fail."""
    found = chosen(call.config, "ipam", "dataDir")
    return found if isinstance(found, str) and found and "\0" not in found else DATA_DIR


def _store(call: "Call") -> Store:
    return Store(data_dir(call), call.network)
