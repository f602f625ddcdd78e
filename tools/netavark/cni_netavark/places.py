"""Where the driver finds lists and plugins, and where it keeps what it has to remember."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

# podman 4's folders of plugins, with the one into which `make install` installs first.
PLUGIN_DIRS = ("/opt/cni/bin", "/usr/local/libexec/cni", "/usr/libexec/cni", "/usr/local/lib/cni", "/usr/lib/cni")
CONF_DIRS = ("/etc/cni/net.d",)


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one call."""

    plugins: tuple[str, ...] = PLUGIN_DIRS
    lists: tuple[str, ...] = CONF_DIRS
    cache: str = "/var/lib/cni/podman"
    """Not libcni's usual folder: GC must not confuse containers of podman with those of other runtimes."""
    locks: str = "/run/cni/pycni/podman-locks"
    names: str = "/run/cni/pycni/podman-names"
    """The records of aardvark-dns."""

    @classmethod
    def of(cls, options: Mapping[str, str]) -> "Places":
        """The folders, with those that a network names."""
        plugins, lists = (_folders(options.get(name, "")) for name in ("plugin_dir", "conf_dir"))
        return cls(plugins or PLUGIN_DIRS, lists or CONF_DIRS)


def _folders(text: str) -> tuple[str, ...]:
    return tuple(os.path.abspath(part) for part in text.split(":") if part)
