"""The environment of a plugin: the own one, and the six ``CNI_*`` variables over it (spec section "Parameters")."""

import os
from collections.abc import Sequence

from libcni._model import RuntimeConf


def _environ(verb: str, container: str, netns: str, args: str, ifname: str, path: str) -> dict[str, str]:
    return {
        **os.environ,
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": netns,
        "CNI_ARGS": args,
        "CNI_IFNAME": ifname,
        "CNI_PATH": path,
    }


def for_attachment(verb: str, runtime: RuntimeConf, path: Sequence[str]) -> dict[str, str]:
    """Of ADD, CHECK and DEL; the pairs of ``CNI_ARGS`` are joined as they are, nothing is escaped."""
    args = ";".join(f"{key}={value}" for key, value in runtime.args)
    return _environ(verb, runtime.container_id, runtime.netns, args, runtime.if_name, ":".join(path))


def for_network(verb: str, path: Sequence[str]) -> dict[str, str]:
    """Of GC and STATUS, which have no attachment: the variables are there, and empty."""
    return _environ(verb, "", "", "", "", ":".join(path))


def for_version() -> dict[str, str]:
    """Of VERSION: the word ``dummy`` stands where very old plugins look for a value."""
    return _environ("VERSION", "", "dummy", "", "dummy", "dummy")
