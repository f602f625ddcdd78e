"""Pods on bridges with firewall behind them, in a node whose forwarded packets are filtered."""

import copy
import io
import json
from typing import Any

from cni import plan, skel
from cni_firewall.settings import read
from cni_firewall.wanted import left, wanted

from .chain import Chain
from .configuration import bridge, conflist, host_local
from .plugin import DIST, Object, Outcome
from .published import bridged_packets_are_filtered
from .topology import Node

# by bridge
SUBNETS = {f"br{number}": (f"10.1.{number}.0/24", f"2001:db8:{number + 1}::/64") for number in range(4)}


def network(node: Node, link: str = "br0", **keys: object) -> Object:
    """A network of bridge and firewall, whose addresses the outside knows the way to."""
    for name in ("all", "default"):
        node.sysctl(f"ipv6/conf/{name}/accept_dad", "0")
    for subnet, gateway in zip(SUBNETS[link], (node.ADDRESS, node.ADDRESS6), strict=True):
        node.outside.run("ip", "route", "replace", subnet, "via", gateway)
    below = bridge(host_local(node.data_dir, *SUBNETS[link]), version=None, bridge=link, isDefaultGateway=True)
    del below["name"]
    return conflist(below, {"type": "firewall", **keys}, name=f"net-{link}")


class Filtered(Chain):
    """A pod of such a network; ``env`` is what its firewall gets beside its own."""

    env: dict[str, str] | None = None

    def firewall(self, verb: str, binaries: str = "", **keys: Any) -> Outcome:
        """A verb of firewall, with the result unless told otherwise."""
        given = {"prevResult": self.result} | keys
        return self.call(1, verb, env=self.env, binaries=binaries or self.binaries, **given)

    def plan(self) -> "plan.Plan[Any]":
        """The plan of its firewall, to be walked inside the node's namespace."""
        call = self._called("CHECK")
        return wanted(call, read(call))

    def left(self) -> "list[plan.Kind]":
        """What DEL of its firewall removes, there."""
        return left(self._called("DEL"))

    def _called(self, verb: str) -> skel.Call:
        environ = {"CNI_COMMAND": verb, "CNI_CONTAINERID": self.pod.container, "CNI_IFNAME": self.ifname}
        environ |= {"CNI_NETNS": self.pod.path, "CNI_PATH": DIST}
        document = json.dumps(self.configuration(1, prevResult=self.result))
        return skel.Call(environ, document.encode(), io.StringIO())

    def remove_all(self, binaries: str = "", **keys: Any) -> None:
        """DEL of firewall, then of bridge; both have to succeed."""
        for outcome in (self.firewall("DEL", binaries, **keys), self.call(0, "DEL", binaries=DIST)):
            assert outcome.ok, outcome.stdout


def attached(
    node: Node, link: str = "br0", *, binaries: str = DIST, env: dict[str, str] | None = None, **keys: object
) -> Filtered:
    """A pod that is attached; ``keys`` are firewall's, ``binaries`` is the folder of firewall."""
    pod = Filtered(node, network(node, link, **keys), binaries=binaries)
    pod.env = env
    pod.result = pod.call(0, "ADD", binaries=DIST).result
    outcome = pod.firewall("ADD")
    pod.result, pod.said = copy.deepcopy(outcome.result), outcome.stderr
    return pod


def address(pod: Filtered, version: int) -> str:
    """The pod's address of a family."""
    found = [str(ip["address"]).split("/")[0] for ip in pod.result["ips"]]
    return next(each for each in found if (":" in each) == (version == 6))


def forwarding_is_dropped(node: Node, *programs: str) -> None:
    """The policy of FORWARD is DROP, in both families."""
    for program in programs or ("iptables", "ip6tables"):
        node.run(program, "-P", "FORWARD", "DROP")


__all__ = ["SUBNETS", "address", "attached", "bridged_packets_are_filtered", "forwarding_is_dropped", "network"]
