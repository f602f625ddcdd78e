"""The rules of a pod in each backend: made, compared, removed. The modules of each are imported when it is used."""

from cni.attachment import COMMENT_MAX, shortened
from cni.filtering.choice import complaints, firewalld_runs, without_firewalld
from cni.filtering.pod import UNKNOWN
from cni.go import names
from cni.kernel.backend import BRIDGE, FORWARDING
from cni.plan import all_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cni.address import Address
    from cni.filtering.nftables import Wanted
    from cni.filtering.pod import Pod
    from cni.go.firewall import Line, Others
    from cni.kernel.nftables import Nftables
    from cni.site import Site


class Rules:
    """The rules of a pod in iptables or nftables: all of them, or beside firewalld those of the ingress policy."""

    def __init__(self, site: "Site", pod: "Pod", owner: str, backend: str = "") -> None:
        """``owner`` is the attachment as text; ``backend`` is by default the pod's."""
        self.kernel = site.nftables
        self.pod = pod
        self.owner = owner
        self._admin = "" if (backend or pod.backend) == "firewalld" else pod.admin

    @property
    def lines(self) -> "dict[int, list[Line]]":
        """The rules in iptables."""
        from cni.go.firewall import of_pod

        return of_pod(self.pod.addresses, self._admin, self.pod.bridge, self.pod.policy)

    @property
    def wanted(self) -> "Wanted":
        """The elements in nftables."""
        from cni.filtering.nftables import Wanted

        isolated = self.pod.ports if self.pod.policy == "isolated" or self.pod.bridge == UNKNOWN else None
        return Wanted(shortened(self.owner, COMMENT_MAX), self.pod.addresses, self.pod.bridge, isolated)

    def make(self, backend: str, new: bool) -> bool:
        """Make them; returns whether the table of nftables was made. ``new``: none exist. Raises ``CNIError``."""
        if backend == "iptables":
            from cni.go import firewall

            firewall.make(self.kernel, self.lines, self._admin, new)
        else:
            from cni.filtering import nftables

            return nftables.make(self.kernel, self.wanted, self.pod.admin)
        return False

    def faults(self, backend: str) -> "Iterator[str]":
        """What is missing."""
        if backend == "iptables":
            from cni.go import firewall

            return firewall.faults(self.kernel, self.lines)
        from cni.filtering import nftables

        return nftables.faults(self.kernel, self.wanted, self.pod.admin)

    def remove(self, others: "Others") -> None:
        """Remove them from both."""
        more: list[Line] = []
        if has_own_table(self.kernel):
            from cni.filtering import nftables

            more = [nftables.ACCEPTING] if nftables.remove(self.kernel, self.wanted, others) else []
        if has_go_chains(self.kernel):
            from cni.go import firewall

            firewall.remove(self.kernel, self.pod.addresses, others, more)


def make(site: "Site", pod: "Pod", new: bool) -> None:
    """Make the rules; ``new``: the attachment has none. Raises ``CNIError``."""
    rules, backend = Rules(site, pod, str(site.attachment)), pod.backend
    if backend == "firewalld":
        from cni.filtering import firewalld

        firewalld.add(pod.addresses, pod.zone)
        backend = without_firewalld() if pod.bridge else ""
    if backend and rules.make(backend, new):
        for complaint in complaints(pod.backend):
            site.say(f"firewall: {complaint}")


def faults(site: "Site", pod: "Pod", backend: str) -> "list[str]":
    """What a backend lacks of the rules."""
    rules = Rules(site, pod, str(site.attachment), backend)
    if backend != "firewalld":
        return [*rules.faults(backend)]
    from cni.filtering import firewalld

    beside = [[*rules.faults(each)] for each in ("iptables", "nftables")] if pod.bridge else [[]]
    return [*firewalld.faults(pod.addresses, pod.zone), *min(beside, key=len)]


def has_go_chains(kernel: "Nftables") -> bool:
    """Whether iptables has chains of Go's plugin."""
    return names.may_exist(kernel, names.FIREWALL, names.STAGES[0], table="filter")


def has_own_table(kernel: "Nftables") -> bool:
    """Whether nftables has a table of ours."""
    return any(kernel.has_table(family, FORWARDING.table) for family in (FORWARDING.family, BRIDGE))


def remove(site: "Site", pod: "Pod", owner: str, others: "Others") -> None:
    """Remove the rules wherever they are; for a pod without a backend, which Go's plugin may have made, everywhere."""

    def of_firewalld() -> None:
        from cni.filtering import firewalld

        firewalld.remove(pod.addresses, pod.zone)

    steps: list[Callable[[], None]] = [lambda: Rules(site, pod, owner).remove(others)]
    if pod.addresses and pod.backend in ("", "firewalld"):
        steps.append(of_firewalld)
    all_of(steps)


def may_have_made(site: "Site") -> bool:
    """Whether Go's plugin, or ours whose note is lost, may have made something on the node."""
    return has_go_chains(site.nftables) or has_own_table(site.nftables) or firewalld_runs()


def owned(site: "Site") -> "list[Address]":
    """The addresses that the attachment has in our table; reads the table."""
    if not has_own_table(site.nftables):
        return []
    from cni.filtering import nftables

    return nftables.owned(site.nftables, site.attachment.comment)


def masqueraded_by_go(site: "Site") -> "list[Address]":
    """The addresses that Go's bridge or ptp masquerades for the attachment."""
    chain = names.masquerade_chain(site.attachment)
    if not names.may_exist(site.nftables, chain):
        return []
    from cni.go import masquerade

    return masquerade.addresses(site.nftables, chain)


def described(pod: "Pod", site: "Site") -> str:
    """The rules in iptables' words."""
    lines = Rules(site, pod, "").lines.values()
    return "\n".join(str(line) for each in lines for line in each)
