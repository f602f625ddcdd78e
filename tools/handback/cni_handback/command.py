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
from cni.go.make_hostports import HostPorts
from cni.go.make_masquerade import add
from cni.inventory import walk
from cni.kernel import nftables
from cni.kernel.netlink import KernelError
from cni.kernel.rtnl import Rtnl
from cni.kernel.transaction import BRIDGE
from cni.site import Roots, Site
from cni.undecided import Undecided, unmark_legacy
from cni_handback import spoof
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


def _write(one: Living, every: list[Living]) -> None:
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
        add(nftables.here(), who, one.masqueraded)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _told(one: Living) -> str:
    parts = []
    if one.owned.entries:
        ports = sorted({f"{mapping.protocol}/{mapping.host_port}" for mapping in one.settings().mappings})
        parts.append(f"host ports {' '.join(ports)}")
    if one.masqueraded:
        parts.append(f"masquerading of {' '.join(str(prefix.address) for prefix in one.masqueraded)}")
    return f"{one.attachment}: {', '.join(parts)}"


def _remove_tables() -> None:
    kernel = nftables.here()
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
    Shares(Rtnl().namespace, Roots().run).forget()


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
        if listing:
            return _list(*arguments[1:])
        return _hand_back(dry=arguments == ["--dry-run"])
    except (CNIError, KernelError, OSError) as error:
        _say(f"cni-handback: {error}; pycni's tables were left as they are")
        return 1


def _list(data_dir: str = DATA_DIR) -> int:
    things = walk(kinds(Site(Attachment("", "", ""), say=_say), data_dir))
    print(json.dumps([thing.document() for thing in things], indent=2))
    return 0


def _hand_back(dry: bool) -> int:
    found, guarded = living(), spoof.guarded()
    every = [one for one in found if not one.death]
    for one in found:
        if one.death:
            _say(f"cni-handback: {one.comment}: {one.death}: it is dead, and not handed back")
    faults = [fault for fault in [one.fault() for one in every] + [one.fault for one in guarded] if fault]
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
            _write(one, every)
        print(_told(one))
    for pod in guarded:
        if not dry:
            pod.write()
        print(f"{pod.attachment}: MAC spoof check")
    if not dry:
        _remove_tables()
    return 0
