"""static's configuration: the addresses of four sources, and which of them count (pure)."""

from cni import environment
from cni.address import Address, Prefix
from cni.errors import InvalidConfig
from cni.result import ADDRESS, DNS, IPConfig, Route, check_families
from cni.settings import Section, chosen, key, listing, requested, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from cni.skel import Call

_FIELD = "the 'address' field is expected to be in CIDR notation, got: '%s'"
_ARGUMENT = "the 'ip' field is expected to be in CIDR notation, got: '%s'"
_ENTRY = "an entry in the 'ips' field is NOT in CIDR notation, got: '%s'"


class Stated(Section):
    """An address as the configuration states it. Its text is read only if the address counts, as in Go."""

    address: str = key("address", string, "", "address with the length of its network's prefix")
    gateway: Address | None = key("gateway", ADDRESS, None, "gateway that the result names for this address")


class Settings(Section):
    """The section ``ipam``, checked, with the addresses that count."""

    # fmt: off
    addresses: list[Stated] = key("addresses", listing(Stated), list, "addresses of the interface")
    routes: list[Route] = key("routes", listing(Route.stated), list, "routes for the result")
    dns: DNS = key("dns", DNS.parse, DNS, "DNS of the result")
    # fmt: on

    ips: list[IPConfig]


def _entry(value: "Any", where: str) -> Stated:
    """An entry of ``ips``: a text, or an object as in ``addresses``, because a runtime may know the gateway."""
    return Stated(value, where) if isinstance(value, dict) else Stated({"address": string(value, where)}, where)


def _prefixes(entries: "Iterable[Stated]", where: str, text: str) -> "list[tuple[Prefix, Address | None]]":
    """The addresses of one source, with the gateways that it states; raises ``InvalidConfig`` with the entry's place."""
    found = []
    for place, entry in enumerate(entries):
        try:
            found.append((Prefix.parse(entry.address), entry.gateway))
        except ValueError:
            remedy = f"{where}[{place}]: write the prefix's length too, as in 10.1.2.5/24"
            raise InvalidConfig(text % entry.address, remedy) from None
    return found


def _arguments(call: "Call") -> "tuple[list[Prefix], list[Address]]":
    """``IP`` and ``GATEWAY`` in CNI_ARGS: lists with commas between them. Raises ``InvalidEnvironment``."""
    given = environment.arguments(call.environ, ("IP", "GATEWAY"))
    prefixes, gateways = [], []
    for item in given["IP"].split(",") if given.get("IP") else ():
        try:
            prefixes.append(Prefix.parse(item.strip()))
        except ValueError:
            raise environment.bad_argument("IP", given["IP"], _ARGUMENT % item.strip()) from None
    for item in given["GATEWAY"].split(",") if given.get("GATEWAY") else ():
        try:
            gateways.append(Address.parse(item.strip()))
        except ValueError:
            raise environment.bad_argument("GATEWAY", given["GATEWAY"], f"invalid gateway address: {item}") from None
    return prefixes, gateways[::-1]  # the last one in a network counts


def _within(gateways: "Iterable[Address]", prefix: Prefix) -> Address | None:
    return next((gateway for gateway in gateways if gateway in prefix), None)


def _counting(call: "Call", settings: Settings) -> list[IPConfig]:
    """The capability replaces ``args``, and ``args`` the configuration with CNI_ARGS, which are read in any case."""
    extra, gateways = _arguments(call)
    args, capability = requested(call.config, "ips", listing(_entry))
    asked = [_prefixes(args or (), "args.cni.ips", _ENTRY), _prefixes(capability or (), "runtimeConfig.ips", _ENTRY)]
    known = list(gateways)
    if any(asked):
        found = asked[1] or asked[0]
        known += [entry.gateway for entry in settings.addresses if entry.gateway is not None]
    else:
        found = _prefixes(settings.addresses, "ipam.addresses", _FIELD)
        found += [(prefix, _within(gateways, prefix)) for prefix in extra]
    if call.verb == "CHECK":  # Go's static gives only stated gateways: its result has no others
        known = []
    return [IPConfig(prefix, gateway or _within(known, prefix)) for prefix, gateway in found]


def read(call: "Call") -> Settings:
    """Raises ``InvalidEnvironment`` (CNI_ARGS), ``DecodingFailure`` and ``InvalidConfig``."""
    section = chosen(call.config, "ipam")
    if section is None:
        raise InvalidConfig("IPAM config missing 'ipam' key", "add an object ipam with type static")
    settings = Settings(section, "ipam")
    settings.ips = _counting(call, settings)
    check_families([ip.version for ip in settings.ips], str(chosen(call.config, "cniVersion") or ""))
    addresses = [ip.address for ip in settings.ips]
    for address in addresses:
        if not any(address.address.packed):
            raise InvalidConfig(f"address {address} is none that an interface can have", "state another one")
        if addresses.count(address) > 1:
            raise InvalidConfig(f"address {address} is stated twice", "an interface has an address once")
    return settings
