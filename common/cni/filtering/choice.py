"""The choice of the backend, and what STATUS says about it."""

from cni.kernel import iptables, program
from cni.kernel.backend import FORWARDING, lacking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from cni.kernel.nftables import Nftables

NAMES = ("iptables", "firewalld", "nftables")
# The bit that ``undecided`` uses in NAT's hooks; each sets and clears it within one hook.
MARK = 0x1000


def chosen(asked: str = "") -> str:
    """The backend that is asked for; otherwise firewalld if it runs, iptables if the node has it, or nftables."""
    if asked in NAMES:
        return asked
    return "firewalld" if firewalld_runs() else without_firewalld()


def without_firewalld() -> str:
    """The backend on a node without firewalld."""
    return "iptables" if program.find(iptables.PROGRAMS[4]) else "nftables"


def firewalld_runs() -> bool:
    """Whether firewalld is on the system bus."""
    from cni.filtering import firewalld

    return firewalld.runs()


def unusable(backend: str, kernel: "Nftables | None" = None) -> tuple[str, str]:
    """Why a backend cannot be used, and the remedy; empty if it can. ``kernel`` is None for STATUS."""
    if backend == "firewalld":
        missing = "" if firewalld_runs() else "firewalld does not run, or the system bus cannot be reached"
        return missing, "start firewalld, or leave backend out"
    if backend == "iptables":
        missing = "" if program.find(iptables.PROGRAMS[4]) else "there is no program iptables on this node"
        return missing, "install iptables, or leave backend out"
    lacks = lacking(FORWARDING, kernel)
    return f"nftables: the kernel lacks {lacks}" if lacks else "", "use a kernel that has it, or install iptables"


def complaints(backend: str) -> "Iterator[str]":
    """The chains of others that drop packets of containers although the backend lets them pass."""
    from cni.dropping import chains_that_drop, is_of_iptables, remedy

    if backend != "firewalld" and firewalld_runs():
        yield "firewalld runs, and rejects packets that no zone accepts; leave backend out, or set backend: firewalld"
    for where, command, _ in chains_that_drop():
        if is_of_iptables(command) and backend != "firewalld":
            continue
        what = remedy(command)
        if backend == "nftables":
            what = f"allow marked packets: {command} meta mark and {MARK:#x} == {MARK:#x} accept"
        yield f"{where} drops what no rule accepts, and no rule of another table can change that; {what}"
