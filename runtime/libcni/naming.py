"""The names that ADD refuses, with the Go library's texts and codes (`pkg/utils/utils.go`)."""

from cni.names import interface_fault, is_identifier
from libcni.errors import InvalidName


def check_names(container: str, network: str, ifname: str) -> None:
    """Raise ``InvalidName`` for the first of the three that is none."""
    if not container:
        raise InvalidName("missing containerID", code=InvalidName.NO_CONTAINER)
    if not is_identifier(container):
        raise InvalidName("invalid characters in containerID", container, InvalidName.CONTAINER)
    if not network:
        raise InvalidName("missing network name:", code=InvalidName.NETWORK)
    if not is_identifier(network):
        raise InvalidName("invalid characters found in network name", network, InvalidName.NETWORK)
    fault = interface_fault(ifname)
    if fault:
        details = "interface name should be less than 16 characters" if fault.endswith("long") else ""
        raise InvalidName(fault, details, InvalidName.CONTAINER)
