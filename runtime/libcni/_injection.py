"""Add keys to a plugin's configuration before it is sent (spec section "Deriving request configuration")."""

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
    except (TypeError, ValueError) as error:  # for example a capability's value that JSON cannot express
        raise ConfigError(f"marshal network bytes: {error}") from None


def inject_conf(config: NetworkConfig | Configuration, values: Mapping[str, Any]) -> NetworkConfig:
    """The configuration with ``values`` added; they replace keys of the same name (Go: ``InjectConf``).

    Raises ``ConfigError`` if the configuration is not an object, a key is empty, a value is None, or the result has no
    ``type``.
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
    """The configuration for ADD, CHECK and DEL. Adds name, version, ``prevResult`` and ``runtimeConfig``."""
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
    """The configuration for GC. Adds name, version and, if ``args`` is given, the valid attachments."""
    values: dict[str, Any] = {"name": name, "cniVersion": version}
    if args is not None:
        listed = [attachment.document() for attachment in args.valid_attachments]
        # The second name is that of an earlier version of the specification.
        values |= {"cni.dev/valid-attachments": listed, "cni.dev/attachments": listed}
    return _with(config, values)


def for_status(config: NetworkConfig, name: str, version: str) -> NetworkConfig:
    """The configuration for STATUS. Adds name and version."""
    return _with(config, {"name": name, "cniVersion": version})
