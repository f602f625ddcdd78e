"""What the library writes into a plugin's configuration before it is sent (spec "Deriving request configuration")."""

from collections.abc import Mapping
from typing import Any

from libcni import _gojson
from libcni._configuration import conf_from_bytes, conf_of
from libcni._errors import ConfigError
from libcni._inputs import Configuration
from libcni._model import GCArgs, NetworkConfig, RuntimeConf
from libcni._results import Result


def _object(config: NetworkConfig) -> dict[str, Any]:
    try:
        document = _gojson.decode(config.bytes)
    except _gojson.JSONError as error:
        raise ConfigError(f"unmarshal existing network bytes: {error}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError("unmarshal existing network bytes: the configuration must be an object")
    return document


def _with(config: NetworkConfig, values: Mapping[str, Any]) -> NetworkConfig:
    document = {**_object(config), **values}
    try:
        return conf_from_bytes(_gojson.encode(document))
    except (TypeError, ValueError) as error:  # a capability's value, say, that JSON cannot hold
        raise ConfigError(f"marshal network bytes: {error}") from None


def inject_conf(config: NetworkConfig | Configuration, values: Mapping[str, Any]) -> NetworkConfig:
    """The configuration with ``values`` set over its own keys (Go: ``InjectConf``).

    Raises ``ConfigError`` when the bytes are no object, a key is empty, a value is None, or ``type`` is missing then.
    """
    for name, value in values.items():
        if not name:
            raise ConfigError("keys cannot be empty")
        if value is None:
            raise ConfigError(f"key '{name}' value must not be nil")
    return _with(conf_of(config), values)


def for_attachment(
    config: NetworkConfig, name: str, version: str, previous: Result | None, runtime: RuntimeConf
) -> NetworkConfig:
    """The configuration of ADD, CHECK and DEL: with name, version, ``prevResult`` and ``runtimeConfig``."""
    values: dict[str, Any] = {"name": name, "cniVersion": version}
    if previous is not None:
        values["prevResult"] = previous.document()
    granted = {
        capability: runtime.capability_args[capability]
        for capability, wanted in config.network.capabilities.items()
        if wanted and capability in runtime.capability_args
    }
    if granted:
        values["runtimeConfig"] = granted
    return _with(config, values)


def for_gc(config: NetworkConfig, name: str, version: str, args: GCArgs | None) -> NetworkConfig:
    """The configuration of GC; without ``args`` the keys of valid attachments are left out."""
    values: dict[str, Any] = {"name": name, "cniVersion": version}
    if args is not None:
        listed = [attachment.document() for attachment in args.valid_attachments]
        # an earlier text of the specification had the second name
        values |= {"cni.dev/valid-attachments": listed, "cni.dev/attachments": listed}
    return _with(config, values)


def for_status(config: NetworkConfig, name: str, version: str) -> NetworkConfig:
    """The configuration of STATUS: with name and version alone."""
    return _with(config, {"name": name, "cniVersion": version})
