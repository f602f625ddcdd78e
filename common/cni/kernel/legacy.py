"""Whether the kernel has a table of iptables-legacy, which netlink does not show, and the node a program for it."""


def has_legacy(version: int, table: str = "nat") -> bool:
    """Whether this network namespace has that table."""
    kind = "ip_tables_names" if version == 4 else "ip6_tables_names"
    try:
        with open(f"/proc/net/{kind}", "rb") as file:
            return table.encode() in file.read().split()
    except OSError:
        return False


def unmarkable() -> "list[str]":
    """Nat tables of iptables-legacy that no program of the node can change."""
    versions = [version for version in (4, 6) if has_legacy(version)]
    if not versions:
        return []
    from cni.kernel import iptables

    return [iptables.LEGACY[version] for version in versions if not iptables.legacy(version)]


def complaint(name: str) -> str:
    """The line for operators about such a table."""
    return (
        f"the node has a nat table of iptables-legacy, but no program {name}: its ACCEPT rules are ignored;"
        " install iptables"
    )
