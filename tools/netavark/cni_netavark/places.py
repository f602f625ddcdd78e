"""Where the driver finds lists and plugins, and where it keeps what it has to remember."""

from collections.abc import Mapping
from dataclasses import dataclass

from cni_netavark import folders


@dataclass(frozen=True, slots=True)
class Places:
    """The folders of one call."""

    plugins: tuple[str, ...] = folders.PLUGINS
    lists: tuple[str, ...] = folders.LISTS
    cache: str = "/var/lib/cni/podman"
    """Not libcni's usual folder: GC must not confuse containers of podman with those of other runtimes."""
    locks: str = "/run/cni/pycni/podman-locks"
    names: str = "/run/cni/pycni/podman-names"
    """The records of aardvark-dns."""

    @classmethod
    def of(cls, options: Mapping[str, str]) -> "Places":
        """The folders, with those that a network names."""
        plugins, lists = (folders.split(options.get(name, "")) for name in ("plugin_dir", "conf_dir"))
        return cls(plugins or folders.PLUGINS, lists or folders.LISTS)
