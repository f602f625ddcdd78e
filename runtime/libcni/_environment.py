"""A plugin's environment: that of this process, and the six ``CNI_*`` variables (spec section "Parameters")."""

import os
from collections.abc import Sequence

from libcni._model import RuntimeConf

_NO_ATTACHMENT = {"CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_ARGS": "", "CNI_IFNAME": ""}


def for_attachment(verb: str, runtime: RuntimeConf, path: Sequence[str]) -> dict[str, str]:
    """The environment for ADD, CHECK and DEL. The pairs of ``CNI_ARGS`` are joined without escaping."""
    attachment = {
        "CNI_CONTAINERID": runtime.container_id,
        "CNI_NETNS": runtime.netns,
        "CNI_ARGS": ";".join(f"{key}={value}" for key, value in runtime.args),
        "CNI_IFNAME": runtime.if_name,
    }
    return {**os.environ, "CNI_COMMAND": verb, **attachment, "CNI_PATH": ":".join(path)}


def for_network(verb: str, path: Sequence[str]) -> dict[str, str]:
    """The environment for GC and STATUS. They have no attachment, so its variables are empty."""
    return {**os.environ, "CNI_COMMAND": verb, **_NO_ATTACHMENT, "CNI_PATH": ":".join(path)}


def for_version() -> dict[str, str]:
    """The environment for VERSION. Very old plugins require these variables: the Go library sends ``dummy``."""
    dummies = {"CNI_NETNS": "dummy", "CNI_IFNAME": "dummy", "CNI_PATH": "dummy"}
    return {**os.environ, "CNI_COMMAND": "VERSION", **_NO_ATTACHMENT, **dummies}
