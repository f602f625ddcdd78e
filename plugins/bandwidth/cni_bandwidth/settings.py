"""bandwidth's configuration: its keys, and the token buckets that they mean (pure)."""

from cni.address import Prefix
from cni.errors import InvalidConfig, NotAvailable
from cni.settings import Section, integer, key, listing, member, part, string, within
from cni.wire import fold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.links.limit import Limit
    from cni.skel import Call

# Runtimes send these bursts if they know only a rate: CRI-O and older kubelets, and containerd.
NOT_KNOWN = ((1 << 31) - 1, (1 << 32) - 1)
# Go's plugin takes no more bytes, and lets packets wait so long, in milliseconds.
_MOST_BYTES, _GO_LATENCY = (1 << 32) - 1, 25
# An Ethernet header with a VLAN's tag; the kernel's largest packet; the packets that TCP sends at once (RFC 6928).
_HEADER, _LARGEST, _FRAMES = 18, 1 << 16, 10
_RATES = ("ingressRate", "ingressBurst", "egressRate", "egressBurst")


def _positive(name: str) -> "Any":
    return within(0, (1 << 63) - 1, f"{name} is %d, and must not be negative")


class Limits(Section):
    """The keys of the capability ``bandwidth``, which may also be at the top of the configuration."""

    # fmt: off
    ingress_rate: int = key(
        "ingressRate", integer, 0, "bits per second to the container; 0: no limit", _positive("ingressRate"))
    ingress_burst: int = key(
        "ingressBurst", integer, 0, "bits at once to the container", _positive("ingressBurst"))
    egress_rate: int = key(
        "egressRate", integer, 0, "bits per second from the container; 0: no limit", _positive("egressRate"))
    egress_burst: int = key(
        "egressBurst", integer, 0, "bits at once from the container", _positive("egressBurst"))
    shaped: list[str] = key(
        "shapedSubnets", listing(string), list, "only packets from and to these subnets are limited")
    unshaped: list[str] = key(
        "unshapedSubnets", listing(string), list, "packets from and to these subnets are not limited")
    # fmt: on


class Settings(Limits):
    """The keys of the configuration, checked."""

    # fmt: off
    burst_time: int = key(
        "burstTime", integer, 25, "milliseconds at the rate, as the burst if the runtime knows none;"
        " 0: every burst is taken as it is given", within(0, 100_000, "burstTime is %d, and must be from 0 to 100000"))
    latency: int = key(
        "latency", integer, 25, "milliseconds that a packet waits at most; 0: as Go's plugin, 25 and those of the"
        " burst", within(0, 100_000, "latency is %d, and must be from 0 to 100000"))
    # fmt: on

    limits: Limits
    subnets: list[Prefix]

    def __init__(self, document: "Any") -> None:
        """Raises ``DecodingFailure`` and ``InvalidConfig`` with Go's texts, ingress before egress."""
        super().__init__(document)
        given = Limits(part(part(document, "runtimeConfig", member), "bandwidth", member), "runtimeConfig.bandwidth")
        # in Go, a rate or a burst at the top hides the capability, whatever its value is
        hidden = not {fold(name) for name in _RATES}.isdisjoint(map(fold, document))
        self.limits, where = (self, "") if hidden else (given, "runtimeConfig.bandwidth.")
        for way in ("ingress", "egress"):
            _check(way, *self._of(way), where)
        if not self.limits.shaped and not self.limits.unshaped:
            self.limits.shaped, self.limits.unshaped = self.shaped, self.unshaped
        shaped, unshaped = self.limits.shaped, self.limits.unshaped
        if shaped and unshaped:
            fault = "unshapedSubnets and shapedSubnets cannot be both specified, one of them should be discarded"
            raise InvalidConfig(fault, "keep one of the two keys")
        self.subnets = [_subnet(text) for text in shaped or unshaped]

    def _of(self, way: str) -> tuple[int, int]:
        return getattr(self.limits, f"{way}_rate"), getattr(self.limits, f"{way}_burst")

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return bool(self.limits.ingress_rate or self.limits.egress_rate)

    def limit(self, way: str, mtu: int) -> "Limit | None":
        """The limit of "ingress" or "egress" on a link with this MTU; None if there is none."""
        from cni.kernel.tc import MAX, Tbf
        from cni.links.limit import Limit

        rate, burst = (bits // 8 for bits in self._of(way))
        if not rate:
            return None
        most = rate * _GO_LATENCY // 1000 + burst
        wanted, as_go = Tbf(rate, *self._sizes(way, rate, burst, mtu)), Tbf(rate, burst, most & MAX)
        # Go's numbers of 32 bits wrap round on some processors
        wrapped = Tbf(rate, 0, as_go.limit)
        wrapped.buffer = (burst * 1_000_000 // rate & MAX) * 1000 // 64 & MAX
        if self.subnets:
            from cni.kernel.htb import Htb

            return Limit(Htb(wanted, self.subnets, bool(self.limits.unshaped), way == "ingress"))
        return Limit(wanted, (as_go, wrapped))

    def _sizes(self, way: str, rate: int, burst: int, mtu: int) -> tuple[int, int]:
        """The bytes at once, and the bytes that wait."""
        frame = mtu + _HEADER
        if self.burst_time and self._of(way)[1] in NOT_KNOWN:
            burst = max(rate * self.burst_time // 1000, _FRAMES * frame)
        elif self.burst_time:
            # the bucket holds a frame, also after its time was rounded down
            burst = max(burst, frame + rate // 900_000 + 2)
        if not self.latency:
            return burst, rate * _GO_LATENCY // 1000 + burst
        # a packet that is larger than the bucket is cut; a class of htb cuts none
        largest = _LARGEST + frame if self.subnets else min(burst, _LARGEST + frame)
        return burst, max(rate * self.latency // 1000, largest)


def _check(way: str, rate: int, burst: int, where: str) -> None:
    if rate and not burst:
        remedy = f"add {where}{way}Burst, such as {max(rate // 40, 160_000)}"
        raise InvalidConfig("if rate is set, burst must also be set", remedy)
    if burst and not rate:
        raise InvalidConfig("if burst is set, rate must also be set", f"add {where}{way}Rate, or drop {way}Burst")
    if burst // 8 >= _MOST_BYTES:
        raise InvalidConfig("burst cannot be more than 4GB", f"{where}{way}Burst is {burst} bits")
    if 0 < rate < 8:
        raise InvalidConfig(f"{way}Rate is {rate} bits per second, and must be at least 8", f"change {where}{way}Rate")


def _subnet(text: str) -> Prefix:
    try:
        return Prefix.parse(text)
    except ValueError as error:
        fault = f'bad subnet "{text}" provided, details {error}'
        raise InvalidConfig(fault, "shapedSubnets and unshapedSubnets have networks such as 10.0.0.0/8") from None


def read(call: "Call") -> Settings:
    """Raises ``DecodingFailure`` and ``InvalidConfig``, before anything is changed."""
    return Settings(call.config)


def ready(call: "Call", settings: Settings) -> None:
    """STATUS: the kernel has what the limits need. Raises ``NotAvailable``, which names the missing option."""
    from cni.kernel.tc import OPTIONS, lacks

    rtnl = call.site.rtnl
    missing = [
        OPTIONS[kind] for kind in ("htb" if settings.subnets else "tbf", "ingress", "mirred") if lacks(rtnl, kind)
    ]
    if not rtnl.makes("ifb"):
        missing.append("CONFIG_IFB")
    if missing:
        raise NotAvailable("the kernel of this node cannot limit rates", f"it lacks {', '.join(missing)}")
