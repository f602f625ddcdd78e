"""Configurations from bytes: one plugin's object, or a network's list; errors tell the key and its place.

Rules and texts are the Go library's (SPEC.md, "Network configuration format"; `libcni/conf.go`). The keys of a list's
top level match exactly, those of a plugin's object without regard to case, the last one winning.
"""

from collections.abc import Mapping
from typing import Any

from cni import versions
from cni.errors import CNIError
from cni.wire import fold
from libcni import _gojson, _position
from libcni._errors import ConfigError
from libcni._inputs import Configuration, StrPath, data_of, path_of
from libcni._model import NetworkConfig, NetworkConfigList, PluginConf
from libcni._quoting import quote

_LIST = "error parsing configuration list: "
_PLUGIN = "error parsing configuration: "
_ABSENT = object()
_DNS_LISTS = ("nameservers", "search", "options")


class Source:
    """A text that is being read, and the file it came from: makes errors that point into it."""

    def __init__(self, data: bytes, file: str = "", base: _position.Path = (), seen: bool = True) -> None:
        """``base`` is the path of the part that is being read within the whole text.

        ``seen``: whether the caller knows the text, so that a place in it helps.
        """
        self.data = data
        self.file = file
        self.base = base
        self.seen = seen

    @classmethod
    def given(cls, data: Configuration, file: StrPath, prefix: str) -> "Source":
        """What a caller gave. Raises ``ConfigError`` for a document that JSON cannot hold."""
        try:
            return cls(data_of(data), path_of(file), seen=not isinstance(data, Mapping))
        except (TypeError, ValueError) as error:
            if not isinstance(data, Mapping):
                raise
            raise ConfigError(f"{prefix}{error}", path_of(file)) from None

    def fault(self, msg: str, *path: str | int) -> ConfigError:
        """The error for the value at ``path`` below the part that is being read."""
        whole = (*self.base, *path)
        text = _gojson.text_of(self.data)
        if not self.seen:
            return ConfigError(msg, self.file, None, whole)
        try:
            place = _position.locate(text, whole)
        except (ValueError, IndexError):  # not JSON: the position came with the decoder's error
            return ConfigError(msg, self.file)
        return ConfigError(msg, self.file, place, whole)

    def decode(self, prefix: str) -> Any:
        """The document; raises ``ConfigError`` with the place that is no JSON."""
        try:
            return _gojson.decode(self.data)
        except _gojson.JSONError as error:
            raise ConfigError(f"{prefix}{error}", self.file, _position.at(error.text, error.offset)) from None


def go_type(value: Any) -> str:
    """The name of the Go type that a JSON value has in Go's messages."""
    if value is None:
        return "<nil>"
    names: tuple[tuple[type, str], ...] = (
        (bool, "bool"), (int, "float64"), (float, "float64"), (str, "string"), (list, "[]interface {}"),
    )  # fmt: skip
    return next((name for kind, name in names if isinstance(value, kind)), "map[string]interface {}")


def conf_from_bytes(data: Configuration, file: StrPath = "") -> NetworkConfig:
    """One plugin's configuration (Go: ``NetworkPluginConfFromBytes``, ``ConfFromBytes``).

    ``data`` is JSON as bytes or text, or a document. Raises ``ConfigError``.
    """
    source = Source.given(data, file, _PLUGIN)
    return _plugin(source.decode(_PLUGIN), source.data, source)


def _plugin(document: Any, data: bytes, source: Source) -> NetworkConfig:
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise source.fault(f"{_PLUGIN}cannot use {go_type(document)} as a plugin's configuration, it must be an object")
    read = _Members(document, source)
    conf = PluginConf(
        type=read.string("type"),
        name=read.string("name"),
        cni_version=read.string("cniVersion"),
        capabilities=read.capabilities(),
        ipam_type=_Members(read.object("ipam"), source, "ipam").string("type"),
        dns=read.dns(),
    )
    read.object("prevResult")
    read.attachments("cni.dev/valid-attachments")
    if not conf.type:
        raise source.fault(f"{_PLUGIN}missing 'type'")
    return NetworkConfig(conf, data)


class _Members:
    """Reads the known keys of an object as Go's decoder does; a wrong type is an error, ``null`` leaves the default."""

    def __init__(self, document: Mapping[str, Any], source: Source, *path: str | int) -> None:
        self._source = source
        self._path = path
        self._found = {fold(name): value for name, value in document.items() if value is not None}

    def _value(self, name: str, kind: type, default: Any, wanted: str) -> Any:
        value = self._found.get(fold(name), default)
        if not isinstance(value, kind):
            where = ".".join([*map(str, self._path), name])
            msg = f"{_PLUGIN}cannot use {go_type(value)} for {where}, it must be {wanted}"
            raise self._source.fault(msg, *self._path, name)
        return value

    def string(self, name: str) -> str:
        value: str = self._value(name, str, "", "a string")
        return value

    def object(self, name: str) -> dict[str, Any]:
        value: dict[str, Any] = self._value(name, dict, {}, "an object")
        return value

    def capabilities(self) -> dict[str, bool]:
        found = self.object("capabilities")
        for name, value in found.items():
            if value is not None and not isinstance(value, bool):
                msg = f"{_PLUGIN}cannot use {go_type(value)} for capabilities.{name}, it must be true or false"
                raise self._source.fault(msg, "capabilities", name)
        return {name: bool(value) for name, value in found.items()}

    def dns(self) -> dict[str, Any]:
        dns = _Members(self.object("dns"), self._source, "dns")
        found = {"domain": dns.string("domain"), **{name: dns.strings(name) for name in _DNS_LISTS}}
        return {name: value for name, value in found.items() if value}

    def strings(self, name: str) -> list[str]:
        items: list[Any] = self._value(name, list, [], "a list of strings")
        for place, item in enumerate(items):
            if not isinstance(item, str | None):
                where = ".".join(map(str, (*self._path, name)))
                msg = f"{_PLUGIN}cannot use {go_type(item)} for {where}[{place}], it must be a string"
                raise self._source.fault(msg, *self._path, name, place)
        return [item or "" for item in items]

    def attachments(self, name: str) -> None:
        items: list[Any] = self._value(name, list, [], "a list of objects")
        for place, item in enumerate(items):
            if not isinstance(item, dict | None):
                msg = f"{_PLUGIN}cannot use {go_type(item)} for {name}[{place}], it must be an object"
                raise self._source.fault(msg, name, place)


def network_conf_from_bytes(data: Configuration, file: StrPath = "") -> NetworkConfigList:
    """A network's list (Go: ``NetworkConfFromBytes``, ``ConfListFromBytes``); never looks at the disk.

    ``data`` is JSON as bytes or text, or a document. The version is the highest of ``cniVersion`` and ``cniVersions``
    that is not above what this library knows. Raises ``ConfigError``.
    """
    source = Source.given(data, file, _LIST)
    document = source.decode(_LIST)
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise source.fault(f"{_LIST}cannot use {go_type(document)} as a list, it must be an object")
    only_inlined = _flag(document, "loadOnlyInlinedPlugins", source)
    return NetworkConfigList(
        name=_name(document, source),
        cni_version=_version(document, source),
        disable_check=_flag(document, "disableCheck", source),
        disable_gc=_flag(document, "disableGC", source),
        load_only_inlined_plugins=only_inlined,
        plugins=_plugins(document, source, only_inlined),
        bytes=source.data,
    )


def _name(document: dict[str, Any], source: Source) -> str:
    if "name" not in document:
        raise source.fault(f"{_LIST}no name")
    name = document["name"]
    if not isinstance(name, str):
        raise source.fault(f"{_LIST}invalid name type {go_type(name)}", "name")
    return name


def _number(text: str, source: Source, msg: str, *path: str | int) -> tuple[int, int, int]:
    try:
        return versions.number(text)
    except CNIError as error:
        raise source.fault(f"{_LIST}{msg}: {error}", *path) from None


def _version(document: dict[str, Any], source: Source) -> str:
    stated = document.get("cniVersion", "")
    if not isinstance(stated, str):
        raise source.fault(f"{_LIST}invalid cniVersion type {go_type(stated)}", "cniVersion")
    if "cniVersions" not in document:
        return stated
    entries = document["cniVersions"]
    if not isinstance(entries, list):
        raise source.fault(f"{_LIST}invalid type for cniVersions: []interface {{}}", "cniVersions")
    candidates: list[tuple[tuple[int, int, int], str]] = []
    for place, entry in enumerate(entries):
        if not isinstance(entry, str):
            msg = f"{_LIST}invalid type for cniVersions index {place}: {go_type(entry)}"
            raise source.fault(msg, "cniVersions", place)
        msg = f"invalid cniVersions entry {entry} at index {place}"
        candidates.append((_number(entry, source, msg, "cniVersions", place), entry))
    if stated:
        candidates.append((_number(stated, source, f"invalid cniVersion {stated}", "cniVersion"), stated))
    known = [candidate for candidate in candidates if candidate[0] <= versions.number(versions.CURRENT)]
    return max(known, key=lambda candidate: candidate[0])[1] if known else stated


def _flag(document: dict[str, Any], name: str, source: Source) -> bool:
    value = document.get(name, False)
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise source.fault(f"{_LIST}invalid type {go_type(value)} for {name}", name)
    if value.lower() not in ("true", "false"):
        raise source.fault(f"{_LIST}invalid value {quote(value.lower())} for {name}", name)
    return value.lower() == "true"


def _plugins(document: dict[str, Any], source: Source, only_inlined: bool) -> tuple[NetworkConfig, ...]:
    entries = document.get("plugins", _ABSENT)
    if entries is _ABSENT:
        if only_inlined:
            raise source.fault(f"{_LIST}`loadOnlyInlinedPlugins` is true, and no 'plugins' key")
        return ()
    if not isinstance(entries, list):
        raise source.fault(f"{_LIST}invalid 'plugins' type {go_type(entries)}", "plugins")
    if not entries:
        raise source.fault(f"{_LIST}no plugins in list", "plugins")
    return tuple(_entry(entry, place, source) for place, entry in enumerate(entries))


def _entry(entry: Any, place: int, source: Source) -> NetworkConfig:
    try:
        return _plugin(entry, _gojson.encode(entry), Source(source.data, source.file, ("plugins", place), source.seen))
    except ConfigError as error:
        msg = f"failed to parse plugin config {place}: {error.msg}"
        raise ConfigError(msg, error.file, error.position, error.path) from None


def conf_of(given: NetworkConfig | Configuration) -> NetworkConfig:
    """One plugin's configuration, parsed already or not."""
    return given if isinstance(given, NetworkConfig) else conf_from_bytes(given)


def conf_list_from_conf(single: NetworkConfig | Configuration) -> NetworkConfigList:
    """A single plugin's configuration as a list of one (Go: ``ConfListFromConf``).

    The entry keeps its name and version; raises ``ConfigError`` as ``network_conf_from_bytes`` does.
    """
    single = conf_of(single)
    document = Source(single.bytes).decode(_PLUGIN)
    head = {"name": single.network.name, "cniVersion": single.network.cni_version}
    return network_conf_from_bytes(_gojson.encode({**head, "plugins": [document]}))


def effective(net: NetworkConfigList) -> bytes:
    """The list's bytes; plugins that are not written there, those of the network's folder, stand among the others.

    So they get their DEL when the list is read from the cache, where that folder is out of sight.
    """
    try:
        document = _gojson.decode(net.bytes)
    except _gojson.JSONError:  # made by hand
        return net.bytes
    inlined = document.get("plugins", []) if isinstance(document, dict) else None
    if not isinstance(inlined, list) or len(inlined) >= len(net.plugins):
        return net.bytes
    more = [_gojson.decode(plugin.bytes) for plugin in net.plugins[len(inlined) :]]
    return _gojson.encode({**document, "loadOnlyInlinedPlugins": True, "plugins": [*inlined, *more]})
