"""Facts about links that netlink does not report (/sys/class/net)."""

# NET_ADDR_SET
_ADDRESS_SET = "3"


def mac_was_set(sys: str, name: str, index: int) -> bool:
    """Whether a link's MAC was set, and is neither random nor a port's.

    ``sys`` is the folder /sys; False if it shows another namespace's links.
    """
    try:
        # in binary mode, because text mode imports a codec
        with open(f"{sys}/class/net/{name}/addr_assign_type", "rb") as file:
            kind = file.read().strip().decode()
        with open(f"{sys}/class/net/{name}/ifindex", "rb") as file:
            return kind == _ADDRESS_SET and int(file.read()) == index
    except (OSError, ValueError):
        return False
