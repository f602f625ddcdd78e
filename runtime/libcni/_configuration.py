"""Parse configurations: one plugin's object, or the list of a network. Errors name the key, its line and column.

Rules and texts are those of the Go library (SPEC.md, "Network configuration format"; `libcni/conf.go`). The keys of a
list must match exactly. The keys of a plugin's object match in any case, and of several equal ones the last counts.
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
    """A text that is parsed, and its file. It makes errors that point into the text."""

    def __init__(self, data: bytes, file: str = "", base: _position.Path = (), text_is_known: bool = True) -> None:
        """``base`` is the path of the part that is parsed, within the whole text.

        ``text_is_known`` says whether the caller knows the text. If not, an error contains no line and column.
        """
        self.data = data
        self.file = file
        self.base = base
        self.text_is_known = text_is_known

    @classmethod
    def given(cls, data: Configuration, file: StrPath, prefix: str) -> "Source":
        """The source of a caller's configuration. Raises ``ConfigError`` if a mapping cannot be written as JSON."""
        try:
            return cls(data_of(data), path_of(file), text_is_known=not isinstance(data, Mapping))
        except (TypeError, ValueError) as error:
            if not isinstance(data, Mapping):
                raise
            raise ConfigError(f"{prefix}{error}", path_of(file)) from None

    def fault(self, msg: str, *path: str | int) -> ConfigError:
        """An error about the value at ``path``, relative to the part that is parsed."""
        whole = (*self.base, *path)
        text = _gojson.text_of(self.data)
        if not self.text_is_known:
            return ConfigError(msg, self.file, None, whole)
        try:
            place = _position.locate(text, whole)
        except (ValueError, IndexError):  # not JSON
            return ConfigError(msg, self.file)
        return ConfigError(msg, self.file, place, whole)

    def decode(self, prefix: str) -> Any:
        """Decode the text. Raises ``ConfigError`` with the place where it is not JSON."""
        try:
            return _gojson.decode(self.data)
        except _gojson.JSONError as error:
            raise ConfigError(f"{prefix}{error}", self.file, _position.at(error.text, error.offset)) from None


def go_type(value: Any) -> str:
    """The Go type of a JSON value, as Go's messages name it."""
    if value is None:
        return "<nil>"
    names: tuple[tuple[type, str], ...] = (
        (bool, "bool"), (int, "float64"), (float, "float64"), (str, "string"), (list, "[]interface {}"),
    )  # fmt: skip
    return next((name for kind, name in names if isinstance(value, kind)), "map[string]interface {}")


def conf_from_bytes(data: Configuration, file: StrPath = "") -> NetworkConfig:
    """Parse one plugin's configuration (Go: ``NetworkPluginConfFromBytes``, ``ConfFromBytes``).

    ``data`` is JSON as bytes or text, or a mapping. Raises ``ConfigError``.
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
    """Reads the known keys of an object as Go's decoder does. A wrong type is an error; ``null`` means the default."""

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
    """Parse the list of a network (Go: ``NetworkConfFromBytes``, ``ConfListFromBytes``). Reads no files.

    ``data`` is JSON as bytes or text, or a mapping. The version is the highest one of ``cniVersion`` and
    ``cniVersions``, up to the newest that this library supports. Raises ``ConfigError``.
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
        return _plugin(
            entry, _gojson.encode(entry), Source(source.data, source.file, ("plugins", place), source.text_is_known)
        )
    except ConfigError as error:
        msg = f"failed to parse plugin config {place}: {error.msg}"
        raise ConfigError(msg, error.file, error.position, error.path) from None


def conf_of(given: NetworkConfig | Configuration) -> NetworkConfig:
    """One plugin's configuration, which may already be parsed."""
    return given if isinstance(given, NetworkConfig) else conf_from_bytes(given)


def conf_list_from_conf(single: NetworkConfig | Configuration) -> NetworkConfigList:
    """Make a list of a single plugin's configuration (Go: ``ConfListFromConf``).

    The list gets the plugin's name and version. Raises ``ConfigError``, as ``network_conf_from_bytes`` does.
    """
    single = conf_of(single)
    document = Source(single.bytes).decode(_PLUGIN)
    head = {"name": single.network.name, "cniVersion": single.network.cni_version}
    return network_conf_from_bytes(_gojson.encode({**head, "plugins": [document]}))


def bytes_for_cache(net: NetworkConfigList) -> bytes:
    """The list as bytes, including the plugins from the network's folder, for the cache.

    A DEL that reads the list from the cache does not read that folder, and must run these plugins too.
    """
    try:
        document = _gojson.decode(net.bytes)
    except _gojson.JSONError:  # the caller made the list without JSON
        return net.bytes
    inlined = document.get("plugins", []) if isinstance(document, dict) else None
    if not isinstance(inlined, list) or len(inlined) >= len(net.plugins):
        return net.bytes
    more = [_gojson.decode(plugin.bytes) for plugin in net.plugins[len(inlined) :]]
    return _gojson.encode({**document, "loadOnlyInlinedPlugins": True, "plugins": [*inlined, *more]})
