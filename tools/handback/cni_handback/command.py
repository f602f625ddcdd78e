"""``cni-handback``: write the rules of running pods in the layout of Go's plugins, and remove our tables.

Run it in the node's network namespace, then install Go's plugins: their DEL finds everything. Host ports and
masquerading go to iptables' chains, and so do the rules of firewall; the MAC spoof check goes to Go's chains in ``bridge
nat``. Our tables are removed only after everything is written. A second run changes nothing.
"""

import json
import os
import sys

from cni import macspoof, masquerade
from cni.attachment import Attachment
from cni.errors import CNIError, KernelError
from cni.go import macspoof as go_macspoof
from cni.go.make_masquerade import add
from cni.inventory import walk
from cni.kernel.nftables import Nftables
from cni.kernel.transaction import BRIDGE
from cni.site import Site
from cni.undecided import Undecided, unmark_legacy
from cni_handback import filtering
from cni_handback.kinds import kinds
from cni_handback.pods import Pod, pods
from cni_host_local import DATA_DIR
from cni_portmap import guard, layout
from cni_portmap.iptables_rules import HostPorts
from cni_portmap.localnet import Shares

USAGE = """usage: cni-handback --dry-run | --write | --list [FOLDER]

Writes the rules of running pods in the layout of the Go plugins (iptables), and removes pycni's nftables tables. Run it
in the node's network namespace, as root, while no pod is started or stopped. Then install the Go plugins. --dry-run
only shows the rules. --list prints as JSON what pycni's and Go's plugins have on the node, with host-local's leases in
FOLDER (/var/lib/cni/networks), and changes nothing. One of the three is required, because some runtimes run every file
in the plugins' folder without arguments to find its version."""


def _write(kernel: Nftables, pod: Pod, every: list[Pod]) -> None:
    owner = pod.attachment
    assert owner is not None  # noqa: S101
    if pod.published.entries:
        # rules for the container's other interfaces stay; no rule is taken for a dead owner's, because ours has the port
        kept: set[bytes] = set()
        for other in every:
            beside = other.attachment
            if other is not pod and beside and (beside.network, beside.container) == (owner.network, owner.container):
                kept |= {address.packed for address in other.published.addresses.values()}
        HostPorts(
            owner, pod.published, pod.settings(), lambda found: not kept.isdisjoint(found), lambda *of: False
        ).make()
    if pod.masqueraded:
        add(kernel, owner, pod.masqueraded)
    if pod.mac:
        go_macspoof.make(kernel, owner, pod.link, pod.mac)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _report(pod: Pod) -> list[str]:
    """One line for the rules in iptables, and one for the MAC spoof check."""
    parts = []
    if pod.published.entries:
        ports = sorted({f"{mapping.protocol}/{mapping.host_port}" for mapping in pod.settings().mappings})
        parts.append(f"host ports {' '.join(ports)}")
    if pod.masqueraded:
        parts.append(f"masquerading of {' '.join(str(prefix.address) for prefix in pod.masqueraded)}")
    return [f"{pod.attachment}: {what}" for what in (", ".join(parts), "MAC spoof check" if pod.mac else "") if what]


def _remove_tables(site: Site) -> None:
    kernel = site.nftables
    ours = {
        layout.LAYOUT: layout.FOLLOWED,
        masquerade.LAYOUT: masquerade.FOLLOWED,
        guard.LAYOUT: {},
        macspoof.LAYOUT: {},
        **{table: {} for table in filtering.TABLES},
    }
    for table, follows in ours.items():
        if kernel.has_table(table.family, table.name):
            change = table.change(kernel)
            change.drop()
            if follows:
                Undecided(change, follows).withdraw(change)
            change.commit()
            if follows:
                unmark_legacy(follows, _say)
            _say(f"cni-handback: removed table {'bridge' if table.family == BRIDGE else 'inet'} {table.name}")
    filtering.forget(site)
    Shares(site.rtnl.namespace, site.node.roots.run).forget()


def main(arguments: list[str]) -> int:
    """The command. 0: everything is handed back. 1: nothing was removed. 2: missing or unknown arguments."""
    if arguments in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    listing = arguments[:1] == ["--list"] and len(arguments) <= 2
    if not listing and arguments not in (["--write"], ["--dry-run"]):
        _say(USAGE)
        return 2
    if os.geteuid():
        _say("cni-handback: this needs root")
        return 1
    try:
        site = Site(Attachment("", "", ""), say=_say)
        if listing:
            return _list(site, *arguments[1:])
        return _hand_back(site, dry=arguments == ["--dry-run"])
    except (CNIError, KernelError, OSError) as error:
        _say(f"cni-handback: {error}; pycni's tables were left as they are")
        return 1


def _list(site: Site, data_dir: str = DATA_DIR) -> int:
    things = walk(kinds(site, data_dir))
    print(json.dumps([thing.document() for thing in things], indent=2))
    return 0


def _hand_back(site: Site, dry: bool) -> int:
    found = pods(site)
    every = [pod for pod in found if not pod.death]
    for pod in found:
        if pod.death:
            _say(f"cni-handback: {pod.comment}: {pod.death}: it is dead, and not handed back")
    faults = [fault for fault in map(Pod.fault, every) if fault]
    for pod in every:
        if pod.overtakes:
            _say(f"cni-handback: {pod.attachment} gets the port that {pod.overtakes} has: each waits for the other")
    for fault in faults:
        _say(f"cni-handback: {fault}")
    if faults:
        _say("cni-handback: nothing was changed; remove these pods first, or wait for their end")
        return 1
    for pod in every:
        if not dry:
            _write(site.nftables, pod, every)
        for line in _report(pod):
            print(line)
    for rules in filtering.forwarded(site):
        if not dry:
            rules.write(site)
        print(rules.report())
    if not dry:
        _remove_tables(site)
    return 0
