"""An attachment's leases as an effect: one address of each range set."""

import os

from cni import pool
from cni.address import Address
from cni.errors import CheckFailed, CNIError, Refused
from cni.names import is_identifier
from cni.plan import Effect, Found, Kind
from cni_host_local.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cni.attachment import Attachment
    from cni.plan import Differ
    from cni.pool import Range, RangeSet
    from cni.site import Site


class Leases(Effect["list[tuple[Range, Address]]"], Kind):
    """One address of each set; the value is the list of (range, address). DEL and GC give no sets."""

    __slots__ = ("requested", "sets", "store")
    noun = "lease"
    # the address may be of another container by now
    repairable = False

    def __init__(
        self,
        site: "Site",
        data_dir: str,
        sets: "list[RangeSet] | None" = None,
        requested: "list[Address] | None" = None,
    ) -> None:
        super().__init__(site)
        self.store = Store(data_dir, site.attachment.network)
        self.sets = sets or []
        self.requested = requested or []

    def identify(self, attachment: "Attachment") -> str:
        """A lease's content."""
        return f"{attachment.container}\r\n{attachment.ifname}"

    def make(self) -> "list[tuple[Range, Address]]":
        """Lease all or nothing: what this call took is given back if a later set fails, and nothing else."""
        try:
            with self.store:
                return self._make()
        # what the attachment holds from before is not this call's to undo, and a lock is not waited for twice
        except CNIError as error:
            raise Refused(error.msg, error.details, error.code) from None
        except OSError as error:
            raise Refused(f"host-local: {error}", self.store.where()) from None

    def _make(self) -> "list[tuple[Range, Address]]":
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
        """Some lease of the attachment exists, and one of each address of the ranges that prevResult gives it."""
        who, expected = self.attachment, self._expected()
        with self.store:
            holds = self.store.holds(who.container, who.ifname)
            held = self.store.leases(who.container, who.ifname) if expected else []
        fault = f"host-local: Failed to find address added by container {who.container}"
        lost = [str(address) for address in expected if address not in held]
        if not holds:
            differ(CheckFailed(fault, f"{who} has no lease in {self.store.folder}"))
        elif lost:
            differ(
                CheckFailed(
                    f"{fault}: {', '.join(lost)}",
                    f"prevResult has it, and {who} has no lease of it in {self.store.folder}",
                )
            )
        return []

    def _expected(self) -> "list[Address]":
        previous = self.site.previous
        if previous is None:
            return []
        others = {place for place, each in enumerate(previous.interfaces) if each.name != self.attachment.ifname}
        addresses = [ip.address.address for ip in previous.ips if ip.interface not in others]
        return [address for address in addresses if any(one.holding(address) for one in self.sets)]

    def remove(self) -> None:
        """Release by id and interface, whatever the ranges say today."""
        if self.store.exists():
            with self.store:
                self.store.release(self.attachment.container, self.attachment.ifname)

    def present(self, network: str) -> "Iterable[Found]":
        """The leases of a network, or of all in the folder of data; without the lock, for nothing is decided by them."""
        folder = self.store.folder.rpartition("/")[0]
        for name in [network] if network else sorted(os.listdir(folder) if os.path.isdir(folder) else ()):
            store = Store(folder, name)
            for content, path in store.walk() if store.exists() else ():
                if "/" not in path and _is_lease(content, path):
                    container, _, ifname = content.decode("utf-8", "replace").partition("\r\n")
                    file = f"{store.folder}/{path}"
                    yield Found(file, f"{name}/{container}/{ifname}", address=path, file=file)

    def collect(self, network: str, valid: "Iterable[Attachment]") -> "list[Found]":  # noqa: ARG002
        """Release every lease whose attachment is not valid; one in the oldest format belongs to its container."""
        if not self.store.exists():
            return []
        kept = set()
        for attachment in valid:
            kept.add(self.identify(attachment).encode())
            kept.add(attachment.container.encode())
        gone = []
        with self.store:
            stale = (
                content for content, path in self.store.contents() if content not in kept and _is_lease(content, path)
            )
            for content in dict.fromkeys(stale):
                self.store.discard(content)
                gone.append(Found(content.decode("utf-8", "replace").replace("\r\n", "/")))
        return gone

    def describe(self) -> str:
        """What is asked of each set."""
        lines = [f"lease of {one} in {self.store.folder} for {self.attachment}" for one in self.sets]
        lines += [f"  requested: {address}" for address in self.requested]
        return "\n".join(lines) or f"leases in {self.store.folder} for {self.attachment}"


def _is_lease(content: bytes, path: str) -> bool:
    """Whether a file is a container id with an interface, or, where an address is its name, alone: others' files stay."""
    container, separator, ifname = content.partition(b"\r\n")
    if not is_identifier(container.decode("utf-8", "replace")):
        return False
    if separator:
        return bool(ifname)
    try:
        Address.parse(path)
    except ValueError:
        return False
    return True
