"""A pretended node, its pods, and a host outside, each a network namespace of its own.

The machine's own namespace sees nothing of it: bridges, veths, rules and plugins live in the node's namespace. What
was made is taken away by ``close``, also when the test failed.

    outside 192.0.2.2 --- uplink 192.0.2.1 node (br0 …) --- pods
            2001:db8:ff::2        2001:db8:ff::1
"""

import copy
import itertools
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from .deadline import eventually
from .machine import make_netns, remove_netns
from .namespace import Netns, global_addresses
from .plugin import SUBJECT, Object, Outcome, call, environment

_numbers = itertools.count(1)


def _new_name(role: str) -> str:
    return f"pycni-{os.getpid()}-{next(_numbers)}-{role}"


def _forget(container: str) -> None:
    """Remove the notes of devices that a pod had: another node's device of the same name is not that one."""
    for at in Path("/run/cni/pycni/moved").glob(f"{container}_*"):
        at.unlink()


class NamedNetns(Netns):
    """A network namespace that we made, under a name of our own (``ip netns``)."""

    def __init__(self, role: str) -> None:
        self.name = _new_name(role)
        super().__init__(f"/var/run/netns/{self.name}")
        make_netns(self.path)

    def close(self) -> None:
        """Remove the namespace and, with it, its links."""
        if os.path.exists(self.path):
            remove_netns(self.path)


class Pod(NamedNetns):
    """A pod: a network namespace and the id of the container that it belongs to."""

    def __init__(self, container: str) -> None:
        super().__init__("pod")
        self.container = container


class Node(NamedNetns):
    """A node with an uplink to a host outside, on which plugins are run."""

    ADDRESS, ADDRESS6 = "192.0.2.1", "2001:db8:ff::1"
    OUTSIDE, OUTSIDE6 = "192.0.2.2", "2001:db8:ff::2"

    def __init__(self, data_dir: Path) -> None:
        super().__init__("node")
        self.data_dir = data_dir
        self._members = ExitStack()
        self._devices = itertools.count(1)
        try:
            self.outside = NamedNetns("outside")
            self._members.callback(self.outside.close)
            self.ip(
                "link set lo up",
                f"link add uplink type veth peer name uplink netns {self.outside.name}",
                f"addr add {self.ADDRESS}/24 dev uplink",
                f"addr add {self.ADDRESS6}/64 dev uplink nodad",
                "link set uplink up",
            )
            self.outside.ip(
                "link set lo up",
                f"addr add {self.OUTSIDE}/24 dev uplink",
                f"addr add {self.OUTSIDE6}/64 dev uplink nodad",
                "link set uplink up",
            )
            # The kernel switches the first end's queue on in its own time: until then its packets are dropped, an ARP
            # reply for instance, which is asked for again after a second.
            assert eventually(lambda: self.link("uplink")["operstate"] == "UP", interval=0.001)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove everything: pods, the host outside, the node."""
        self._members.callback(super().close)
        self._members.close()

    def with_it(self, close: Callable[[], Any]) -> None:
        """Call this when the node is removed, before its pods are."""
        self._members.callback(close)

    def device(self) -> str:
        """A new device that is up and can be moved into a pod; its other end, of the same name, is outside."""
        name = f"dev{next(self._devices)}"
        self.ip(f"link add {name} type veth peer name {name} netns {self.outside.name}", f"link set {name} up")
        self.outside.ip(f"link set {name} up")
        return name

    def pod(self, container: str = "") -> Pod:
        """A new pod's empty namespace."""
        # locks and notes in /run are the machine's: an id that no other run of the tests has
        pod = Pod(container or f"ctr{os.getpid()}-{next(_numbers)}")
        self._members.callback(_forget, pod.container)
        self._members.callback(pod.close)
        return pod

    def cni(
        self,
        plugin: str,
        verb: str,
        conf: Object | str,
        *,
        container: str = "",
        netns: str = "",
        ifname: str = "eth0",
        args: str = "",
        env: dict[str, str] | None = None,
        binaries: str = SUBJECT,
    ) -> Outcome:
        """One call of a plugin on this node. ``env`` adds variables or replaces them."""
        variables = environment(verb, binaries, CNI_IFNAME=ifname)
        for name, value in (("CNI_CONTAINERID", container), ("CNI_NETNS", netns), ("CNI_ARGS", args)):
            if value:
                variables[name] = value
        return call(self, plugin, conf, variables | (env or {}), binaries)

    def attach(self, conf: Object, pod: Pod | None = None, *, binaries: str = SUBJECT, **more: str) -> "Attachment":
        """Attach a pod (a new one if none is given) to a network; the ADD has to succeed."""
        attachment = Attachment(self, conf, pod or self.pod(), **more)
        attachment.add(binaries=binaries).result  # noqa: B018  asserts success
        return attachment

    def leases(self, network: str = "net1") -> dict[str, list[str]]:
        """host-local's leases of a network by address; the lines of each: container id and interface name."""
        found = {}
        for at in sorted((self.data_dir / network).glob("*")):
            if not at.name.startswith(("lock", "last_reserved_ip")):
                with suppress(FileNotFoundError):  # removed meanwhile
                    found[at.name] = at.read_bytes().decode().split("\r\n")
        return found

    def snapshot(self) -> Object:
        """Everything that plugins make on a node, without what changes by itself: equal snapshots, nothing left."""
        links = {link["ifname"]: link for link in self.addressed_links()}
        nft, iptables = self.rules()
        return {
            "links": {
                name: (link.get("linkinfo", {}).get("info_kind"), link.get("master"), link.get("ifalias"))
                for name, link in links.items()
            },
            "addresses": {
                name: found for name, link in links.items() if (found := global_addresses(link["addr_info"]))
            },
            "routes": self.route_lines(),
            "nft": nft,
            "iptables": iptables,
            "leases": {at.name: self.leases(at.name) for at in self.data_dir.glob("*")},
        }


class Attachment:
    """One container's membership in one network, as a runtime would keep it: what ADD got, CHECK and DEL get too."""

    def __init__(self, node: Node, conf: Object, pod: Pod, *, ifname: str = "eth0", args: str = "") -> None:
        self.node, self.conf, self.pod, self.ifname, self.args = node, conf, pod, ifname, args
        self.result: Object = {}

    def call(self, verb: str, conf: Object, *, netns: str | None = None, binaries: str = SUBJECT) -> Outcome:
        """One verb for this attachment, with any configuration and any namespace path (``""``: none)."""
        return self.node.cni(
            conf["type"],
            verb,
            conf,
            container=self.pod.container,
            netns=self.pod.path if netns is None else netns,
            ifname=self.ifname,
            args=self.args,
            binaries=binaries,
        )

    def add(self, *, binaries: str = SUBJECT) -> Outcome:
        """ADD; the result is kept for CHECK and DEL."""
        outcome = self.call("ADD", self.conf, binaries=binaries)
        self.result = copy.deepcopy(outcome.document or {}) if outcome.ok else {}
        return outcome

    def check(self, *, binaries: str = SUBJECT) -> Outcome:
        """CHECK with the result of ADD."""
        return self.call("CHECK", {**self.conf, "prevResult": self.result}, binaries=binaries)

    def delete(
        self, *, netns: str | None = None, prev_result: bool = True, binaries: str = SUBJECT, **edits: Any
    ) -> Outcome:
        """DEL, with the result of ADD unless told otherwise, and with ``edits`` made to the configuration."""
        conf = {**self.conf, **edits}
        if prev_result and self.result:
            conf["prevResult"] = self.result
        return self.call("DEL", conf, netns=netns, binaries=binaries)

    @property
    def addresses(self) -> list[str]:
        """The addresses that ADD gave, without their prefix lengths, in its order."""
        return [str(ip["address"]).split("/")[0] for ip in self.result["ips"]]

    @property
    def address(self) -> str:
        """The first address that ADD gave."""
        return self.addresses[0]

    @property
    def host(self) -> str:
        """The name of the veth end on the node."""
        return str(self.result["interfaces"][1]["name"])

    @property
    def mac(self) -> str:
        """The MAC of the pod's interface, as the kernel has it."""
        return str(self.pod.link(self.ifname)["address"])
