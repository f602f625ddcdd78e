"""What netlink does not report of a link (/sys/class/net)."""

# NET_ADDR_SET: the MAC was set by somebody.
_ADDRESS_SET = "3"


def mac_was_set(sys: str, name: str, index: int) -> bool:
    """Whether a link's MAC was set, and not drawn or taken from a port.

    ``sys`` is the folder /sys; false where it shows another namespace's links.
    """
    try:
        # as bytes: a text would import a codec
        with open(f"{sys}/class/net/{name}/addr_assign_type", "rb") as file:
            kind = file.read().strip().decode()
        with open(f"{sys}/class/net/{name}/ifindex", "rb") as file:
            return kind == _ADDRESS_SET and int(file.read()) == index
    except (OSError, ValueError):
        return False
