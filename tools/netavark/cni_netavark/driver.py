"""setup, teardown and GC of attachments, on libcni."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from cni_netavark.conflist import Conflist
from cni_netavark.documents import Attached, Network, status
from cni_netavark.execution import Beside
from cni_netavark.names import SEARCH, Names, NamesFailed, Record, listening
from cni_netavark.parameters import arguments, parameters, publishes, unmet, with_addresses
from cni_netavark.places import Places
from cni_netavark.refusal import Refused
from cni_netavark.rootless import is_rootless
from libcni import (
    DNS,
    CNIConfig,
    ConfigError,
    GCAttachment,
    LibcniError,
    NetworkAttachment,
    NetworkConfigList,
    Options,
    Result,
    RuntimeConf,
    SeveralErrors,
    StepFailed,
    load_network_conf,
    network_conf_from_bytes,
    network_conf_from_file,
)

# Seconds that one call may take, and that undoing a failed setup may take more. One plugin's DEL gets a part of TIME.
TIME, UNDO_TIME, SHARE = 90.0, 20.0, 1 / 3


@dataclass(frozen=True, slots=True)
class Driver:
    """The driver for the networks of one set of places. ``say`` prints a line for people."""

    places: Places
    say: Callable[[str], object]

    @classmethod
    def of(cls, network: Network, say: Callable[[str], object]) -> "Driver":
        """The driver for a network: its options may name other folders."""
        return cls(Places.of(network.options), say)

    def cni(self, network: Network | None = None) -> CNIConfig:
        """The container-networking interface. A failed ADD is undone, and DEL uses the configuration of ADD.

        podman calls teardown once, so a DEL goes on after an error, and what a killed setup has made is on record.
        """
        time = _seconds(network)
        options = Options(
            undo_failed_add=True,
            undo_timeout=UNDO_TIME,
            tolerate_damaged_cache=True,
            delete_with_cached_config=True,
            delete_continues=True,
            record_before_add=True,
            timeout=time,
            lock_folder=self.places.locks,
            report=self.say,
        )
        return CNIConfig(list(self.places.plugins), self.places.cache, Beside(time * SHARE), options)

    def conflist(self, network: Network) -> Conflist:
        """The list of a network, as it is now. Raises ``ConfigError``."""
        name = network.options.get("conflist") or network.name
        if "/" in name:
            return Conflist(network_conf_from_file(os.path.abspath(name)))
        return Conflist(load_network_conf(list(self.places.lists), name, skipped=self._skipped))

    def _skipped(self, error: ConfigError) -> None:
        self.say(f"skipped: {error}")

    def create(self, network: Network) -> dict[str, Any]:
        """Check the list and the options, and return the document that podman stores."""
        from cni_netavark.create import created

        conflist, rootless = self.conflist(network), is_rootless()
        document = created(network, conflist, rootless)
        cni = self.cni(network)
        cni.validate_network_list(conflist.net)
        if not rootless:  # podman of a user calls create in the node's network namespace, where a user can do nothing
            cni.get_status_network_list(conflist.net)
        return document

    def setup(self, attached: Attached, netns: str) -> dict[str, Any]:
        """Attach the container. What was made is taken back if this fails."""
        conflist, cni = self.conflist(attached.network), self.cni(attached.network)
        cached = cni.get_cached_attachments(attached.container_id)
        publish = publishes(attached, conflist, publishing(cached, attached.interface))
        runtime = parameters(attached, conflist, netns, publish)
        self._forget_older(cni, cached, runtime)
        result = cni.add_network_list(with_addresses(attached, conflist), runtime)
        fault = unmet(attached, result)
        if fault:
            raise self._taken_back(cni, conflist, runtime, fault)
        dns = _dns(attached.network, result.dns)
        try:
            return status(result, attached.interface, self._named(attached, result, dns))
        except (NamesFailed, OSError) as error:
            raise self._taken_back(cni, conflist, runtime, str(error)) from None

    def _taken_back(self, cni: CNIConfig, conflist: Conflist, runtime: RuntimeConf, fault: str) -> Refused:
        """Detach again. Returns the error for podman, which has what could not be undone as a note."""
        refused = Refused(fault)
        try:
            cni.del_network_list(conflist.net, runtime, timeout=UNDO_TIME)
        except (LibcniError, OSError) as error:
            refused.add_note(f"undoing this failed: {error}")
        return refused

    def _forget_older(self, cni: CNIConfig, cached: Iterable[NetworkAttachment], runtime: RuntimeConf) -> None:
        """Detach what an earlier namespace of the container had here.

        After a power cut podman starts its containers again without a teardown, and some plugins refuse a second ADD.
        """
        for found in cached:
            own = found.if_name == runtime.if_name and found.config and found.netns != runtime.netns
            if not own or os.path.exists(found.netns):
                continue
            self.say(f"{found.container_id} was in {found.network} before, and its namespace is gone")
            try:
                cni.del_network_list(_cached(found), replace(found.runtime_conf(), netns=""))
            except (LibcniError, OSError) as error:
                self.say(str(error))

    def _named(self, attached: Attached, result: Result, dns: DNS) -> DNS:
        """Give the container its names, if aardvark-dns is there and a gateway is this node's. Returns its DNS."""
        names = None if attached.network.options.get("dns") == "false" else Names.here(self.places.names, self.say)
        gateways = listening(str(ip.gateway) for ip in result.ips if ip.gateway) if names else []
        if names is None or not gateways:
            return dns
        own = tuple(dict.fromkeys([attached.container_name, *attached.wish.aliases]))
        addresses = tuple(str(ip.address).partition("/")[0] for ip in result.ips)
        names.add(attached.network.name, gateways, dns.nameservers, Record(attached.container_id, addresses, own))
        return DNS(gateways, dns.domain, [SEARCH, *dns.search], dns.options)

    def teardown(self, attached: Attached, netns: str) -> None:
        """Detach the container, with the configuration that attached it. It may be detached already."""
        cni = self.cni(attached.network)
        self._unname(attached)
        runtime = RuntimeConf(
            attached.container_id, netns if os.path.exists(netns) else "", attached.interface, arguments(attached)
        )
        net = self._added(cni, attached)
        if net is None:
            self.say(
                f"nothing is known of {attached.container_id} {attached.interface}, and its list is gone: nothing to do"
            )
            return
        cni.del_network_list(net, runtime)

    def _unname(self, attached: Attached) -> None:
        """Remove the container's names. An error is no reason to keep its network."""
        names = Names.here(self.places.names, self.say)
        try:
            if names:
                names.remove(attached.network.name, attached.container_id)
        except OSError as error:
            self.say(f"the names of {attached.container_name} cannot be removed: {error}")

    def _added(self, cni: CNIConfig, attached: Attached) -> NetworkConfigList | None:
        """The list for DEL: that of now, or the recorded one if that of now is gone or has another name. None: no list.

        With that of now, libcni takes the recorded configuration, if there is one.
        """
        try:
            now = self.conflist(attached.network).net
        except ConfigError as error:
            self.say(f"{error}")
            now = None
        records = [
            found
            for found in cni.get_cached_attachments(attached.container_id)
            if found.if_name == attached.interface and found.config
        ]
        for found in records:
            if now is not None and found.network == now.name:
                return now
        for found in records:  # the list is gone, or has another name now
            return _cached(found)
        return now

    def lists(self, networks: Iterable[Network]) -> list[NetworkConfigList]:
        """The lists of podman's networks, as they are now. One that cannot be read is reported."""
        found = []
        for network in networks:
            try:
                found.append(Driver.of(network, self.say).conflist(network).net)
            except ConfigError as error:
                self.say(f"network {network.name}: {error}")
        return found

    def collect(
        self,
        lists: Iterable[NetworkConfigList],
        living: Callable[[], Iterable[str]],
        others: Callable[[], Iterable[NetworkAttachment]],
    ) -> list[str]:
        """GC: remove the attachments of containers that podman does not have. Returns the names of the networks.

        ``lists`` are those of podman's networks; those of attachments in the cache are added. ``living`` returns the ids
        of podman's containers, and ``others`` attachments of other runtimes, which are kept too. Both are called for
        each network while it is locked, so a container that starts meanwhile is not removed. Plugins are looked for in
        the folders of ``places``.
        """
        cni, kept = self.cni(), set[str]()

        def valid(network: str) -> list[GCAttachment]:
            kept.update(living())
            cached = cni.get_cached_attachments()
            ours = [found for found in cached if found.container_id in kept]
            return [
                *(found.gc_attachment() for found in [*ours, *others()] if found.network == network),
                # a living container whose record is lost keeps its network too
                *(GCAttachment(container, name) for container in sorted(kept) for name in _interfaces(cached)),
            ]

        nets = {found.network: _cached(found) for found in cni.get_cached_attachments() if found.config}
        nets |= {net.name: net for net in lists}
        cni.gc_network_lists(nets.values(), {name: partial(valid, name) for name in nets})
        names = Names.here(self.places.names, self.say)
        if names and nets:
            names.keep(lambda network, container: container in kept)
        return sorted(nets)


def publishing(cached: Iterable[NetworkAttachment], interface: str) -> list[str]:
    """The container's other interfaces that publish its ports."""
    return [
        found.if_name for found in cached if found.capability_args.get("portMappings") and found.if_name != interface
    ]


def _interfaces(cached: Iterable[NetworkAttachment]) -> list[str]:
    """The names that interfaces of podman's containers have."""
    return sorted({*(f"eth{number}" for number in range(8)), *(found.if_name for found in cached)})


def _cached(found: NetworkAttachment) -> NetworkConfigList:
    """The list that made an attachment. Raises ``ConfigError``."""
    return replace(network_conf_from_bytes(found.config), name=found.network)


def _dns(network: Network, given: DNS) -> DNS:
    """The DNS of a container: the servers of the network (``--dns``), or else those of the list."""
    own = network.document.get("network_dns_servers") or []
    return DNS([str(server) for server in own] or given.nameservers, given.domain, given.search, given.options)


def _seconds(network: Network | None) -> float:
    text = network.options.get("timeout", "") if network else ""
    try:
        seconds = float(text or TIME)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86400:
        raise Refused(f"option timeout is {text!r}, it must be a number of seconds")
    return seconds


def explained(error: Exception, network: Network | None = None) -> str:
    """An error as one sentence for podman: the network, the plugin, its reason, and what could not be undone."""
    text = "; ".join(" ".join(str(part).split("\n")) for part in [_reason(error), *getattr(error, "__notes__", [])])
    return f"network {network.name}: {text}" if network is not None else text


def _reason(error: BaseException) -> str:
    if isinstance(error, SeveralErrors):
        return "; ".join(map(_reason, error.errors))
    if isinstance(error, StepFailed):
        kind = error.plugin.removeprefix('type="').partition('"')[0]
        return (
            f"plugin {kind} failed ({'DEL' if error.deed == 'delete' else error.deed.upper()}): {_reason(error.error)}"
        )
    return str(error)
