"""Running iptables: lists rules, and applies changes with iptables-restore, under a lock of ours.

Rules of iptables-nft can also be read and removed over netlink, without the program (``compat``).
"""

import os

from cni.errors import CNIError
from cni.kernel import program
from cni.kernel.backend import has_legacy
from cni.kernel.exclusive import Exclusive

# nf_tables' numbers; also in ``transaction``, which STATUS does not import
FAMILIES = {4: 2, 6: 10}
PROGRAMS = {4: "iptables", 6: "ip6tables"}
LEGACY = {4: "iptables-legacy", 6: "ip6tables-legacy"}
# Seconds that iptables itself waits for its own lock.
_WAIT = "5"
# The error for a socket's buffer that is too small, and a number of rules that fit into every buffer.
_TOO_LONG, _A_PART = "Message too long", 200


def lock(make: bool = True) -> Exclusive:
    """The lock for our use of iptables: two processes that make a common chain would fail, or add a jump twice.

    Removals need it only if a process of ours has used iptables on this node (``make`` is False).
    """
    return Exclusive("iptables", make)


def to_make(version: int) -> str:
    """The program to make and list rules with: the legacy one if nf_tables cannot hold NAT rules."""
    from cni.kernel import backend

    legacy = LEGACY[version]
    return legacy if backend.iptables_lacks_nat() and program.find(f"{legacy}-restore") else PROGRAMS[version]


def run(name: str, *arguments: str) -> tuple[str, str]:
    """Run iptables, with a limited wait for its lock; returns the fault, empty on success, and the output."""
    return program.run(name, "--wait", _WAIT, *arguments)


def restore(name: str, lines: "list[str]", table: str = "nat") -> str:
    """Apply lines to a table as one change (``NAME-restore --noflush``); returns the fault, empty on success.

    In a user namespace iptables-nft cannot send many lines at once; then they are sent in parts, in order.
    """
    for line in lines:
        if "\n" in line or "\0" in line:
            raise CNIError(f"{line!r} is no rule: it holds more than one line", "look at what the configuration gives")
    fault = _restore(name, lines, table)
    if _TOO_LONG in fault and len(lines) > _A_PART:
        parts = (lines[at : at + _A_PART] for at in range(0, len(lines), _A_PART))
        fault = next(filter(None, (_restore(name, part, table) for part in parts)), "")
    return fault


def _restore(name: str, lines: "list[str]", table: str) -> str:
    script = "\n".join([f"*{table}", *lines, "COMMIT", ""])
    return program.run(f"{name}-restore", "--noflush", "--wait", _WAIT, stdin=script)[0]


def rules(name: str, wanted: "list[str]", table: str = "nat") -> "dict[str, list[str]]":
    """A table's chains with their rules as ``-A CHAIN …``; at least the existing chains of ``wanted``.

    iptables-save skips a table with a rule that it does not understand; then each wanted chain is listed by itself.
    """
    fault, text = program.run(f"{name}-save", "-t", table)
    found: dict[str, list[str]] = {}
    if not fault and f"*{table}\n" in text:
        for line in text.splitlines():
            if line.startswith(":"):
                found.setdefault(line[1:].split()[0], [])
            elif line.startswith("-A "):
                found.setdefault(line.split()[1], []).append(line)
        return found
    for chain in wanted:
        fault, text = run(name, "-t", table, "-S", chain)
        if not fault:
            found[chain] = [line for line in text.splitlines() if line.startswith("-A ")]
    return found


def legacy(version: int, table: str = "nat") -> str:
    """The program for iptables-legacy, if the kernel has that table of it; empty otherwise.

    On a node without the programs, no plugin can have made rules there.
    """
    if not has_legacy(version, table):
        return ""
    for name in (LEGACY[version], PROGRAMS[version]):
        if all(program.find(f"{name}{part}") for part in ("", "-save", "-restore")) and not _needs_nf_tables(name):
            return name
    return ""


def is_nft(name: str) -> bool:
    """Whether a program is iptables-nft: its file is the one that all programs of iptables-nft are, or it says so."""
    file = os.path.basename(os.path.realpath(program.find(name)))
    if file.startswith("xtables-"):
        return "nft" in file
    return _needs_nf_tables(name)


def _needs_nf_tables(name: str) -> bool:
    """Whether ``iptables`` is iptables-nft, which does not show iptables-legacy's tables."""
    return name not in LEGACY.values() and "nf_tables" in program.run(name, "--version")[1]
