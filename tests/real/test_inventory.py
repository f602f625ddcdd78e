"""The inventory of a node with pods of ours and of Go's: each thing with its owner, and nothing when they are gone."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from node.configuration import port
from node.plugin import DIST, GO, subject_is_old_go
from node.published import publish
from node.topology import Node

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not Path(GO, "portmap").is_file(), reason="containernetworking-plugins is not installed"),
    pytest.mark.skipif(subject_is_old_go(), reason="these are about pods of ours beside Go's"),
    pytest.mark.skipif(not Path(DIST, "cni-handback").is_file(), reason="dist/cni-handback is not built"),
]

GOS, OURS = {"bridge": GO, "portmap": GO}, {"bridge": DIST, "portmap": DIST}
BELOW = {"ipMasq": True, "macspoofchk": True}
Object = dict[str, Any]


def listed(node: Node) -> list[Object]:
    """The inventory without files in /run, which is the machine's, and has those of other nodes too."""
    found: list[Object] = json.loads(node.run(f"{DIST}/cni-handback", "--list", str(node.data_dir)))
    return [thing for thing in found if not thing["kind"].startswith(("note of ", "saved values"))]


def of(things: list[Object], container: str) -> dict[str, Object]:
    """What a pod has, by kind, with the facts of several together; all of it names the whole owner."""
    mine = [thing for thing in things if thing["owner"].get("container") == container]
    for thing in mine:
        assert thing["owner"] == {"network": "net1", "container": container, "ifname": "eth0"}
    found: dict[str, Object] = {}
    for thing in mine:
        facts = found.setdefault(thing["kind"], {"identities": []})
        facts["identities"].append(thing["identity"])
        for name, fact in thing["facts"].items():
            facts.setdefault(name, []).extend(fact if isinstance(fact, list) else [fact])
    return found


def test_each_thing_has_its_owner(node: Node) -> None:
    """Link, leases, masquerade, host ports and MAC spoof check of a pod of ours and of one of Go's; nothing after DEL."""
    assert listed(node) == []
    ours = publish(node, port(8080), port(8081, 81, "udp"), binaries=OURS, below=BELOW)
    gos = publish(node, port(9000, ip=node.ADDRESS), binaries=GOS, below=BELOW)
    things = listed(node)
    mine, theirs = of(things, ours.pod.container), of(things, gos.pod.container)
    assert sum(len(facts["identities"]) for pod in (mine, theirs) for facts in pod.values()) == len(things)

    addresses = [str(address) for address in ours.addresses]
    assert set(mine) == {"veth pair", "lease", "masquerade", "MAC spoof check", "host ports", "share in route_localnet"}
    assert mine["veth pair"]["identities"] == [ours.host]
    assert sorted(mine["lease"]["address"]) == sorted(addresses)
    assert mine["lease"]["file"] == mine["lease"]["identities"]
    assert all(Path(file).is_file() for file in mine["lease"]["file"])
    assert all(0 <= int(age) < 600 for age in mine["lease"]["age"])
    assert sorted(each.partition("/")[0] for each in mine["masquerade"]["addresses"]) == sorted(addresses)
    assert mine["MAC spoof check"]["mac"] == [ours.result["interfaces"][2]["mac"]]
    to = [f"[{address}]" if ":" in address else address for address in addresses]
    ports = [(f"tcp 8080 to {address}:80", f"udp 8081 to {address}:81") for address in to]
    assert sorted(mine["host ports"]["ports"]) == sorted(each for pair in ports for each in pair)
    assert mine["share in route_localnet"]["link"] == ["br0"]

    assert set(theirs) == {
        "veth pair of Go's plugins",
        "lease",
        "masquerade in Go's form",
        "host ports in Go's form",
        "MAC spoof check in Go's form",
    }
    assert (
        theirs["veth pair of Go's plugins"]["identities"]
        == theirs["MAC spoof check in Go's form"]["link"]
        == [gos.host]
    )
    assert sorted(theirs["masquerade in Go's form"]["addresses"]) == sorted(map(str, gos.addresses))
    assert theirs["host ports in Go's form"]["ports"] == [f"tcp {node.ADDRESS} 9000 to {gos.address}:80"]

    ours.remove(binaries=OURS)
    gos.remove(binaries=GOS)
    assert listed(node) == []


@pytest.mark.parametrize("cut", [False, True])
def test_the_tables_of_newer_versions(node: Node, cut: bool) -> None:
    """Masquerading names its owner, or has a hash of it if the comment was cut; host ports have the container's id."""
    pod = publish(node, binaries=GOS)
    (container, address, *_) = pod.pod.container, *map(str, pod.addresses)
    hashes = [hashlib.sha512(text.encode()).hexdigest()[:16] for text in ("net1", f"eth0:{container}")]
    comment = "-".join(hashes) + (", net: net1, if: e" if cut else f", net: net1, if: eth0, id: {container}")
    node.run(
        "nft", "-f", "-",
        stdin=f"""
        table inet cni_plugins_masquerade {{
            chain masq_checks {{ ip saddr {address} ip daddr != 10.1.0.0/24 masquerade comment "{comment}"; }}
            chain postrouting {{ type nat hook postrouting priority srcnat; goto masq_checks; }}
        }}
        table ip cni_hostport {{
            chain hostports {{ tcp dport 9000 dnat to {address}:80 comment "{container}"; }}
            chain hostip_hostports {{ ip daddr 192.0.2.1 udp dport 9001 dnat to {address}:81 comment "{container}"; }}
            chain prerouting {{ type nat hook prerouting priority -100; jump hostip_hostports; jump hostports; }}
        }}
        """,
    )  # fmt: skip
    found = of(listed(node), container)
    masquerade, ports = found["masquerade in Go's form"], found["host ports in Go's form"]
    assert (masquerade["identities"], masquerade["addresses"]) == (["-".join(hashes)], [address])
    assert ports["identities"] == [container]
    assert ports["ports"] == [f"udp 192.0.2.1 9001 to {address}:81", f"tcp 9000 to {address}:80"]


def test_a_port_in_line_is_shown_as_such(node: Node) -> None:
    """The pod that answers and the one that waits behind it."""
    first, second = (publish(node, port(8080, ip="0.0.0.0"), binaries=OURS) for _ in range(2))
    things = listed(node)
    assert of(things, first.pod.container)["host ports"]["ports"] == [f"tcp 8080 to {first.address}:80"]
    assert of(things, second.pod.container)["host ports"]["ports"] == [f"tcp 8080 to {second.address}:80, in line"]


def test_ours_in_iptables_is_found_in_gos_form(node: Node) -> None:
    """What our plugins write there is the same."""
    pod = publish(node, port(8080), binaries=OURS, below=BELOW | {"ipMasqBackend": "iptables"}, backend="iptables")
    assert {"masquerade in Go's form", "host ports in Go's form", "veth pair"} <= set(
        of(listed(node), pod.pod.container)
    )
    pod.remove(binaries=OURS)
    assert listed(node) == []
