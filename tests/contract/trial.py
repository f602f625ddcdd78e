"""A pod on a subject's network: what comes before the plugin in the list is there, and its verbs are called one by one."""

import copy
import json
import os
from pathlib import Path
from typing import Any

from contract.subject import Network, Subject, with_device
from node.chain import Chain
from node.configuration import conflist
from node.dying import die_at, die_in_a_fork
from node.namespace import global_addresses
from node.plugin import DIST, SUBJECT, Object, Outcome
from node.served import plugin, serve
from node.topology import Node, Pod

# Folders below /run/cni whose files belong to attachments; host-local's indexes and the locks stay.
NOTES = ("pycni/chain", "pycni/chain-whole", "pycni/dhcp", "pycni/firewall", "pycni/localnet", "pycni/moved", "tuning")
# What tests look at in a link of the pod: flags, addresses, MAC, MTU. Here `lo` in a new pod.
FLAGS = ("UP", "PROMISC", "ALLMULTI")
LO: Object = {"lo": [[], [], "00:00:00:00:00:00", 65536]}

# Effects that macvlan's plan has too, which is tried on every kernel.
USUAL = {"InterfaceUp", "Addresses", "ConfiguredInterface", "Announced", "Labelled"}
# Whether the processors are emulated: a step of a plan takes seconds there.
IN_GUEST = os.uname().nodename == "guest"

# Of the network. Notes in /run are the machine's, and GC of a network removes those of every run.
NAME = f"net{os.getpid()}"


class Trial(Chain):
    """One pod's attachment by one plugin. ``before`` is the state of node and pod without it."""

    def __init__(
        self,
        node: Node,
        subject: Subject,
        network: Network,
        *,
        pod: Pod | None = None,
        name: str = NAME,
        version: str = "1.0.0",
        snapshot: Object | None = None,
    ) -> None:
        """``snapshot`` is the node's, where it is known: it saves looking at it."""
        network.around(node)
        plugins = copy.deepcopy(network.plugins)
        # of this pod alone; empty where the network names none
        self.device = node.device() if '"DEVICE"' in json.dumps(plugins) else ""
        plugins = with_device(plugins, self.device)
        super().__init__(node, conflist(*plugins, name=name, version=version), pod, **network.values)
        self.subject, self.network, self.routes = subject, network, subject.routes
        self.at = self.place(subject.type)
        self.below: Object = {}
        for place in range(self.at):
            self.below = self.call(place, "ADD", prevResult=self.below or None, binaries=DIST).result
        if self.at or self.device or snapshot is None:
            self.before = self.state()
        else:
            self.before = {**snapshot, "pod": LO, "notes": []}

    def state(self) -> Object:
        """What there is on the node and in the pod."""
        pod: Object = {}
        if os.path.exists(self.pod.path):
            for link in self.pod.addressed_links():
                # whether `lo` is up changes its addresses too
                flags = [flag for flag in FLAGS if flag in link["flags"]]
                addresses = sorted(global_addresses(link["addr_info"]))
                pod[link["ifname"]] = [flags, addresses, link.get("address"), link["mtu"]]
        found = {**snapshot(self.node), "pod": pod, "notes": notes(self.pod.container)}
        if self.routes and pod:
            found["routing"] = [*self.pod.route_lines(), *self.pod.rule_lines()]
        return found

    def keys(self, verb: str, **keys: Any) -> Object:
        """The configuration of a call: for ADD with the result of those before, for the others with that of ADD."""
        previous = self.below if verb == "ADD" else self.result
        own = self.conflist["plugins"][self.at].get("prevResult")
        given: Object = {"prevResult": previous or own}
        if verb in ("GC", "STATUS"):
            given = {"cniVersion": "1.1.0"}
        return self.configuration(self.at, **{**given, **keys})

    def file(self, verb: str, *, netns: str | None = None, binaries: str = "", env: Any = None, **keys: Any) -> Outcome:
        """A verb by the plugin's file."""
        conf = self.keys(verb, **keys)
        outcome = self.node.cni(
            self.subject.type, verb, conf, container=self.pod.container, netns=self.pod.path if netns is None else netns,
            env=env, binaries=binaries or SUBJECT,
        )  # fmt: skip
        return self._noted(verb, outcome)

    def serve(self, verb: str, *, netns: str | None = None, watch: Any = None, env: Any = None, **keys: Any) -> Outcome:
        """A verb in this process, which takes a fraction of the time and can be watched; delegates are files."""
        if self.subject.has_members and watch is None:
            return self.file(verb, netns=netns, env=env, binaries=DIST, **keys)
        return self._noted(verb, self._served(verb, netns, watch, env, **keys))

    def _served(self, verb: str, netns: str | None, watch: Any, env: Any, **keys: Any) -> Outcome:
        with self.node.inside():
            return serve(
                plugin(self.subject.type), verb, self.keys(verb, **keys), env, watch, container=self.pod.container,
                netns=self.pod.path if netns is None else netns, path=DIST,
            )  # fmt: skip

    def die(self, verb: str, step: int, moments: tuple[str, ...]) -> tuple[bool, str]:
        """A verb that is killed the ``step``-th time that its observer is told of a moment: whether it was, and where."""
        if self.subject.has_members:
            variables = {"CNI_COMMAND": verb, "CNI_CONTAINERID": self.pod.container, "CNI_NETNS": self.pod.path}
            return die_at(self.node, self.keys(verb, prevResult=self.below or None), step, moments, **variables)
        keys = {"prevResult": self.below or None}
        return die_in_a_fork(lambda death: self._served(verb, None, death, None, **keys), step, moments)

    def left(self) -> Object:
        """What is otherwise than before: empty when nothing is left.

        `lo`, and the interface of a subject ``in_container``, are left out: without the namespace nobody can find them.
        """
        now, before = self.state(), self.before
        inside = set(now["pod"]) if self.subject.in_container else {"lo"}
        now["pod"] = {name: link for name, link in now["pod"].items() if name not in inside}
        now.pop("routing", None)
        before = {**before, "pod": {name: link for name, link in before["pod"].items() if name not in inside}}
        return differences(before, now)

    def _noted(self, verb: str, outcome: Outcome) -> Outcome:
        if verb == "ADD" and outcome.ok:
            self.result = copy.deepcopy(outcome.result)
        return outcome

    def collect(self, *valid: "Trial", watch: Any = None) -> Outcome:
        """GC with these pods' attachments as the valid ones."""
        listed = [{"containerID": each.pod.container, "ifname": each.ifname} for each in valid]
        keys: Object = {"cni.dev/valid-attachments": listed}
        return self.serve("GC", watch=watch, **keys)

    def finish(self) -> None:
        """DEL of those before the plugin, whether the pod is there or not; a device of the pod's own goes too."""
        for place in reversed(range(self.at)):
            netns = self.pod.path if os.path.exists(self.pod.path) else ""
            outcome = self.call(place, "DEL", netns=netns, binaries=DIST)
            assert outcome.ok, outcome.stdout
        if self.device in self.node.links():
            self.node.ip(f"link del {self.device}")


def snapshot(node: Node) -> Object:
    """The node's, without the folders of a store that have no lease."""
    found = node.snapshot()
    return {**found, "leases": {name: held for name, held in found["leases"].items() if held}}


def notes(container: str) -> list[str]:
    """The files below /run that belong to a container."""
    found, owner = [], f"/{container}/".encode()
    for folder in NOTES:
        for at, _, names in os.walk(f"/run/cni/{folder}"):
            for name in names:
                try:
                    if name.startswith(f"{container}_") or owner in Path(at, name).read_bytes():
                        found.append(f"{os.path.basename(folder)}/{name}")
                except OSError:  # another test's, and gone by now
                    continue
    return sorted(found)


def differences(before: Object, after: Object) -> Object:
    """The parts of two states that are not the same, as pairs."""
    return {name: (before[name], after[name]) for name in before if name in after and before[name] != after[name]}


def kinds(before: Object, after: Object) -> set[str]:
    """What kinds of things there are in one state and not in the other."""
    found = {"link"} if set(after["links"]) - set(before["links"]) else set()
    found |= {"lease"} if after["leases"] != before["leases"] and any(after["leases"].values()) else set()
    found |= {"iptables"} if set(after["iptables"]) - set(before["iptables"]) else set()
    known = {json.dumps(item) for item in before["nft"]}
    for item in after["nft"]:
        ((kind, body),) = item.items()
        if json.dumps(item) not in known:
            found.add(f"nftables {body['name'] if kind == 'table' else body['table']}")
    for name, link in after["pod"].items():
        if before["pod"].get(name) != link:
            found.add("lo" if name == "lo" else "interface")
    if before.get("routing") != after.get("routing"):
        found.add("routing")
    return found | {f"note {each.split('/')[0]}" for each in set(after["notes"]) - set(before["notes"])}


class Settled:
    """A node on which a first pod came and went: what stands for the node is there. ``deeds`` are those of its ADD."""

    def __init__(self, node: Node, subject: Subject, network: str) -> None:
        self.node, self.subject = node, subject
        self.network = subject.networks(node.data_dir)[network]
        self.deeds: list[str] = []

        def watch(deed: str, effect: Any, moment: str) -> None:
            if (deed, moment) == ("make", "after"):
                self.deeds.append(type(effect).__name__)

        first = Trial(node, subject, self.network)
        first.serve("ADD", watch=watch).result  # noqa: B018  asserts success
        assert first.serve("DEL").ok
        first.finish()
        self.snapshot = snapshot(node)

    @property
    def tried(self) -> list[int]:
        """The effects of ADD at which tests let it fail or die: all; in the guest those that only this plugin's plan has."""
        return [place for place, deed in enumerate(self.deeds) if not (IN_GUEST and deed in USUAL)]

    def trial(self, **more: Any) -> Trial:
        """Another pod."""
        return Trial(self.node, self.subject, self.network, snapshot=self.snapshot, **more)
