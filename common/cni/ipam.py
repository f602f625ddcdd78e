"""The IPAM delegate as an effect: its ADD gives addresses, its DEL takes them back (SPEC.md, "Plugin Delegation")."""

from cni import delegate
from cni.errors import CNIError, Refused
from cni.linksettings import ipam_type
from cni.plan import Effect, Kind
from cni.result import parse_delegated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from cni.attachment import Attachment
    from cni.plan import Differ, Found
    from cni.result import Result
    from cni.skel import Call


class Addresses(Effect["Result"], Kind):
    """The addresses that the delegate hands out for this attachment; the value is its result."""

    __slots__ = ("_type", "call")
    noun = "addresses"
    # ADD again is refused, or gives others
    repairable = False

    def __init__(self, call: "Call", type: str | None = None) -> None:
        """``type`` is the delegate's; by default it is read from the configuration when it is used."""
        super().__init__(call.site)
        self.call = call
        self._type = type

    @property
    def type(self) -> str:
        """The delegate's type, the empty text where there is none; raises as ``ipam_type``."""
        return ipam_type(self.call) if self._type is None else self._type

    def make(self) -> "Result":
        """Delegate ADD; the executor's undo is the DEL that the specification asks for when it fails."""
        try:
            document = delegate.run(self.call, self.type, "ADD")
        except Refused as error:  # the specification asks for DEL all the same
            raise CNIError(error.msg, error.details, error.code) from None
        result = parse_delegated(document, self.call.version)
        if not result.ips:
            raise CNIError("IPAM plugin returned missing IP config", f"{self.type} handed out no address")
        return result

    def compare(self, differ: "Differ") -> "Result":
        """Delegate CHECK; the value is prevResult, what should be."""
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
        delegate_type = self.type
        if delegate_type:
            delegate.run(self.call, delegate_type, "DEL")

    def collect(self, network: str, valid: "Iterable[Attachment]") -> "list[Found]":  # noqa: ARG002
        """Delegate GC; one that does not have the verb (before 1.1.0) is reported on standard error, and is not an error."""
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
        """The delegate's name."""
        return f"addresses from {self.type}"
