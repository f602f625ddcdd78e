"""A container on a network of several plugins, driven as libcni drives them."""

import copy
from collections.abc import Mapping
from typing import Any

from .plugin import SUBJECT, Object, Outcome
from .topology import Node, Pod


class Chain:
    """One container's membership in a network that is a list of plugins.

    ADD and CHECK go through the list, each plugin gets what the one before it answered; DEL goes back, each gets what
    the last one answered. A plugin gets those capabilities' values that it declares. ``binaries`` is one folder, or one
    a plugin's type.
    """

    def __init__(
        self,
        node: Node,
        conflist: Object,
        pod: Pod | None = None,
        *,
        ifname: str = "eth0",
        binaries: str | Mapping[str, str] = SUBJECT,
        **capabilities: Any,
    ) -> None:
        self.node, self.conflist, self.ifname, self.binaries = node, conflist, ifname, binaries
        self.pod = pod or node.pod()
        self.capabilities = capabilities
        self.result: Object = {}
        self.said = ""

    def configuration(self, place: int, **keys: Any) -> Object:
        """What the plugin at ``place`` gets on standard input, with ``keys`` on top; a key of None is left out."""
        plugin = self.conflist["plugins"][place]
        conf = {**plugin, "name": self.conflist["name"], "cniVersion": self.conflist["cniVersion"]}
        declared = [name for name, wanted in conf.pop("capabilities", {}).items() if wanted]
        values = {name: self.capabilities[name] for name in declared if name in self.capabilities}
        if values:
            conf["runtimeConfig"] = values
        conf |= keys
        return {key: value for key, value in conf.items() if value is not None}

    def place(self, kind: str) -> int:
        """Where a plugin stands in the list."""
        return [plugin["type"] for plugin in self.conflist["plugins"]].index(kind)

    def call(
        self,
        place: int,
        verb: str,
        *,
        netns: str | None = None,
        env: dict[str, str] | None = None,
        binaries: str | Mapping[str, str] = "",
        **keys: Any,
    ) -> Outcome:
        """One verb of one plugin."""
        conf = self.configuration(place, **keys)
        kind, folders = conf["type"], binaries or self.binaries
        return self.node.cni(
            kind,
            verb,
            conf,
            container=self.pod.container,
            netns=self.pod.path if netns is None else netns,
            ifname=self.ifname,
            env=env,
            binaries=folders if isinstance(folders, str) else folders.get(kind, SUBJECT),
        )

    @property
    def portmap_folder(self) -> str:
        """The folder of the portmap that is called."""
        return self.binaries if isinstance(self.binaries, str) else self.binaries.get("portmap", SUBJECT)

    def portmap(self, verb: str, *, prev_result: bool = True, **more: Any) -> Outcome:
        """One verb of the list's portmap, with the chain's result unless told otherwise."""
        previous = self.result if prev_result and self.result else None
        return self.call(self.place("portmap"), verb, **({"prevResult": previous} | more))

    def try_add(self, *, binaries: str | Mapping[str, str] = "") -> Outcome:
        """ADD of each plugin up to the first that fails: the last answer. The result is that of the last that succeeded."""
        self.result, self.said = {}, ""
        for place in range(len(self.conflist["plugins"])):
            outcome = self.call(place, "ADD", prevResult=self.result or None, binaries=binaries)
            self.said += outcome.stderr
            if not outcome.ok:
                return outcome
            self.result = copy.deepcopy(outcome.result)
        return outcome

    def add(self, *, binaries: str | Mapping[str, str] = "") -> "Chain":
        """ADD of each plugin; all have to succeed."""
        self.try_add(binaries=binaries).result  # noqa: B018  asserts success
        return self

    def check(self, *, binaries: str | Mapping[str, str] = "") -> list[Outcome]:
        """CHECK of each plugin, all of them with the result of ADD."""
        places = range(len(self.conflist["plugins"]))
        return [self.call(place, "CHECK", prevResult=self.result, binaries=binaries) for place in places]

    def delete(
        self,
        *,
        netns: str | None = None,
        prev_result: bool = True,
        binaries: str | Mapping[str, str] = "",
        **keys: Any,
    ) -> list[Outcome]:
        """DEL of each plugin in reverse, the result of ADD with it unless told otherwise; all are called."""
        previous = self.result if prev_result and self.result else None
        places = reversed(range(len(self.conflist["plugins"])))
        keys = {"prevResult": previous} | keys
        return [self.call(place, "DEL", netns=netns, binaries=binaries, **keys) for place in places]

    def remove(self, **more: Any) -> None:
        """DEL of each plugin; all have to succeed."""
        for outcome in self.delete(**more):
            assert outcome.ok, f"DEL failed: {outcome.stdout}{outcome.stderr}"

    @property
    def addresses(self) -> list[str]:
        """The container's addresses without their prefix lengths."""
        return [str(ip["address"]).split("/")[0] for ip in self.result["ips"]]

    @property
    def address(self) -> str:
        """The container's first address."""
        return self.addresses[0]

    @property
    def host(self) -> str:
        """The name of the veth end on the node."""
        return str(self.result["interfaces"][1]["name"])
