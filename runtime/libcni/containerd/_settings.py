"""The options of containerd's interface (Go: ``Opt``): settings, and the networks to load."""

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from libcni._configuration import conf_from_bytes, conf_list_from_conf, network_conf_from_bytes
from libcni._errors import ConfigError, LibcniError, NoConfigsFound, NotFound
from libcni._inputs import Configuration, Folders, StrPath, folders_of, path_of, plugin_folders
from libcni._lastgood import LastGood
from libcni._loading import (
    LIST_SUFFIXES,
    SINGLE_SUFFIXES,
    conf_from_file,
    entries,
    network_conf_from_file,
    network_from_file,
)
from libcni._model import NetworkConfigList
from libcni._options import IgnoringErrors, Options
from libcni.containerd._errors import InvalidConfig, NotInitialized, ReadFailed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Network:
    """A loaded network, the name of its interface in the container, and the plugin folders when it was loaded."""

    config: NetworkConfigList
    if_name: str
    plugin_dirs: Sequence[str]


@dataclass(slots=True)
class Settings:
    """What the options set: a field for each. Times are in seconds."""

    plugin_dirs: Sequence[str] = ("/opt/cni/bin",)
    plugin_conf_dirs: Sequence[str] = ("/etc/cni/net.d",)
    plugin_max_conf_num: int = 1
    prefix: str = "eth"
    min_network_count: int = 1
    cache_dir: str = ""
    rollback: bool = True
    options: Options = field(default_factory=Options)
    networks: list[Network] = field(default_factory=list)
    skip_bad_files: bool = True
    skipped: list[LibcniError] = field(default_factory=list)
    last_good: LastGood = field(default_factory=LastGood)

    def attach(self, config: NetworkConfigList, if_name: str) -> None:
        """Add a network."""
        self.networks.append(Network(config, if_name, tuple(self.plugin_dirs)))

    def read(self, file: str, load: Callable[[str], NetworkConfigList]) -> NetworkConfigList | None:
        """The configuration in a file. For a bad file: report it, and return its last good version or None.

        Raises the error if bad files are not skipped.
        """
        if not self.skip_bad_files:
            return load(file)
        found, error = self.last_good.read(file, load)
        if error is not None:
            self.skipped.append(error)
            effect = "skipped" if found is None else "its last good version stays in use"
            IgnoringErrors(self.options.report)(f"configuration file {file} is bad, {effect}: {error}")
        return found


Opt = Callable[[Settings], None]


def _setting(name: str, value: object) -> Opt:
    def apply(settings: Settings) -> None:
        setattr(settings, name, value)

    return apply


def with_interface_prefix(prefix: str) -> Opt:
    """Set the prefix of interface names in the container, such as ``eth``. Put it before the options that load."""
    return _setting("prefix", prefix)


def with_plugin_dir(folders: Folders) -> Opt:
    """Set the plugin folders, or the only one. Networks that are already loaded keep theirs."""
    return _setting("plugin_dirs", plugin_folders(folders))


def with_plugin_conf_dir(folder: Folders) -> Opt:
    """Set the configuration folder, or several in order (containerd#10710)."""
    return _setting("plugin_conf_dirs", folders_of(folder))


def with_plugin_max_conf_num(number: int) -> Opt:
    """Set how many files ``with_default_conf`` loads. 0 or less means all."""
    return _setting("plugin_max_conf_num", number)


def with_min_network_count(number: int) -> Opt:
    """Set how many networks must be loaded. With fewer, calls raise ``NotInitialized``."""
    return _setting("min_network_count", number)


def with_cache_dir(folder: StrPath) -> Opt:
    """Set the cache folder (go-cni#135)."""
    return _setting("cache_dir", path_of(folder))


def with_rollback(wanted: bool) -> Opt:
    """Set whether a Setup that fails removes what it made. The default is True. Go's library does not remove it."""
    return _setting("rollback", wanted)


def with_bad_files_skipped(wanted: bool) -> Opt:
    """Set whether a bad file is skipped and reported, and its last good version used. If not, the load fails as in Go.

    The default is True. A file is bad if it is not a configuration, empty, half written, an editor's lock file, or
    removed during the load. A load that finds no other file always fails. Put this option before the options that load.
    """
    return _setting("skip_bad_files", wanted)


def with_options(options: Options) -> Opt:
    """Set the ``Options`` for the calls of each network: timeouts, locks, …"""
    return _setting("options", options)


def _loopback(version: str, settings: Settings) -> None:
    text = '{"cniVersion":"%s","name":"cni-loopback","plugins":[{"type":"loopback"}]}' % version  # noqa: UP031
    settings.attach(network_conf_from_bytes(text.encode()), "lo")


def with_lo_network(settings: Settings) -> None:
    """Load the loopback network as Go's library does, in version 0.3.1. That has no CHECK, so ``check`` always fails."""
    _loopback("0.3.1", settings)


def with_checkable_lo_network(settings: Settings) -> None:
    """Load the loopback network in version 1.0.0. ``check`` works with it."""
    _loopback("1.0.0", settings)


def with_conf(data: Configuration) -> Opt:
    """Load one plugin's configuration. Its interface gets number 0."""
    return with_conf_index(data, 0)


def with_conf_index(data: Configuration, index: int) -> Opt:
    """Load one plugin's configuration. Its interface gets the number ``index``."""

    def apply(settings: Settings) -> None:
        settings.attach(conf_list_from_conf(conf_from_bytes(data)), f"{settings.prefix}{index}")

    return apply


def _single_from_file(file: str) -> NetworkConfigList:
    return conf_list_from_conf(conf_from_file(file))


def _named_file(settings: Settings, file: str, load: Callable[[str], NetworkConfigList]) -> NetworkConfigList:
    """The configuration in a file that the caller named. If it is bad, the load fails."""
    found = settings.read(file, load)
    if found is None:
        raise settings.skipped.pop()
    return found


def with_conf_file(file: StrPath) -> Opt:
    """Load one plugin's configuration from a file. Its interface gets number 0."""

    def apply(settings: Settings) -> None:
        settings.attach(_named_file(settings, path_of(file), _single_from_file), f"{settings.prefix}0")

    return apply


def with_conf_list_bytes(data: Configuration) -> Opt:
    """Load a list. The number of its interface is the number of networks that are loaded, including ``lo``."""

    def apply(settings: Settings) -> None:
        settings.attach(network_conf_from_bytes(data), f"{settings.prefix}{len(settings.networks)}")

    return apply


def with_conf_list_file(file: StrPath) -> Opt:
    """Load a list from a file. The number of its interface is the number of networks that are loaded, including ``lo``."""

    def apply(settings: Settings) -> None:
        number = len(settings.networks)
        settings.attach(_named_file(settings, path_of(file), network_conf_from_file), f"{settings.prefix}{number}")

    return apply


def with_network(name: str) -> Opt:
    """Load the network with the name from the configuration folders.

    The number of its interface is the number of networks that are loaded, without ``lo``. So the first one gets 0, and
    is the default network.
    """

    def apply(settings: Settings) -> None:
        config = _reading(f"failed to load network {name}", partial(_network_named, settings, name))
        number = sum(network.if_name != "lo" for network in settings.networks)
        settings.attach(config, f"{settings.prefix}{number}")

    return apply


def with_default_conf(settings: Settings) -> None:
    """Load the first files of the configuration folders, as many as ``with_plugin_max_conf_num`` says."""
    _load_folders(settings, settings.plugin_max_conf_num)


def with_all_conf(settings: Settings) -> None:
    """Load all files of the configuration folders."""
    _load_folders(settings, 0)


def _listed(settings: Settings) -> list[str]:
    """The files of the configuration folders."""
    folders = settings.plugin_conf_dirs
    try:
        files = [file for folder in folders for file in entries(folder, (*SINGLE_SUFFIXES, *LIST_SUFFIXES))]
    except ValueError as error:  # a path with a zero byte
        raise ReadFailed(f"failed to read config file: {error}") from error
    except OSError as error:
        reason = os.strerror(error.errno or errno.EIO).lower()
        raise ReadFailed(f"failed to read config file: open {error.filename}: {reason}") from error
    settings.last_good.forget_others(folders, files)
    return files


def _network_named(settings: Settings, name: str) -> NetworkConfigList:
    """As ``load_network_conf``, but skip bad files if the settings say so."""
    where = " ".join(settings.plugin_conf_dirs)
    files = _listed(settings)
    if not files:
        raise NotInitialized(str(NoConfigsFound(where)))
    skipped = len(settings.skipped)
    for file in sorted(files, key=lambda file: not file.endswith(LIST_SUFFIXES)):  # lists come first
        found = settings.read(file, network_from_file)
        if found is not None and found.name == name:
            return found
    if settings.skipped[skipped:]:
        raise settings.skipped[skipped]
    raise NotInitialized(str(NotFound(where, name)))


def _load_folders(settings: Settings, limit: int) -> None:
    files = _listed(settings)
    if not files:
        raise NotInitialized(f"no network config found in {' '.join(settings.plugin_conf_dirs)}")
    skipped = len(settings.skipped)
    loaded: list[NetworkConfigList] = []
    for file in files:
        if 0 < limit == len(loaded):
            break
        found = settings.read(file, _load_file)
        loaded += [] if found is None else [found]
    if not loaded:
        raise settings.skipped[skipped]
    for number, config in enumerate(loaded):
        settings.attach(config, f"{settings.prefix}{number}")


def _load_file(file: str) -> NetworkConfigList:
    if file.endswith(LIST_SUFFIXES):
        return _reading(f"failed to load CNI config list file {file}", partial(network_conf_from_file, file))
    single = _reading(f"failed to load CNI config file {file}", partial(conf_from_file, file))
    what = f"failed to convert CNI config file {file} to CNI config list"
    return _reading(what, partial(conf_list_from_conf, single))


def _reading(what: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except ConfigError as error:
        raise InvalidConfig(f"{what}: {error}") from error
