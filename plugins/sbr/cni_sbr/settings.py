"""sbr's configuration: one row for each key."""

from cni.address import Address
from cni.errors import InvalidConfig, KernelError, NotAvailable
from cni.settings import Section, boolean, integer, key, listing, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.skel import Call

_LOCAL, _MOST = 255, (1 << 32) - 1


def _table_fault(number: int) -> str:
    allowed = 1 <= number <= _MOST and number != _LOCAL
    return "" if allowed else f"table is {number}, and must be from 1 to {_MOST}, but not {_LOCAL} (local)"


class Settings(Section):
    """What the configuration holds, checked."""

    # fmt: off
    table: int | None = key(
        "table", integer, None, "rules to this routing table, and nothing else; by default the routes move to free tables",
        _table_fault)
    named: list[str] = key(
        "gateways", listing(string), list, "gateways of the default routes, at most one of each family; by default those "
        "of the addresses")
    hints: bool = key(
        "addSourceHints", boolean, False, "routes to the interface's own networks stay in the main table too, with the "
        "address as the source")
    # fmt: on

    def __init__(self, call: "Call") -> None:
        """Raises ``DecodingFailure`` and ``InvalidConfig``. ``gateways`` has no effect beside ``table``, as in Go."""
        super().__init__(call.config)
        self.gateways: dict[int, Address] = {}
        if self.table is None:
            self._read_gateways()

    def _read_gateways(self) -> None:
        if len(self.named) > 2:
            fault = "gateways list cannot contain more than 2 entries (one IPv4, one IPv6)"
            raise InvalidConfig(fault, 'change key "gateways"')
        for text in self.named:
            try:
                found = Address.parse(text)
            except ValueError:
                raise InvalidConfig(f"invalid static gateway IP address: {text}", "in gateways") from None
            if not any(found.packed):
                raise InvalidConfig(f"invalid static gateway IP address: {text}", "no host has it")
            other = self.gateways.setdefault(found.version, found)
            if other is not found:
                fault = f"gateways list contains multiple IPv{found.version} addresses: {other} and {found}"
                raise InvalidConfig(fault, "name one of each family")


def read(call: "Call") -> Settings:
    """Raises ``DecodingFailure`` and ``InvalidConfig``; nothing was touched then."""
    return Settings(call)


def ready(call: "Call", settings: Settings) -> None:  # noqa: ARG001
    """STATUS: the kernel has routing rules."""
    from cni.kernel import rules

    try:
        rules.check(call.site.rtnl)
    except KernelError as error:
        raise NotAvailable(f"Failed to list all rules: {error}", rules.REMEDY) from None
