"""Check names before ADD, with the texts and codes of the Go library (`pkg/utils/utils.go`). Check ``CNI_ARGS``.

``CNI_ARGS`` is one text: semicolons separate its pairs, and there is no escaping. A value with a semicolon would add
another argument. So a pod's name could, for example, request an address.
"""

from collections.abc import Iterable

from cni.names import interface_fault, is_identifier
from libcni._errors import InvalidArgs, InvalidName
from libcni._quoting import quote


def check_names(container: str, network: str, ifname: str) -> None:
    """Raise ``InvalidName`` for the first invalid name."""
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


def args_fault(key: str, value: str) -> str:
    """Why ``CNI_ARGS`` cannot contain the pair; empty if it can. Plugins expect one equals sign in each pair."""
    if not key:
        return "its key is empty"
    sign = next((sign for sign in ";=\0" if sign in key or sign in value), "")
    return f"{quote(sign)} cannot be in a key or a value: plugins would end it there" if sign else ""


def check_args(pairs: Iterable[tuple[str, str]]) -> None:
    """Raise ``InvalidArgs`` for the first pair that ``CNI_ARGS`` cannot contain."""
    for key, value in pairs:
        if fault := args_fault(key, value):
            raise InvalidArgs(f"invalid CNI_ARGS pair {quote(f'{key}={value}')}", fault)
