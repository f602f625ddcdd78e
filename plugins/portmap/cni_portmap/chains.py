"""Go's iptables chains for host ports: what they are called and what stands in them (pure).

::

    -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT                   (and OUTPUT)
    -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"n\\" id: \\"c\\"" -m multiport --dports 8080 -j CNI-DN-…
    -A CNI-DN-… -s 10.1.2.0/24 -p tcp --dport 8080 -j CNI-HOSTPORT-SETMARK
    -A CNI-DN-… -s 127.0.0.1 -p tcp --dport 8080 -j CNI-HOSTPORT-SETMARK
    -A CNI-DN-… -p tcp --dport 8080 -j DNAT --to-destination 10.1.2.5:80
    -I POSTROUTING 1 … -j CNI-HOSTPORT-MASQ

Names and rules are Go's to the letter, so that either finds what the other made. The interface is no part of a chain's
name: two of one container on one network share it, and are told apart by the addresses that their rules lead to.
"""

from cni.kernel.rulespec import quoted
from cni.names import raw_sha512

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.attachment import Attachment
    from cni_portmap.settings import Mapping, Settings, Target

OWN, DNAT, SETMARK, MASQ = "CNI-DN-", "CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ"
# Of versions before 0.7: taken away, never made.
OLD_SNAT = "CNI-HOSTPORT-SNAT"
BASE = ("PREROUTING", "OUTPUT", "POSTROUTING")
_PORTS_A_RULE = 15
_COMMENT_MAX = 255
_ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


def chain_name(network: str, container: str) -> str:
    """28 characters: the prefix and 21 hexadecimal digits of network and container id, nothing between them."""
    return OWN + raw_sha512(f"{network}{container}".encode()).hex()[: 28 - len(OWN)]


def old_name(chain: str) -> str:
    """The chain that versions before 0.7 made beside a container's own."""
    return chain.replace(OWN, "CNI-SN-", 1)


def comment(attachment: "Attachment") -> str:
    """What the entry rules of a container bear: of a long one what the kernel keeps of Go's, which is a byte more."""
    text = f'{_of_network(attachment.network)}{attachment.container}"'
    return text if len(text) <= _COMMENT_MAX else f"{text[: _COMMENT_MAX - 2]}.."


def _of_network(network: str) -> str:
    return f'dnat name: "{network}" id: "'


def is_cut(text: str, network: str) -> bool:
    """Whether this is the comment of a container of the network whose id is too long to be told."""
    return len(text) == _COMMENT_MAX and text.startswith(_of_network(network)) and text.endswith("..")


def owner_of(text: str) -> "tuple[str, str] | None":
    """Network and container that such a comment tells, None for another or one that was cut."""
    parts = text.split('"')
    if len(parts) == 5 and parts[0] == "dnat name: " and parts[2] == " id: " and not parts[4]:
        return parts[1], parts[3]
    return None


def _rule(chain: str, *words: str) -> str:
    return f"-A {chain} {' '.join(quoted(word) for word in words)}"


def marking(said: "Settings") -> "list[str]":
    """The rules of the shared chains that mark and masquerade; none where another chain, or nothing, does."""
    if not said.snat or said.set_mark_chain is not None:
        return []
    mark = f"{1 << said.mark_bit:#x}/{1 << said.mark_bit:#x}"
    text = "CNI portfwd masquerade mark"
    return [
        _rule(SETMARK, "-m", "comment", "--comment", text, "-j", "MARK", "--set-xmark", mark),
        _rule(MASQ, "-m", "mark", "--mark", mark, "-j", "MASQUERADE"),
    ]


def entrances() -> "list[str]":
    """The jumps to the entry rules."""
    return [_rule(chain, "-m", "addrtype", "--dst-type", "LOCAL", "-j", DNAT) for chain in ("PREROUTING", "OUTPUT")]


def masquerading() -> str:
    """The jump that has to stand before those of bridge and ptp."""
    text = "CNI portfwd requiring masquerade"
    return _rule("POSTROUTING", "-m", "comment", "--comment", text, "-j", MASQ)


def entries(attachment: "Attachment", said: "Settings", version: int) -> "list[str]":
    """The entry rules of one container: per protocol in the order of their names, 15 ports each.

    Go lists the ports of the other family too, and its CHECK wants them there; the container's own chain has none.
    """
    found = []
    chain, conditions = chain_name(attachment.network, attachment.container), said.conditions[version]
    for protocol in sorted({mapping.protocol for mapping in said.mappings}):
        ports = [str(mapping.host_port) for mapping in said.mappings if mapping.protocol == protocol]
        for place in range(0, len(ports), _PORTS_A_RULE):
            listed = ",".join(ports[place : place + _PORTS_A_RULE])
            words = ["-m", "comment", "--comment", comment(attachment), "-m", "multiport", "-p", protocol]
            found.append(_rule(DNAT, *words, "--destination-ports", listed, *conditions, "-j", chain))
    return found


def translations(attachment: "Attachment", target: "Target", said: "Settings") -> "list[str]":
    """The rules of a container's own chain: per mapping the marks, then the translation."""
    found = []
    chain = chain_name(attachment.network, attachment.container)
    for mapping in _specific_first(target.mappings):
        match = ["-p", mapping.protocol, "--dport", str(mapping.host_port)]
        if mapping.host is not None:
            match += ["-d", str(mapping.host)]
        if said.snat:
            found += [_rule(chain, *match, *words) for words in _marks(target, said)]
        found.append(_rule(chain, *match, "-j", "DNAT", "--to-destination", _destination(target, mapping)))
    return found


def _specific_first(mappings: "list[Mapping]") -> "list[Mapping]":
    """Of a port's mappings that for all addresses comes last, or it would take the others'; else as they are, as in Go."""
    place: dict[tuple[str, int], int] = {}
    for number, mapping in enumerate(mappings):
        place.setdefault((mapping.protocol, mapping.host_port), number)
    return sorted(mappings, key=lambda each: (place[each.protocol, each.host_port], each.host is None))


def _marks(target: "Target", said: "Settings") -> "list[list[str]]":
    jump = ["-j", said.set_mark_chain or SETMARK]
    if said.masq_all:
        return [["-s", _ANYWHERE[target.version], *jump]]
    subnet = [["-s", str(target.prefix), *jump]]
    return subnet + ([["-s", "127.0.0.1", *jump]] if target.version == 4 else [])


def _destination(target: "Target", mapping: "Mapping") -> str:
    address = target.prefix.address
    return f"[{address}]:{mapping.port}" if target.version == 6 else f"{address}:{mapping.port}"
