"""The IPAM plugin as an effect: its ADD gives addresses, its DEL takes them back (SPEC.md, "Plugin Delegation")."""

from cni import delegate
from cni.errors import CNIError, Refused
from cni.linksettings import ipam_type
from cni.plan import Differ, Effect, Found, Kind
from cni.result import parse_delegated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cni.attachment import Attachment
    from cni.result import Result
    from cni.skel import Call


class Addresses(Effect["Result"], Kind):
    """The addresses that the IPAM plugin gives this attachment; the value is its result."""

    noun = "addresses"
    # a second ADD is refused, or gives other addresses
    repairable = False

    def __init__(self, call: "Call", type: str | None = None) -> None:
        """``type`` is the IPAM plugin's; by default it is read from the configuration on first use."""
        super().__init__(call.site)
        self.call = call
        self._type = type

    @property
    def type(self) -> str:
        """The IPAM plugin's type, empty without one; raises as ``ipam_type``."""
        return ipam_type(self.call) if self._type is None else self._type

    def make(self) -> "Result":
        """Delegate ADD. If it fails, the executor calls ``remove``: the specification demands a DEL then."""
        try:
            document = delegate.run(self.call, self.type, "ADD")
        except Refused as error:  # demanded even then
            raise CNIError(error.msg, error.details, error.code) from None
        result = parse_delegated(document, self.call.version)
        if not result.ips:
            raise CNIError("IPAM plugin returned missing IP config", f"{self.type} handed out no address")
        return result

    def compare(self, differ: "Differ") -> "Result":
        """Delegate CHECK; the value is prevResult."""
        try:
            delegate.run(self.call, self.type, "CHECK")
        except CNIError as error:
            differ(error)
        previous = self.site.previous
        if previous is None:
            raise CNIError("Required prevResult missing")
        return previous

    def remove(self) -> None:
        """Delegate DEL."""
        if self.type:
            delegate.run(self.call, self.type, "DEL")

    def collect(self, network: str, valid: "Iterable[Attachment]") -> "list[Found]":  # noqa: ARG002
        """Delegate GC. A plugin without that verb (before 1.1.0) gets a line on standard error, no error."""
        delegate_type = self.type
        try:
            if delegate_type:
                delegate.run(self.call, delegate_type, "GC")
        except CNIError as error:
            if not delegate.lacks(error, "GC"):
                raise
            self.site.say(
                f"IPAM plugin {delegate_type} does not know GC: its leases of network {network} were not looked at"
            )
        return []

    def describe(self) -> str:
        """The IPAM plugin's name."""
        return f"addresses from {self.type}"
