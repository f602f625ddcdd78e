"""Configurations from files, in the Go library's order (`libcni/conf.go`); of several folders the first wins.

Lists (``.conflist``) before single plugins (``.conf``, ``.json``), by file name; a file that cannot be read ends the
search, for the network that it was to hold must not be replaced by another in silence; ``skipped`` takes such files'
errors, and the search goes on. Regular files alone are read.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from cni import regular
from cni.wire import fold
from libcni import _gojson
from libcni._configuration import conf_from_bytes, conf_list_from_conf, network_conf_from_bytes
from libcni._errors import ConfigError, NoConfigsFound, NotFound
from libcni._inputs import Folders, StrPath, Texts, folders_of, path_of, texts_of
from libcni._model import NetworkConfig, NetworkConfigList

DEFAULT_FOLDER = "/etc/cni/net.d"
LIST_SUFFIXES = (".conflist",)
SINGLE_SUFFIXES = (".conf", ".json")
_MOST = 16 << 20
T = TypeVar("T")
# Takes the error of a bad file, which is then skipped.
Skipped = Callable[[ConfigError], object]


def _read(file: str) -> bytes:
    try:
        return regular.read(file, _MOST)
    except (OSError, ValueError) as error:
        raise ConfigError(f"error reading {file}: open {file}: {_reason(error).lower()}") from error


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def conf_from_file(file: StrPath) -> NetworkConfig:
    """One plugin's configuration (Go: ``ConfFromFile``); raises ``ConfigError`` with the file's name and the place."""
    file = path_of(file)
    data = _read(file)
    try:
        return conf_from_bytes(data, file)
    except ConfigError as error:
        if _has(data, "plugins", without="type"):
            raise error.with_hint(
                "it has 'plugins', so it is a list, and the file of a list ends in .conflist"
            ) from None
        raise


def network_conf_from_file(file: StrPath) -> NetworkConfigList:
    """A list, and the plugins in the folder of its name beside it (Go: ``NetworkConfFromFile``).

    Plugins written in the list come first, then the folder's, unless ``loadOnlyInlinedPlugins``. ``bytes`` stays the
    file as read. Raises ``ConfigError``.
    """
    file = path_of(file)
    data = _read(file)
    try:
        net = network_conf_from_bytes(data, file)
        if not net.load_only_inlined_plugins:
            more = network_plugin_confs_from_files(os.path.dirname(file), net.name)
            net = replace(net, plugins=(*net.plugins, *more))
        if not net.plugins:
            raise ConfigError("no plugin configs found", file)
    except ConfigError as error:
        if error.file == file and _has(data, "type", without="plugins"):
            raise error.with_hint("it has 'type', so it is one plugin's, and such a file ends in .conf") from None
        raise
    return net


def _has(data: bytes, wanted: str, without: str) -> bool:
    """Whether a text is an object with the one key and without the other; keys match as a plugin's do."""
    try:
        document = _gojson.decode(data)
    except _gojson.JSONError:
        return False
    keys = {fold(name) for name in document} if isinstance(document, dict) else set()
    return fold(wanted) in keys and fold(without) not in keys


def network_plugin_confs_from_files(folder: StrPath, name: str) -> list[NetworkConfig]:
    """The plugins of a network from ``folder/name/*.conf``, by file name; no such folder: none.

    A name that leads elsewhere (``..``, a slash) has no folder (Go reads it). Raises ``ConfigError``.
    """
    if not name or "/" in name or name in (".", ".."):
        return []
    inner = os.path.join(path_of(folder), name)
    try:
        files = entries(inner, (".conf",))
    except (OSError, ValueError) as error:
        raise ConfigError(f"failed to read plugin config files in {inner}: {_reason(error)}") from error
    return [conf_from_file(file) for file in files]


def conf_files(folder: StrPath, suffixes: Texts) -> list[str]:
    """Every entry that is no folder and whose last suffix (with dot, case-sensitive) is wanted; full paths, by name.

    No such folder: none. Raises ``ConfigError`` when it cannot be read.
    """
    return _files(folders_of(path_of(folder)), texts_of(suffixes))


def entries(folder: str, suffixes: Sequence[str]) -> list[str]:
    """``conf_files`` of the library's own callers. Raises ``OSError``, and ``ValueError`` for a path with a NUL."""
    try:
        with os.scandir(folder) as found:
            names = sorted((entry.name for entry in found if not entry.is_dir(follow_symlinks=False)), key=os.fsencode)
    except FileNotFoundError:
        return []
    return [os.path.join(folder, name) for name in names if _suffix(name) in suffixes]


def _suffix(name: str) -> str:
    dot = name.rfind(".")
    return name[dot:] if dot >= 0 else ""


def _files(folders: Sequence[str], suffixes: Sequence[str]) -> list[str]:
    files = []
    for folder in folders:
        try:
            files += entries(folder, suffixes)
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot read the configuration folder: {_reason(error)}", folder) from error
    return files


def _loaded(files: Sequence[str], load: Callable[[str], T], skipped: Skipped | None) -> Iterator[T]:
    """The configurations in the files; a bad one's error is raised, or handed to ``skipped``."""
    for file in files:
        try:
            yield load(file)
        except ConfigError as error:
            if skipped is None:
                raise
            skipped(error)


def load_conf(folder: Folders, name: str, *, skipped: Skipped | None = None) -> NetworkConfig:
    """The first single plugin's configuration of that name (Go: ``LoadConf``).

    Raises ``NoConfigsFound``, ``NotFound``, and ``ConfigError`` for a bad file that is met before, unless ``skipped``
    takes it.
    """
    folders = folders_of(folder)
    files = _files(folders, SINGLE_SUFFIXES)
    if not files:
        raise NoConfigsFound(" ".join(folders))
    for conf in _loaded(files, conf_from_file, skipped):
        if conf.network.name == name:
            return conf
    raise NotFound(" ".join(folders), name)


def load_network_conf(folder: Folders, name: str, *, skipped: Skipped | None = None) -> NetworkConfigList:
    """The network of that name: the first list, else the first single plugin as a list (Go: ``LoadNetworkConf``).

    Raises ``NoConfigsFound``, ``NotFound``, and ``ConfigError`` for a bad file that is met before, unless ``skipped``
    takes it.
    """
    folders = folders_of(folder)
    files = _files(folders, LIST_SUFFIXES)
    for net in _loaded(files, network_conf_from_file, skipped):
        if net.name == name:
            return net
    try:
        return conf_list_from_conf(load_conf(folders, name, skipped=skipped))
    except NoConfigsFound:
        if files:
            raise NotFound(" ".join(folders), name) from None
        raise


def load_networks(folder: Folders, *, skipped: Skipped | None = None) -> list[NetworkConfigList]:
    """All networks of a folder, by file name; each is what ``load_network_conf`` returns for its name.

    No files, or no folder: none. Raises ``ConfigError`` for a bad file, unless ``skipped`` takes it.
    """
    found: dict[str, tuple[_Placed, NetworkConfigList]] = {}
    for suffixes in (LIST_SUFFIXES, SINGLE_SUFFIXES):
        for placed in _placed(folders_of(folder), suffixes):
            for net in _loaded([placed[2]], network_from_file, skipped):
                found.setdefault(net.name, (placed, net))
    return [net for _, net in sorted(found.values(), key=lambda one: one[0])]


def load_default_network(folder: Folders, name: str = "", *, skipped: Skipped | None = None) -> NetworkConfigList:
    """The network of that name; without one the first file's, which containerd and CRI-O take for the default.

    Raises ``NoConfigsFound``, ``NotFound``, and ``ConfigError`` for a bad file, unless ``skipped`` takes it.
    """
    if name:
        return load_network_conf(folder, name, skipped=skipped)
    folders = folders_of(folder)
    files = [placed[2] for placed in sorted(_placed(folders, (*LIST_SUFFIXES, *SINGLE_SUFFIXES)))]
    for net in _loaded(files, network_from_file, skipped):
        return net
    raise NoConfigsFound(" ".join(folders))


# A file with its place: the folder's number, then its name.
_Placed = tuple[int, bytes, str]


def _placed(folders: Sequence[str], suffixes: Sequence[str]) -> list[_Placed]:
    return [
        (number, os.fsencode(os.path.basename(file)), file)
        for number, folder in enumerate(folders)
        for file in _files([folder], suffixes)
    ]


def network_from_file(file: str) -> NetworkConfigList:
    """A network from a file of either kind."""
    if file.endswith(LIST_SUFFIXES):
        return network_conf_from_file(file)
    return conf_list_from_conf(conf_from_file(file))
