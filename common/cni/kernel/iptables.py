"""iptables, for those who ask for it and for what others made with it: rules listed, one restore a family, the lock.

What iptables-nft made is also read and removed over netlink, without the program (``compat``).
"""

from cni.errors import CNIError
from cni.kernel import program
from cni.kernel.backend import has_legacy
from cni.kernel.exclusive import Exclusive

# nf_tables' numbers, here too because STATUS does without the modules that change tables
FAMILIES = {4: 2, 6: 10}
PROGRAMS = {4: "iptables", 6: "ip6tables"}
LEGACY = {4: "iptables-legacy", 6: "ip6tables-legacy"}
# Seconds that iptables itself waits for its own lock.
_WAIT = "5"
# The error for a socket's buffer that is too small, and a number of rules that fits into every buffer.
_TOO_LONG, _A_PART = "Message too long", 200


def lock(make: bool = True) -> Exclusive:
    """Our own calls of iptables one after the other: two that both make a shared chain would fail or double its jumps.

    Who only removes what may be there waits where any of ours has been at iptables (``make`` false).
    """
    return Exclusive("iptables", make)


def to_make(version: int) -> str:
    """The iptables to make rules with, and to look at them: the legacy one where nf_tables cannot hold them."""
    from cni.kernel import backend

    legacy = LEGACY[version]
    return legacy if backend.iptables_lacks_nat() and program.find(f"{legacy}-restore") else PROGRAMS[version]


def run(name: str, *arguments: str) -> tuple[str, str]:
    """iptables with a bounded wait for its lock: how it failed, and what it printed."""
    return program.run(name, "--wait", _WAIT, *arguments)


def restore(name: str, lines: "list[str]") -> str:
    """Apply lines of the nat table as one change (``NAME-restore --noflush``): how it failed, empty if it did not.

    In a user namespace iptables-nft cannot send many at once; then they go in parts, in order.
    """
    for line in lines:
        if "\n" in line or "\0" in line:
            raise CNIError(f"{line!r} is no rule: it holds more than one line", "look at what the configuration gives")
    fault = _restore(name, lines)
    if _TOO_LONG in fault and len(lines) > _A_PART:
        parts = (lines[at : at + _A_PART] for at in range(0, len(lines), _A_PART))
        fault = next(filter(None, (_restore(name, part) for part in parts)), "")
    return fault


def _restore(name: str, lines: "list[str]") -> str:
    script = "\n".join(["*nat", *lines, "COMMIT", ""])
    return program.run(f"{name}-restore", "--noflush", "--wait", _WAIT, stdin=script)[0]


def rules(name: str, wanted: "list[str]") -> "dict[str, list[str]]":
    """The nat table's chains with their rules as ``-A CHAIN …``; those of ``wanted`` at least, where they exist.

    iptables-save passes over a table in which it meets a foreign rule; then the chains are asked for one by one.
    """
    fault, text = program.run(f"{name}-save", "-t", "nat")
    found: dict[str, list[str]] = {}
    if not fault and "*nat\n" in text:
        for line in text.splitlines():
            if line.startswith(":"):
                found.setdefault(line[1:].split()[0], [])
            elif line.startswith("-A "):
                found.setdefault(line.split()[1], []).append(line)
        return found
    for chain in wanted:
        fault, text = run(name, "-t", "nat", "-S", chain)
        if not fault:
            found[chain] = [line for line in text.splitlines() if line.startswith("-A ")]
    return found


def legacy(version: int, table: str = "nat") -> str:
    """The program for iptables-legacy, if the kernel has that table of it; else nothing.

    A node without the programs cannot have rules there that a plugin on it made.
    """
    if not has_legacy(version, table):
        return ""
    for name in (LEGACY[version], PROGRAMS[version]):
        if all(program.find(f"{name}{part}") for part in ("", "-save", "-restore")) and not _needs_nf_tables(name):
            return name
    return ""


def _needs_nf_tables(name: str) -> bool:
    """Whether the usual name is that of iptables-nft, which does not show iptables-legacy's tables."""
    return name not in LEGACY.values() and "nf_tables" in program.run(name, "--version")[1]
