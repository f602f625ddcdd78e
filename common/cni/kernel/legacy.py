"""Whether the kernel has a table of iptables-legacy, which netlink does not show."""


def has_legacy(version: int, table: str = "nat") -> bool:
    """Whether this network namespace has that table."""
    kind = "ip_tables_names" if version == 4 else "ip6_tables_names"
    try:
        with open(f"/proc/net/{kind}", "rb") as file:
            return table.encode() in file.read().split()
    except OSError:
        return False
