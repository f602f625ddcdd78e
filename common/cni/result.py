"""Results: one set of types, read from and printed in every version of the specification (pure).

Spec sections "CNI Result" of 0.1.0 to 1.1.0. A result in memory always has the newest shape; reading and printing
convert it. As in Go, 0.x documents always have ``dns`` and 1.x documents never an empty one; ``interface: 0``,
``table: 0`` and ``scope: 0`` are printed, ``mtu: 0`` and ``priority: 0`` are not.
"""

from cni import versions
from cni.address import Address, Prefix
from cni.errors import CNIError, DecodingFailure, InvalidConfig
from cni.settings import PREFIX as LOADING
from cni.settings import Key, Required, Table, Value, chosen, integer, listing, member, parsed, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Self

    from cni.settings import Kind


def _address(text: str) -> Address | None:
    return Address.parse(text) if text else None


ADDRESS = parsed(string, _address, "IP address")
PREFIX = parsed(string, Prefix.parse, "CIDR")


def _texts(given: "Iterable[str]") -> list[str]:
    """A list of texts; a single text becomes a list of one."""
    return [given] if isinstance(given, str) else list(given)


# Keys since 1.1.0: of an interface, and of a route.
_LATER = ("mtu", "socketPath", "pciID")
_ATTRIBUTES = ("mtu", "advmss", "priority", "table", "scope")


class Record(Value):
    """A value with one row for each key of its JSON object: reading, printing and pickling follow from the rows."""

    __slots__ = ()
    TABLE: Table

    @classmethod
    def parse(cls, value: "Any", where: str = "") -> "Self":
        """Read a JSON object."""
        return cls(**cls.TABLE(value, where))

    def printed(self, *without: str) -> "dict[str, Any]":
        """The JSON object, without the keys ``without`` and without default values."""
        document: dict[str, Any] = {}
        for key in self.TABLE.keys:
            value = getattr(self, key.attribute)
            if key.name not in without and value != key.default and value not in (None, "", []):
                document[key.name] = value if isinstance(value, int | str | list) else str(value)
        return document

    def __reduce__(self) -> "tuple[Any, ...]":
        code = vars(type(self))["__init__"].__code__
        return type(self), tuple(getattr(self, name) for name in code.co_varnames[1 : code.co_argcount])


class DNS(Record):
    """Name servers and search domains; ``options`` as in resolv.conf."""

    __slots__ = ("domain", "nameservers", "options", "search")
    TABLE = Table(
        Key("nameservers", listing(string), list, "servers, in order of preference"),
        Key("domain", string, "", "local domain"),
        Key("search", listing(string), list, "search domains"),
        Key("options", listing(string), list, "resolver options"),
    )

    def __init__(
        self,
        nameservers: "Iterable[str]" = (),
        domain: str = "",
        search: "Iterable[str]" = (),
        options: "Iterable[str]" = (),
    ) -> None:
        self.nameservers = _texts(nameservers)
        self.domain = domain
        self.search = _texts(search)
        self.options = _texts(options)

    def __bool__(self) -> bool:
        return bool(self.nameservers or self.domain or self.search or self.options)

    def document(self) -> "dict[str, Any]":
        """The JSON object; empty members are left out."""
        return self.printed()


class Interface(Record):
    """A link; it is on the host if ``sandbox`` is empty."""

    __slots__ = ("mac", "mtu", "name", "pci_id", "sandbox", "socket_path")
    TABLE = Table(
        Key("name", string, ""),
        Key("mac", string, ""),
        Key("mtu", integer, 0),
        Key("sandbox", string, ""),
        socket_path=Key("socketPath", string, ""),
        pci_id=Key("pciID", string, ""),
    )

    def __init__(
        self, name: str, mac: str = "", sandbox: str = "", mtu: int = 0, socket_path: str = "", pci_id: str = ""
    ) -> None:
        self.name = name
        self.mac = mac
        self.sandbox = sandbox
        self.mtu = mtu
        self.socket_path = socket_path
        self.pci_id = pci_id

    def document(self, newest: bool) -> "dict[str, Any]":
        """The JSON object; keys later than 0.4.0 only if ``newest``."""
        return {"name": self.name, **self.printed(*(() if newest else _LATER))}


def printed_mtu(mtu: int, version: str) -> int:
    """An interface's MTU in a result of this version; 0, which is not printed, before 1.1.0."""
    return mtu if versions.number(version) >= (1, 1, 0) else 0


class IPConfig(Record):
    """An address with its network's prefix, its gateway, and the index of its interface in the result."""

    __slots__ = ("address", "gateway", "interface", "stated")
    TABLE = Table(
        Key("interface", integer),
        Key("address", PREFIX, Required("an entry of ips has no address")),
        Key("gateway", ADDRESS),
        stated=Key("version", string, ""),
    )

    def __init__(
        self, address: Prefix, gateway: Address | None = None, interface: int | None = None, stated: str | None = None
    ) -> None:
        """``stated`` is the key ``version`` of results of 0.3.0 to 0.4.0; by default the address's own."""
        self.address = address
        self.gateway = gateway
        self.interface = interface
        self.stated = str(address.version) if stated is None else stated

    @property
    def version(self) -> int:
        """4 or 6, by the address."""
        return self.address.version

    def document(self, with_version: bool) -> "dict[str, Any]":
        """The JSON object."""
        return {**({"version": str(self.version)} if with_version else {}), **self.printed("version")}


class Route(Record):
    """A route. For ``table`` and ``scope``, None means absent; for the other attributes 0 does."""

    __slots__ = ("advmss", "dst", "gw", "mtu", "priority", "scope", "table")
    TABLE = Table(
        Key("dst", PREFIX, Required("a route has no dst"), "destination in CIDR notation"),
        Key("gw", ADDRESS, words="next hop; by default the gateway of its family"),
        Key("mtu", integer, 0, "MTU of the path"),
        Key("advmss", integer, 0, "maximal segment size to advertise"),
        Key("priority", integer, 0, "metric, lower is preferred"),
        Key("table", integer, words="number of the routing table, by default 254 (main)"),
        Key("scope", integer, words="0 global, 253 link, 254 host"),
    )

    def __init__(
        self,
        dst: Prefix,
        gw: Address | None = None,
        mtu: int = 0,
        advmss: int = 0,
        priority: int = 0,
        table: int | None = None,
        scope: int | None = None,
    ) -> None:
        self.dst = dst
        self.gw = gw
        self.mtu = mtu
        self.advmss = advmss
        self.priority = priority
        self.table = table
        self.scope = scope

    @classmethod
    def stated(cls, value: "Any", where: str = "") -> "Self":
        """Read a route of a configuration; raises ``InvalidConfig`` if the kernel cannot have it."""
        route = cls.parse(value, where)
        fault = route.fault()
        if fault:
            raise InvalidConfig(f"route {route.dst}: {fault}", f"in {where}")
        return route

    def fault(self) -> str:
        """Why the kernel cannot have this route (rtnetlink(7)); empty if it can."""
        for name in _ATTRIBUTES:
            value, most = getattr(self, name) or 0, 8 if name == "scope" else 32
            if not 0 <= value < 1 << most:
                return f"{name} is {value}, and must be from 0 to {(1 << most) - 1}"
        if self.gw is not None and self.gw.version != self.dst.version:
            return f"gw {self.gw} is of the other family"
        return ""

    def document(self, attributes: bool = True) -> "dict[str, Any]":
        """The JSON object; without ``attributes`` only ``dst`` and ``gw``."""
        return self.printed(*(() if attributes else _ATTRIBUTES))


class Result(Record):
    """The result of an ADD, in the newest shape."""

    __slots__ = ("dns", "interfaces", "ips", "routes")

    def __init__(
        self,
        interfaces: "Iterable[Interface]" = (),
        ips: "Iterable[IPConfig]" = (),
        routes: "Iterable[Route]" = (),
        dns: DNS | None = None,
    ) -> None:
        self.interfaces = list(interfaces)
        self.ips = list(ips)
        self.routes = list(routes)
        self.dns = dns if dns is not None else DNS()

    def of(self, ifname: str) -> "Result":
        """The result without interfaces, and without the addresses of other interfaces than this one."""

        def is_own(index: int | None) -> bool:
            if index is None or not 0 <= index < len(self.interfaces):
                return True
            interface = self.interfaces[index]
            return bool(interface.sandbox) and interface.name == ifname

        return Result((), [ip for ip in self.ips if is_own(ip.interface)], self.routes, self.dns)

    def document(self, version: str) -> "dict[str, Any]":
        """The JSON object in the shape of ``version`` (empty: 0.1.0).

        Raises ``CNIError`` for 0.1.0 and 0.2.0 without an address: they have no key for interfaces.
        """
        version = version or "0.1.0"
        if version in versions.FAMILIES[0]:
            return self.oldest(version)
        newest = version in versions.FAMILIES[2]
        document: dict[str, Any] = {"cniVersion": version}
        if self.interfaces:
            document["interfaces"] = [interface.document(newest) for interface in self.interfaces]
        if self.ips:
            document["ips"] = [ip.document(not newest) for ip in self.ips]
        if self.routes:
            document["routes"] = [route.document() for route in self.routes]
        if self.dns or not newest:
            document["dns"] = self.dns.document()
        return document

    def oldest(self, version: str, as_read: bool = False) -> "dict[str, Any]":
        """The 0.1.0 or 0.2.0 document. ``as_read``: it was read in this version; it may be empty, and routes keep all keys."""
        document: dict[str, Any] = {"cniVersion": version}
        for number in (4, 6):
            ip = next((ip for ip in self.ips if ip.stated == str(number)), None)
            if ip is None:
                continue
            part: dict[str, Any] = {"ip": str(ip.address)}
            if ip.gateway is not None:
                part["gateway"] = str(ip.gateway)
            routes = [route.document(attributes=as_read) for route in self.routes if route.dst.version == number]
            if routes:
                part["routes"] = routes
            document[f"ip{number}"] = part
        if len(document) == 1 and not as_read:
            raise no_addresses(version)
        document["dns"] = self.dns.document()
        return document


def no_addresses(version: str) -> CNIError:
    """The error for a result without addresses in 0.1.0 and 0.2.0."""
    return InvalidConfig(
        "cannot convert: no valid IP addresses",
        f"a result of cniVersion {version} has no place for interfaces; set cniVersion to 0.3.0 or later",
    )


def check_families(families: list[int], version: str) -> None:
    """Raise ``InvalidConfig`` for two addresses of one family in a version whose results have one of each."""
    if version in ("", *versions.FAMILIES[0]) and len(families) > len(set(families)):
        fault = f"CNI version {version} does not support more than 1 address per family"
        raise InvalidConfig(fault, "set cniVersion to 0.3.0 or later")


def _if_right(kind: "Kind[Any]", otherwise: "Any") -> "Kind[Any]":
    """A reader for keys of later versions: a value of the wrong type is ignored."""

    def read(value: "Any", where: str) -> "Any":
        try:
            return kind(value, where)
        except DecodingFailure:
            return otherwise

    return read


def _reader(record: "type[Record]", unknown: tuple[str, ...] = (), early: tuple[str, ...] = ()) -> "Kind[Any]":
    """A reader of a record in a version without the keys ``unknown``, or that does not define those of ``early`` yet."""
    keys = {
        key.attribute: Key(key.name, _if_right(key.kind, key.default), key.default) if key.name in early else key
        for key in record.TABLE.keys
        if key.name not in unknown
    }
    table = Table(**keys)
    return lambda value, where: record(**table(value, where))


def _newer(interface: "Kind[Any]", ip: "Kind[Any]", route: "Kind[Any]") -> Table:
    return Table(
        Key("interfaces", listing(interface), list),
        Key("ips", listing(ip), list),
        Key("routes", listing(route), list),
        Key("dns", DNS.parse, DNS),
    )


# Go reads the attributes of a route in every version, and those of an interface since 1.0.0. The specification has them
# since 1.1.0; in an earlier version a plugin may use these keys for something else.
_ROUTE, _IP = _reader(Route, early=_ATTRIBUTES), _reader(IPConfig, unknown=("version",))
_SHAPES = {
    **dict.fromkeys(versions.FAMILIES[1], _newer(_reader(Interface, unknown=_LATER), IPConfig.parse, _ROUTE)),
    "1.0.0": _newer(_reader(Interface, early=_LATER), _IP, _ROUTE),
    "1.1.0": _newer(Interface.parse, _IP, Route.parse),
}
_OLDEST_IP = Table(
    Key("ip", PREFIX, Required("an ip4 or ip6 object has no ip")),
    Key("gateway", ADDRESS),
    Key("routes", listing(_ROUTE), list),
)
_OLDEST = Table(Key("ip4", _OLDEST_IP), Key("ip6", _OLDEST_IP), Key("dns", DNS.parse, DNS))


def parse(document: "Any", version: str, where: str = "") -> Result:
    """Read a result of ``version``; keys that this version does not have are ignored.

    Raises ``DecodingFailure`` or ``InvalidConfig``.
    """
    try:
        return _parse(document, version, where)
    except DecodingFailure as error:
        raise DecodingFailure(error.msg.removeprefix(LOADING), error.details) from None


def _parse(document: "Any", version: str, where: str) -> Result:
    if version in versions.FAMILIES[0]:
        found = _OLDEST(document, where)
        ips, routes = [], []
        for name, number in (("ip4", "4"), ("ip6", "6")):
            if found[name] is not None:
                ips.append(IPConfig(found[name]["ip"], found[name]["gateway"], stated=number))
                routes += found[name]["routes"]
        return Result((), ips, routes, found["dns"])
    return Result(**_SHAPES[version](document, where))


def parse_previous(document: "Any", version: str) -> Result:
    """Read ``prevResult`` of a configuration of ``version``; its cniVersion, if present, must be of the same family."""
    prefix = "could not parse prevResult: "
    family = versions.family(version)
    if not family:
        raise DecodingFailure(f'{prefix}unsupported CNI result version "{version}"')
    try:
        stated = chosen(member(document, "prevResult"), "cniVersion")
        stated = version if stated is None else string(stated, "prevResult.cniVersion")
        if stated not in family:
            raise DecodingFailure(
                f'result type supports [{" ".join(family)}] but unmarshalled CNIVersion is "{stated}"'
            )
        return parse(document, stated, "prevResult")
    except CNIError as error:
        raise type(error)(prefix + error.msg.removeprefix(LOADING), error.details) from None


def parse_delegated(document: "Any", version: str) -> Result:
    """Read the result of a delegate, by its own version or, if it has none, the configuration's."""
    stated = chosen(document, "cniVersion")
    if not isinstance(stated, str | None):
        raise DecodingFailure("cannot read the delegate's cniVersion: it must be a string")
    stated = stated or version or "0.1.0"
    if stated not in versions.KNOWN:
        raise CNIError(f'unsupported CNI result version "{stated}"')
    return parse(document, stated, "the delegate's result")
