"""Load configurations from files, in the order of the Go library (`libcni/conf.go`).

Lists (``.conflist``) come before single plugins (``.conf``, ``.json``), and each kind is sorted by file name. Of several
folders, the first one that has the network counts. A bad file ends the search with an error, so that another network
does not silently take its place. With ``skipped`` the search continues. Only regular files are read.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from cni import file_content
from cni.wire import fold
from libcni import _gojson
from libcni._configuration import conf_from_bytes, conf_list_from_conf, network_conf_from_bytes
from libcni._errors import ConfigError, NoConfigsFound, NotFound
from libcni._inputs import Folders, StrPath, Texts, folders_of, path_of, texts_of
from libcni._model import NetworkConfig, NetworkConfigList

DEFAULT_FOLDER = "/etc/cni/net.d"
LIST_SUFFIXES = (".conflist",)
SINGLE_SUFFIXES = (".conf", ".json")
_MAX_SIZE = 16 << 20
T = TypeVar("T")
# A function that is called with the error of each bad file. The file is then skipped.
Skipped = Callable[[ConfigError], object]


def _read(file: str) -> bytes:
    try:
        return file_content.read(file, _MAX_SIZE)
    except (OSError, ValueError) as error:
        raise ConfigError(f"error reading {file}: open {file}: {_reason(error).lower()}") from error


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def conf_from_file(file: StrPath) -> NetworkConfig:
    """Load one plugin's configuration (Go: ``ConfFromFile``). Raises ``ConfigError`` with the file, line and column."""
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
    """Load a list, and the plugins in the folder beside it that has the network's name (Go: ``NetworkConfFromFile``).

    The plugins in the list come first, then those in the folder, unless the list has ``loadOnlyInlinedPlugins``.
    ``bytes`` is the content of the file. Raises ``ConfigError``.
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
    """Whether a text is an object that has the key ``wanted`` and not the key ``without``, in any case."""
    try:
        document = _gojson.decode(data)
    except _gojson.JSONError:
        return False
    keys = {fold(name) for name in document} if isinstance(document, dict) else set()
    return fold(wanted) in keys and fold(without) not in keys


def network_plugin_confs_from_files(folder: StrPath, name: str) -> list[NetworkConfig]:
    """Load the plugins of a network from ``folder/name/*.conf``, sorted by file name. There may be no such folder.

    A name such as ``..``, or one with a slash, has no folder (Go reads it). Raises ``ConfigError``.
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
    """The paths of the files in a folder that have one of the suffixes, such as ``.conf``, sorted by name.

    Suffixes match in the same case. There may be no such folder. Raises ``ConfigError`` if it cannot be read.
    """
    return _files(folders_of(path_of(folder)), texts_of(suffixes))


def entries(folder: str, suffixes: Sequence[str]) -> list[str]:
    """As ``conf_files``. Raises ``OSError``, and ``ValueError`` for a path with a zero byte."""
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
    """Load the files. The error of a bad file is raised, or passed to ``skipped``."""
    for file in files:
        try:
            yield load(file)
        except ConfigError as error:
            if skipped is None:
                raise
            skipped(error)


def load_conf(folder: Folders, name: str, *, skipped: Skipped | None = None) -> NetworkConfig:
    """Load the first single plugin's configuration that has the name (Go: ``LoadConf``).

    Raises ``NoConfigsFound``, ``NotFound``, and ``ConfigError`` for a bad file that comes before it, unless ``skipped``
    is given.
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
    """Load the network with the name: the first list, or else the first single plugin (Go: ``LoadNetworkConf``).

    Raises ``NoConfigsFound``, ``NotFound``, and ``ConfigError`` for a bad file that comes before it, unless ``skipped``
    is given.
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
    """Load all networks of a folder, sorted by file name. Each is the one that ``load_network_conf`` returns.

    There may be no files and no folder. Raises ``ConfigError`` for a bad file, unless ``skipped`` is given.
    """
    found: dict[str, tuple[_SortKey, NetworkConfigList]] = {}
    for suffixes in (LIST_SUFFIXES, SINGLE_SUFFIXES):
        for key in _sort_keys(folders_of(folder), suffixes):
            for net in _loaded([key[2]], network_from_file, skipped):
                found.setdefault(net.name, (key, net))
    return [net for _, net in sorted(found.values(), key=lambda item: item[0])]


def load_default_network(folder: Folders, name: str = "", *, skipped: Skipped | None = None) -> NetworkConfigList:
    """Load the network with the name. Without a name: that of the first file, the default of containerd and CRI-O.

    Raises ``NoConfigsFound``, ``NotFound``, and ``ConfigError`` for a bad file, unless ``skipped`` is given.
    """
    if name:
        return load_network_conf(folder, name, skipped=skipped)
    folders = folders_of(folder)
    files = [key[2] for key in sorted(_sort_keys(folders, (*LIST_SUFFIXES, *SINGLE_SUFFIXES)))]
    for net in _loaded(files, network_from_file, skipped):
        return net
    raise NoConfigsFound(" ".join(folders))


# The number of a file's folder, its name, and its path.
_SortKey = tuple[int, bytes, str]


def _sort_keys(folders: Sequence[str], suffixes: Sequence[str]) -> list[_SortKey]:
    return [
        (number, os.fsencode(os.path.basename(file)), file)
        for number, folder in enumerate(folders)
        for file in _files([folder], suffixes)
    ]


def network_from_file(file: str) -> NetworkConfigList:
    """Load a network from a file of a list or of a single plugin."""
    if file.endswith(LIST_SUFFIXES):
        return network_conf_from_file(file)
    return conf_list_from_conf(conf_from_file(file))
