"""A Subject says what the contract tests must know of one plugin.

Each folder in plugins/ has a module in ``subjects/`` with a ``SUBJECT``, and a test fails where it is missing. A short
one is enough:

    class Dummy(Subject):
        type = "dummy"
        kind = "dummy"                                    # skip where the kernel cannot make such a link
        keys = {"mtu": 1400, "ipam": IPAM}                # every key that the plugin reads, with a value

        def networks(self, store: Path) -> dict[str, Network]:
            entry = {"type": "dummy", "ipam": host_local(store, "10.1.0.0/24")}
            return {"plain": Network(entry, leaves={"interface", "lease"}, go=True, back=True)}

    SUBJECT = Dummy()

From it follow the tests of the frame, bad input, DEL, deaths, errors at each effect, GC, the swap with Go's plugin, the
fork server, the chain, the single file, and what each verb imports. The first of ``networks`` is the usual one: the
single file serves it, and its imports are listed in tests/build/imports.
"""

import copy
import importlib
import subprocess
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from node.plugin import GO, PLUGINS, Object
from node.topology import Node

# prevResult and ipam as a configuration for bad input holds them; POD stands for the container's namespace.
RESULT: Object = {
    "cniVersion": "1.1.0",
    "interfaces": [{"name": "br0", "mac": "02:00:00:00:00:09"}, {"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": "POD"}],
    "ips": [{"interface": 1, "address": "10.1.2.5/24", "gateway": "10.1.2.1"}, {"interface": 1, "address": "fd00::5/64"}],
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.2.1", "mtu": 1400, "table": 0, "scope": 0}],
    "dns": {"nameservers": ["10.1.2.1"], "domain": "a", "search": ["b"], "options": ["c"]},
}  # fmt: skip
IPAM: Object = {
    "type": "host-local",
    "ranges": [[{"subnet": "10.1.2.0/24", "rangeStart": "10.1.2.5", "rangeEnd": "10.1.2.99", "gateway": "10.1.2.1"}]],
    "subnet": "fd00::/64",
    "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.2.1", "mtu": 1400, "advmss": 1300, "priority": 1, "table": 254, "scope": 0}],
    "resolvConf": "",
    "dataDir": "leases",
}  # fmt: skip


class Network:
    """A network that works on a pretended node, and what an attachment leaves there until DEL.

    ``plugins``: the list as a conflist has it; one entry is enough for a plugin that needs none before it. The text DEVICE
    stands for a device of the node that each pod has for itself.
    ``leaves``: the kinds of things, as ``trial.kinds`` names them.
    ``values``: of the capabilities (``portMappings`` and so on).
    ``go``: Go's plugin understands it, so ours checks and removes what Go's made.
    ``back``: Go's DEL removes all that ours made, without cni-handback.
    ``doubted``: but Go's CHECK fails, for ours as for its own, or because it expects numbers of its own.
    ``around``: makes what the network needs on a node, such as a server; it is called for each pod.
    ``apart``: an IPAM plugin behind another plugin, whose result it does not pass on: no list of a chain.
    ``variant``: leaves what another network of the subject leaves too; tests that take long pass it over.
    """

    def __init__(
        self,
        *plugins: Object,
        leaves: Iterable[str],
        values: Object | None = None,
        around: Callable[[Node], None] = lambda node: None,
        **kinds: bool,
    ) -> None:
        self.plugins, self.leaves, self.values = list(plugins), set(leaves), values or {}
        self.around = around
        names = ("go", "back", "doubted", "apart", "variant")
        self.go, self.back, self.doubted, self.apart, self.variant = (kinds.pop(name, False) for name in names)
        assert not kinds, kinds


class Subject:
    """One plugin. What is a class attribute here is the usual case; a plugin's subject says what is otherwise."""

    type: ClassVar[str]
    # Every key that the plugin reads, with a value that it takes.
    keys: ClassVar[Object] = {}
    # What stands beside these: keys that exclude each other, or that need another kernel.
    more: ClassVar[list[Object]] = []
    # Keys without which no IPAM plugin is asked. Bad input has none in reach.
    delegated: ClassVar[tuple[str, ...]] = ("ipam",)
    # Keys below which it is another plugin that reads.
    passed_on: ClassVar[tuple[str, ...]] = ()
    # What makes ``keys`` a configuration that works; a key of None is left out.
    working: ClassVar[Object] = {}
    # What ADD says where its daemon does not run, as in tests of bad input; empty for a plugin without a daemon.
    daemon: ClassVar[str] = ""
    # The interface for which bad input is refused without anything made before, so that many can be tried.
    refused_ifname: ClassVar[str] = "eth0"
    # What ADD says of the node and not of the configuration: STATUS need not say the same.
    of_the_node: ClassVar[tuple[str, ...]] = ()
    # The kind of link that the kernel must be able to make, as `ip link add type` names it.
    kind: ClassVar[str] = ""
    # CNI_PATH for the file alone: of most plugins nothing is needed there.
    path: ClassVar[str] = "/nowhere"
    # Whether its file serves other plugins in one process, which a test's own process cannot.
    has_members: ClassVar[bool] = False
    # Whether the interface is in the container alone: only there can DEL find it, and GC leaves it to the container's end.
    in_container: ClassVar[bool] = False
    # Whether ADD needs the interface of an earlier plugin in the container.
    on_an_interface: ClassVar[bool] = False
    # Whether it changes the container's routes and routing rules.
    routes: ClassVar[bool] = False
    # Whether its effects can be made again where a flush took them; a chain has only members, which cannot.
    repairs: ClassVar[bool] = True

    def networks(self, store: Path) -> dict[str, Network]:
        """Networks by a name for the test, the usual one first; leases are in ``store``."""
        raise NotImplementedError

    def usual(self, store: Path) -> Network:
        """The first network."""
        return next(iter(self.networks(store).values()))

    def alone(self, store: Path) -> Network:
        """A network that the file serves by itself, with CNI_PATH as ``path``."""
        return self.usual(store)

    def budget(self, store: Path) -> Network:
        """The network whose imports are listed: a frequent one of IPv4. Two of them fit on one node."""
        return self.usual(store)

    def configuration(self, netns: str) -> Object:
        """A configuration with every key, which bad input damages."""
        found = {
            "cniVersion": "1.1.0",
            "name": "net1",
            "type": self.type,
            "prevResult": _in(RESULT, netns),
            "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}],
            **self.keys,
        }
        return copy.deepcopy(found)

    @property
    def go(self) -> str:
        """Go's plugin of this type; empty where it is not installed."""
        return GO if Path(GO, self.type).is_file() else ""

    def __repr__(self) -> str:
        return self.type


def _in(value: Any, name: str, place: str = "POD") -> Any:
    """A copy with ``name`` at each place."""
    if isinstance(value, dict):
        return {key: _in(item, name, place) for key, item in value.items()}
    if isinstance(value, list):
        return [_in(item, name, place) for item in value]
    return name if value == place else value


def with_device(value: Any, name: str) -> Any:
    """A copy in which DEVICE is the name of a device of the node."""
    return _in(value, name, "DEVICE")


def previous(netns: str) -> Object:
    """A prevResult of the newest version."""
    found: Object = _in(RESULT, netns)
    return found


def names() -> list[str]:
    """The plugins that have a Subject."""
    folder = Path(__file__).parent / "subjects"
    return sorted(at.stem.replace("_", "-") for at in folder.glob("*.py") if at.stem != "__init__")


def of(type: str) -> Subject:
    """The Subject of a plugin."""
    found: Subject = importlib.import_module(f"contract.subjects.{type.replace('-', '_')}").SUBJECT
    return found


SUBJECTS = [of(type) for type in names() if type in PLUGINS]


@cache
def lacking(kind: str) -> bool:
    """Whether the kernel cannot make such a link."""
    if not kind:
        return False
    command = ["unshare", "--net", "ip", "link", "add", "probe", "type", kind]
    return b"Unknown device type" in subprocess.run(command, capture_output=True).stderr
