"""Addresses stated to static, from its four sources: what counts, and what is refused. Go's static does the same."""

from .plugin import Object

FIRST: Object = {"address": "10.1.2.5/24", "gateway": "10.1.2.1"}
SIXTH: Object = {"address": "fd00:1::5/64", "gateway": "fd00:1::1"}


class Stated:
    """One call: ``ipam``, keys beside it, CNI_ARGS; and what comes of it."""

    def __init__(self, addresses: object, cni_args: str = "", /, **top: object) -> None:
        self.conf: Object = {
            "cniVersion": "1.0.0", "name": "net1", "type": "bridge",
            "ipam": {"type": "static", **({"addresses": addresses} if addresses is not None else {})}, **top,
        }  # fmt: skip
        self.cni_args = cni_args


def ips(*given: object) -> Object:
    """The capability."""
    return {"runtimeConfig": {"ips": list(given)}}


def argued(*given: object) -> Object:
    """The same in ``args``."""
    return {"args": {"cni": {"ips": list(given)}}}


# what the result has: addresses with their gateways
COUNTS: dict[str, tuple[Stated, list[str]]] = {
    "the configuration": (Stated([FIRST, SIXTH]), ["10.1.2.5/24 10.1.2.1", "fd00:1::5/64 fd00:1::1"]),
    "none": (Stated(None), []),
    "an empty list": (Stated([]), []),
    "several of a family": (Stated([FIRST, {"address": "10.1.2.6/24"}]), ["10.1.2.5/24 10.1.2.1", "10.1.2.6/24"]),
    "a gateway outside of the network": (
        Stated([{"address": "10.1.2.5/32", "gateway": "169.254.1.1"}]),
        ["10.1.2.5/32 169.254.1.1"],
    ),
    "mapped, and a network's address": (
        Stated([{"address": "::ffff:10.1.2.0/120"}, {"address": "::a00:2/96"}]),
        ["10.1.2.0/24", "::a00:2/96"],
    ),
    "CNI_ARGS are added": (
        Stated([FIRST], "IP=10.1.2.6/24, fd00:1::6/64;GATEWAY=fd00:1::1,10.1.9.1"),
        ["10.1.2.5/24 10.1.2.1", "10.1.2.6/24", "fd00:1::6/64 fd00:1::1"],
    ),
    "the last gateway in a network counts, for all of it": (
        Stated(None, "IP=10.1.2.6/24,10.1.2.7/24;GATEWAY=10.1.2.1,10.1.2.2"),
        ["10.1.2.6/24 10.1.2.2", "10.1.2.7/24 10.1.2.2"],
    ),
    "empty CNI_ARGS": (Stated([FIRST], "IP=;GATEWAY="), ["10.1.2.5/24 10.1.2.1"]),
    "args replace both": (Stated([FIRST], "IP=10.1.2.6/24", **argued("10.1.3.7/24")), ["10.1.3.7/24"]),
    "an empty list replaces nothing": (Stated([FIRST], **argued(), **ips()), ["10.1.2.5/24 10.1.2.1"]),
    "the capability replaces all": (
        Stated([FIRST], "IP=10.1.2.6/24", **argued("10.1.3.7/24"), **ips("10.1.4.8/24", "fd00:4::8/64")),
        ["10.1.4.8/24", "fd00:4::8/64"],
    ),
    "what is replaced is not read": (Stated([{"address": "nonsense"}], **ips("10.1.4.8/24")), ["10.1.4.8/24"]),
    "unknown arguments are ignored when told so": (
        Stated([FIRST], "IgnoreUnknown=1;K8S_POD_NAME=a"),
        ["10.1.2.5/24 10.1.2.1"],
    ),
}
# what Go's static leaves out although it is known: a gateway. The last list is Go's answer, without an entry that it cannot read.
COUNTS_MORE: dict[str, tuple[Stated, list[str], list[str]]] = {
    "GATEWAY for the configuration": (
        Stated([{"address": "10.1.2.5/24"}, SIXTH], "GATEWAY=10.1.2.9,fd00:1::9"),
        ["10.1.2.5/24 10.1.2.9", "fd00:1::5/64 fd00:1::1"],
        ["10.1.2.5/24", "fd00:1::5/64 fd00:1::1"],
    ),
    "GATEWAY for args": (
        Stated(None, "GATEWAY=10.1.2.9", **argued("10.1.2.7/24")),
        ["10.1.2.7/24 10.1.2.9"],
        ["10.1.2.7/24"],
    ),
    "the configuration's gateway for the capability": (
        Stated([FIRST, SIXTH], **ips("10.1.2.7/24", "fd00:9::7/64")),
        ["10.1.2.7/24 10.1.2.1", "fd00:9::7/64"],
        ["10.1.2.7/24", "fd00:9::7/64"],
    ),
}
# what the message contains, and where the fault is
REFUSED: dict[str, tuple[Stated, str, str]] = {
    "no prefix": (
        Stated([FIRST, {"address": "10.1.2.6"}]),
        "the 'address' field is expected to be in CIDR notation, got: '10.1.2.6'",
        "ipam.addresses[1]",
    ),
    "no address": (
        Stated([{"gateway": "10.1.2.1"}]),
        "the 'address' field is expected to be in CIDR notation, got: ''",
        "ipam.addresses[0]",
    ),
    "a gateway that is none": (
        Stated([{"address": "10.1.2.5/24", "gateway": "10.1.2.1/24"}]),
        "invalid IP address: 10.1.2.1/24",
        "ipam.addresses[0].gateway",
    ),
    "IP without a prefix": (
        Stated([FIRST], "IP=10.1.2.6/24, 10.1.2.7"),
        "the 'ip' field is expected to be in CIDR notation, got: '10.1.2.7'",
        "IP=10.1.2.6/24, 10.1.2.7",
    ),
    "GATEWAY that is none": (Stated([FIRST], "GATEWAY= x"), "invalid gateway address:  x", "GATEWAY= x"),
    "CNI_ARGS are read though they are replaced": (
        Stated(None, "GATEWAY=x", **ips("10.1.4.8/24")),
        "invalid gateway address: x",
        "GATEWAY=x",
    ),
    "args without a prefix": (
        Stated([FIRST], **argued("10.1.2.7/24", "10.1.2.8")),
        "an entry in the 'ips' field is NOT in CIDR notation, got: '10.1.2.8'",
        "args.cni.ips[1]",
    ),
    "args are read though they are replaced": (
        Stated([FIRST], **argued("x"), **ips("10.1.4.8/24")),
        "an entry in the 'ips' field is NOT in CIDR notation, got: 'x'",
        "args.cni.ips[0]",
    ),
    "the capability without a prefix": (
        Stated([FIRST], **ips("10.1.2.7")),
        "an entry in the 'ips' field is NOT in CIDR notation, got: '10.1.2.7'",
        "runtimeConfig.ips[0]",
    ),
    "an unknown argument": (Stated([FIRST], "A=b"), "unknown args", "A=b"),
    "two of a family in an old version": (
        Stated([FIRST, {"address": "10.1.3.5/24"}], cniVersion="0.2.0"),
        "CNI version 0.2.0 does not support more than 1 address per family",
        "0.3.0",
    ),
    "no ipam": (Stated(None, **ips("10.1.4.8/24"), ipam=None), "IPAM config missing 'ipam' key", "ipam"),
}
