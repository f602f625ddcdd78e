"""Masquerading in the form of Go's bridge: made if a configuration asks for iptables, and compared by CHECK."""

from cni.address import MULTICAST, Prefix
from cni.errors import CheckFailed, CNIError
from cni.go import names
from cni.go.masquerade import remove
from cni.go.rules import Printed
from cni.kernel import iptables, program
from cni.kernel.compat import compared
from cni.kernel.rulespec import quoted
from cni.kernel.transaction import INET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni.attachment import Attachment
    from cni.kernel.nftables import Nftables


def add(kernel: "Nftables", attachment: "Attachment", prefixes: "Sequence[Prefix]") -> None:
    """One iptables-restore for each family, after removing what the attachment had. Raises ``CNIError``."""
    versions = sorted({prefix.version for prefix in prefixes})
    for version in versions:
        name = f"{iptables.to_make(version)}-restore"
        if not program.find(name):
            raise program.missing(name)
    remove(kernel, attachment, {prefix.address.packed for prefix in prefixes}.isdisjoint)
    chain = names.masquerade_chain(attachment)
    with iptables.lock():
        for version in versions:
            name = iptables.to_make(version)
            missing, text = iptables.run(name, "-t", "nat", "-S", chain)
            of_family = [prefix for prefix in prefixes if prefix.version == version]
            script = _script(attachment, of_family, None if missing else text.splitlines())
            fault = iptables.restore(name, script)
            if fault:
                raise CNIError(f"failed to set up masquerading with {name}: {fault}", f"the script was: {script}")


def _script(attachment: "Attachment", prefixes: "Sequence[Prefix]", existing: "list[str] | None") -> list[str]:
    """The lines for iptables-restore; ``existing`` are the chain's rules, None if it is missing.

    Every ACCEPT must be before the MASQUERADE, even if another interface or container shares the chain.
    """
    chain, text = names.masquerade_chain(attachment), names.masquerade_comment(attachment)
    comment = f"-m comment --comment {quoted(text)}"
    lines = [f":{chain} - [0:0]"] if existing is None else []
    for subnet in dict.fromkeys(prefix.network for prefix in prefixes):
        lines.append(f"-{f'A {chain}' if existing is None else f'I {chain} 1'} -d {subnet} {comment} -j ACCEPT")
    if not any(rule.target == "MASQUERADE" and rule.comment == text for rule in map(Printed, existing or ())):
        lines.append(f"-A {chain} ! -d {MULTICAST[prefixes[0].version]} {comment} -j MASQUERADE")
    return lines + [f"-A {names.POSTROUTING} -s {prefix.address} {comment} -j {chain}" for prefix in prefixes]


def check(kernel: "Nftables", attachment: "Attachment", prefixes: "Sequence[Prefix]") -> None:
    """Each address jumps to the chain, and the chain masquerades; raises ``CheckFailed``.

    iptables runs only if the chain may exist, because iptables-legacy creates the tables that it lists.
    """
    chain = names.masquerade_chain(attachment)
    for prefix in prefixes:
        version = prefix.version
        exists = kernel.chain(iptables.FAMILIES[version], "nat", chain) is not None
        programs = (iptables.PROGRAMS[version] if exists else "", iptables.legacy(version))
        faults = [_fault(name, attachment, prefix) for name in programs if name]
        if all(faults):
            raise CheckFailed(faults[0] if faults else f"{iptables.PROGRAMS[version]}: there is no chain {chain}")


def _fault(name: str, attachment: "Attachment", prefix: Prefix) -> str:
    """What is missing for an address in the tables of one iptables."""
    chain, comment = names.masquerade_chain(attachment), names.masquerade_comment(attachment)
    fault, rules = iptables.run(name, "-t", "nat", "-S", chain)
    if fault or "-j MASQUERADE" not in rules or f"-d {prefix.network} " not in rules:
        return f"{name}: chain {chain} does not masquerade for {prefix.network}"
    words = ("-s", str(prefix.address), "-m", "comment", "--comment", comment, "-j", chain)
    fault, _ = iptables.run(name, "-t", "nat", "-C", names.POSTROUTING, *words)
    return f"{name}: {prefix.address} does not jump to chain {chain}" if fault else ""


def check_newer(kernel: "Nftables", attachment: "Attachment", prefixes: "Sequence[Prefix]") -> None:
    """Each address has its rule in the newer form's table; raises ``CheckFailed``."""
    table, instance = names.MASQUERADE_TABLE, names.instance(attachment)
    base = kernel.chain(INET, table, "postrouting")
    entered = base is not None and base.hook is not None
    if not entered or not any(
        names.MASQUERADE_RULES in rule.jumps_to() for rule in kernel.rules(INET, table, "postrouting")
    ):
        raise CheckFailed(f"nftables table inet {table}: nothing goes to its chain {names.MASQUERADE_RULES}")
    found: set[bytes] = set()
    for rule in kernel.rules(INET, table, names.MASQUERADE_RULES):
        if rule.comment.split(",")[0] == instance and list(rule.expressions("masq")):
            found |= compared(rule)
    for prefix in prefixes:
        if prefix.address.packed not in found:
            raise CheckFailed(f"nftables table inet {table}: {prefix.address} is not masqueraded")
