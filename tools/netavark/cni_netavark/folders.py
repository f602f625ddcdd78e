"""The folders of plugins and lists."""

import os

from cni import wire
from cni.errors import CNIError

# podman 4's folders of plugins, with the one into which `make install` installs first.
PLUGINS = ("/opt/cni/bin", "/usr/local/libexec/cni", "/usr/libexec/cni", "/usr/local/lib/cni", "/usr/lib/cni")
LISTS = ("/etc/cni/net.d",)


def split(text: str) -> tuple[str, ...]:
    """The folders of an option, which has colons between them."""
    return tuple(os.path.abspath(part) for part in text.split(":") if part)


def named_in(document: bytes) -> tuple[str, ...]:
    """The folders of plugins that a call's document names. Empty if it names none or cannot be read: the call will say so."""
    try:
        return split(wire.decode(document)["network"]["options"]["plugin_dir"])
    except (CNIError, KeyError, TypeError, AttributeError):
        return ()
