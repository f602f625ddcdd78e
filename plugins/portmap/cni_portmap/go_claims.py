"""Host ports that containers hold in Go's layouts, in iptables' chains or in its tables ``cni_hostport``.

They come first in the packet's path: a container of ours that asks for such a port waits behind them, and answers when
they go. Leftovers of a dead one would take its packets for ever, so they are removed. CHECK finds what a container has
there. Nothing is listed unless one of Go's chains or tables exists: as long as pods of Go's plugins, or of our iptables
backend, run.
"""

from cni.errors import CheckFailed
from cni.go import names
from cni.kernel.nftables import Nftables
from cni_portmap.go_ports import forget_flows
from cni_portmap.holder import go_death, refusal, taken_over, waits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.attachment import Attachment
    from cni.go.hostports import Claim
    from cni.site import Site
    from cni_portmap.owned import Entry

_VERSIONS = (4, 6)


def held(site: "Site", entries: "list[Entry]", refuse: bool) -> "list[Entry]":
    """The entries whose port another container holds there that is not known to be dead; with ``refuse`` raises ``Refused``.

    What dead ones have of these ports is removed.
    """
    if not names.may_have_ports(site.nftables):
        return []
    found: list[Entry] = []
    lines: dict[str, None] = {}
    dead: dict[tuple[str, str, str], tuple[Claim, Entry, str]] = {}
    for version in _VERSIONS:
        mine = [entry for entry in entries if entry.version == version]
        for claim in _claims(site.nftables, version, mine):
            for entry in mine:
                if claim.is_of(site.attachment) or not _overlap(claim, entry):
                    continue
                why = go_death(site.rtnl, claim.owner, claim.address, site.attachment, entry.address)
                if why:
                    dead[claim.where, claim.place, str(claim.address)] = claim, entry, why
                elif refuse and not claim.is_of_container(site.attachment.container):
                    raise refusal(entry, claim.name, site.attachment)
                elif entry not in found:
                    found.append(entry)
                    lines[waits(entry, claim.name, site.attachment, 1)] = None
    for claim, entry, why in dead.values():
        claim.remove(site.nftables, forget_flows(site))
        lines[taken_over(entry, claim.name, site.attachment, why)] = None
    for line in lines:
        site.say(line)
    return found


def _overlap(claim: "Claim", entry: "Entry") -> bool:
    """Whether both are for the same port, of some address of the node at least."""
    return claim.is_for(entry.protocol, entry.host_port) and (entry.everywhere or claim.serves(entry.host))


def compare(kernel: Nftables, attachment: "Attachment", entries: "list[Entry]") -> bool:
    """Whether the container has its ports there: False where it has nothing, ``CheckFailed`` where a part is missing."""
    if not names.may_have_ports(kernel):
        return False
    from cni.go.hostports import is_entered

    families = {version: [entry for entry in entries if entry.version == version] for version in _VERSIONS}
    claims = {
        version: [claim for claim in _claims(kernel, version, mine) if claim.is_of(attachment)]
        for version, mine in families.items()
    }
    if not any(claims.values()):
        return False
    for entry in entries:
        mine = [claim for claim in claims[entry.version] if claim.is_for(entry.protocol, entry.host_port)]
        first = next((claim for claim in mine if claim.serves(entry.host)), None)
        if first is None or not is_entered(kernel, entry.version, first.where):
            raise CheckFailed(f"{entry} of {attachment} is missing", "in the rules that Go's portmap made")
        if (first.address, first.port) != (entry.address, entry.port):
            raise CheckFailed(f"{entry} of {attachment} leads elsewhere", "in the rules that Go's portmap made")
    return True


def _claims(kernel: Nftables, version: int, mine: "list[Entry]") -> "list[Claim]":
    """The containers that have one of these ports of one family, in the order in which packets meet them."""
    from cni.go import hostports

    return list(hostports.claims(kernel, version, {entry.host_port for entry in mine})) if mine else []
