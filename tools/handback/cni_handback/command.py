"""``cni-handback``: write what our plugins made for running pods in Go's layout, and remove our tables.

Run it in the node's network namespace, then put Go's plugins in place: their DEL finds all. Host ports and masquerading
go to iptables' chains, the MAC spoof check to Go's chains in ``bridge nat``. Nothing is removed unless everything could
be written, and running it again changes nothing more.
"""

import json
import os
import sys

from cni import macspoof, masquerade
from cni.attachment import Attachment
from cni.errors import CNIError
from cni.go import macspoof as go_macspoof
from cni.go.make_hostports import HostPorts
from cni.go.make_masquerade import add
from cni.inventory import walk
from cni.kernel.netlink import KernelError
from cni.kernel.nftables import Nftables
from cni.kernel.transaction import BRIDGE
from cni.site import Site
from cni.undecided import Undecided, unmark_legacy
from cni_handback.kinds import DATA_DIR, kinds
from cni_handback.living import Living, living
from cni_portmap import guard, layout
from cni_portmap.shares import Shares

USAGE = """usage: cni-handback --dry-run | --write | --list [FOLDER]

Writes what pycni's plugins made for running pods as the Go plugins would have it (iptables), and removes pycni's
nftables tables. Run it in the node's network namespace, as root, when no pod is being started or stopped; then put the
Go plugins in place. --dry-run only shows it. --list prints as JSON what ours and Go's plugins have on the node, with
host-local's leases in FOLDER (/var/lib/cni/networks), and changes nothing. One of the three is needed: some runtimes run
every file in the plugins' folder without arguments, to find its version."""


def _write(kernel: Nftables, one: Living, every: list[Living]) -> None:
    who = one.attachment
    assert who is not None  # noqa: S101
    if one.owned.entries:
        # what leads to the container's other interfaces is kept; it is ours that has the port, until our table goes
        kept: set[bytes] = set()
        for other in every:
            whose = other.attachment
            if other is not one and whose and (whose.network, whose.container) == (who.network, who.container):
                kept |= {address.packed for address in other.addresses}
        HostPorts(
            who, one.targets(), one.settings(), lambda found: not kept.isdisjoint(found), lambda *of: False
        ).make()
    if one.masqueraded:
        add(kernel, who, one.masqueraded)
    if one.mac:
        go_macspoof.make(kernel, who, one.link, one.mac)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _report(one: Living) -> list[str]:
    """A line for what goes to iptables, and one for the MAC spoof check."""
    parts = []
    if one.owned.entries:
        ports = sorted({f"{mapping.protocol}/{mapping.host_port}" for mapping in one.settings().mappings})
        parts.append(f"host ports {' '.join(ports)}")
    if one.masqueraded:
        parts.append(f"masquerading of {' '.join(str(prefix.address) for prefix in one.masqueraded)}")
    return [f"{one.attachment}: {what}" for what in (", ".join(parts), "MAC spoof check" if one.mac else "") if what]


def _remove_tables(site: Site) -> None:
    kernel = site.nftables
    ours = {
        layout.LAYOUT: layout.FOLLOWED,
        masquerade.LAYOUT: masquerade.FOLLOWED,
        guard.LAYOUT: {},
        macspoof.LAYOUT: {},
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
    Shares(site.rtnl.namespace, site.node.roots.run).forget()


def main(arguments: list[str]) -> int:
    """The command; 0 when all was handed back, 1 when nothing was removed, 2 for missing or unknown words."""
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
    found = living(site)
    every = [one for one in found if not one.death]
    for one in found:
        if one.death:
            _say(f"cni-handback: {one.comment}: {one.death}: it is dead, and not handed back")
    faults = [fault for fault in map(Living.fault, every) if fault]
    for one in every:
        if one.overtakes:
            _say(f"cni-handback: {one.attachment} gets the port that {one.overtakes} has: each waits for the other")
    for fault in faults:
        _say(f"cni-handback: {fault}")
    if faults:
        _say("cni-handback: nothing was changed; remove these pods first, or wait for their end")
        return 1
    for one in every:
        if not dry:
            _write(site.nftables, one, every)
        for line in _report(one):
            print(line)
    if not dry:
        _remove_tables(site)
    return 0
