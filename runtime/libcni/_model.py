"""Value objects: configurations, the parameters of an attachment, the arguments of GC.

Each has the fields of the Go library's type of the same name, in Python's spelling. That is why some have more than
five. Nothing here reads a file or runs a plugin.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from libcni._inputs import Pairs, StrPath, data_of, members_of, pairs_of, path_of, texts_of
from libcni._quoting import quote


@dataclass(frozen=True, slots=True, init=False)
class RuntimeConf:
    """An attachment: the parameters of ADD, CHECK and DEL (spec section "Parameters").

    ``netns`` is the path of the network namespace; for DEL it may be empty. ``args`` are the pairs of ``CNI_ARGS``, as a
    sequence or a mapping. ``capability_args`` are values by capability; a plugin gets those that it declares.
    ``cache_dir`` is Go's deprecated ``CacheDir``: it is used if ``CNIConfig`` was given no cache folder.
    """

    container_id: str
    netns: str
    if_name: str
    args: Sequence[tuple[str, str]]
    capability_args: Mapping[str, Any]
    cache_dir: str

    def __init__(
        self,
        container_id: str = "",
        netns: StrPath = "",
        if_name: str = "",
        args: Pairs = (),
        capability_args: Mapping[str, Any] | None = None,
        cache_dir: StrPath = "",
    ) -> None:
        given = {} if capability_args is None else members_of(capability_args, "capability_args")
        object.__setattr__(self, "container_id", container_id)
        object.__setattr__(self, "netns", path_of(netns))
        object.__setattr__(self, "if_name", if_name)
        object.__setattr__(self, "args", pairs_of(args, "args"))
        object.__setattr__(self, "capability_args", given)
        object.__setattr__(self, "cache_dir", path_of(cache_dir))


@dataclass(frozen=True, slots=True)
class PluginConf:
    """The keys of a plugin's configuration that the library itself uses (Go: ``types.PluginConf``).

    ``dns`` has only the members that are not empty.
    """

    type: str
    name: str = ""
    cni_version: str = ""
    capabilities: Mapping[str, bool] = field(default_factory=dict)
    ipam_type: str = ""
    dns: Mapping[str, Any] = field(default_factory=dict)

    def describe(self) -> str:
        """``type="bridge" name="x"``, as in the message of ``StepFailed``."""
        return f"type={quote(self.type)} name={quote(self.name)}" if self.name else f"type={quote(self.type)}"


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """One plugin's configuration: the parsed keys, and the JSON object that the plugin gets, with keys added."""

    network: PluginConf
    bytes: bytes

    def __post_init__(self) -> None:
        object.__setattr__(self, "bytes", data_of(self.bytes))


@dataclass(frozen=True, slots=True)
class NetworkConfigList:
    """A network: its name, its version, its plugins in order, and the content of its file."""

    name: str
    cni_version: str = ""
    plugins: Sequence[NetworkConfig] = ()
    disable_check: bool = False
    disable_gc: bool = False
    load_only_inlined_plugins: bool = False
    bytes: bytes = b""

    def __post_init__(self) -> None:
        object.__setattr__(self, "bytes", data_of(self.bytes))


@dataclass(frozen=True, slots=True)
class NetworkAttachment:
    """An attachment from the cache. ``config`` is the configuration that ADD used."""

    container_id: str
    network: str
    if_name: str
    config: bytes = b""
    netns: str = ""
    cni_args: Sequence[tuple[str, str]] = ()
    capability_args: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cni_args", pairs_of(self.cni_args, "cni_args"))

    def runtime_conf(self) -> RuntimeConf:
        """The parameters that ADD used, for another call."""
        return RuntimeConf(self.container_id, self.netns, self.if_name, self.cni_args, self.capability_args)

    def gc_attachment(self) -> "GCAttachment":
        """The attachment as one that GC must keep."""
        return GCAttachment(self.container_id, self.if_name)


@dataclass(frozen=True, slots=True)
class GCAttachment:
    """An attachment that GC must keep."""

    container_id: str
    if_name: str

    def document(self) -> dict[str, str]:
        """The specification's JSON object."""
        return {"containerID": self.container_id, "ifname": self.if_name}


@dataclass(frozen=True, slots=True)
class GCArgs:
    """The attachments that GC keeps. The list has no default, because an empty list removes every attachment.

    Raises ``TypeError`` for anything but a list of ``GCAttachment``.
    """

    valid_attachments: Sequence[GCAttachment]

    def __post_init__(self) -> None:
        given: Any = self.valid_attachments
        listed = tuple(given) if isinstance(given, Iterable) else (given,)
        for item in listed:
            if not isinstance(item, GCAttachment):
                raise TypeError(f"valid_attachments must be a list of GCAttachment, not of {type(item).__name__}")
        object.__setattr__(self, "valid_attachments", listed)


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """A plugin's answer to VERSION."""

    cni_version: str
    supported_versions: Sequence[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "supported_versions", texts_of(self.supported_versions))
