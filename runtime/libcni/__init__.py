"""Drive CNI plugins from Python, as a container runtime does. See docs/runtime.md.

``CNIConfig`` runs the plugins of a network. ``AsyncCNIConfig`` does the same under asyncio. ``libcni.containerd`` is
containerd's interface on top of it, and ``libcni.cnitool`` is the command. All of them behave like the Go libraries,
and read and write the same files.
"""

from cni import versions as _versions
from libcni._aiocniconfig import AsyncCNIConfig, Threaded
from libcni._attached import AsyncAttached, Attached
from libcni._cancellation import Cancellation, Deadline
from libcni._cniconfig import CNIConfig
from libcni._configuration import conf_from_bytes, conf_list_from_conf, network_conf_from_bytes
from libcni._errors import (
    CacheDamaged,
    CacheError,
    CallCancelled,
    CheckNotSupported,
    CNIError,
    CollectFailed,
    CollectTimeout,
    ConfigError,
    FunctionTimeout,
    InvalidArgs,
    InvalidName,
    InvalidVersion,
    LibcniError,
    Locked,
    LockFailed,
    MissingArgs,
    NoConfigsFound,
    NotFound,
    PluginFailed,
    PluginNotFound,
    PluginTimeout,
    ResultError,
    SeveralErrors,
    SeveralTimeout,
    StepFailed,
    StepTimeout,
    UnsupportedByPlugin,
    VersionInfoError,
    code_of,
    is_cancelled,
    is_timeout,
)
from libcni._execution import AsyncExec, Exec, PluginFinder, ProcessExec
from libcni._exports import show_as_public as _show_as_public
from libcni._injection import inject_conf
from libcni._interface import CNI, AsyncCNI
from libcni._loading import (
    conf_files,
    conf_from_file,
    load_conf,
    load_default_network,
    load_network_conf,
    load_networks,
    network_conf_from_file,
    network_plugin_confs_from_files,
)
from libcni._model import (
    GCArgs,
    GCAttachment,
    NetworkAttachment,
    NetworkConfig,
    NetworkConfigList,
    PluginConf,
    PluginInfo,
    RuntimeConf,
)
from libcni._options import Options
from libcni._ownbuild import OwnBuildExec
from libcni._results import DNS, Interface, IPConfig, Result, Route

__version__ = _versions.RELEASE

# The Go library renamed these functions. Both names work there, and here.
conf_list_from_bytes = network_conf_from_bytes
conf_list_from_file = network_conf_from_file
load_conf_list = load_network_conf
network_plugin_conf_from_bytes = conf_from_bytes

__all__ = [
    "CNI",
    "DNS",
    "AsyncAttached",
    "AsyncCNI",
    "AsyncCNIConfig",
    "AsyncExec",
    "Attached",
    "CNIConfig",
    "CNIError",
    "CacheDamaged",
    "CacheError",
    "CallCancelled",
    "Cancellation",
    "CheckNotSupported",
    "CollectFailed",
    "CollectTimeout",
    "ConfigError",
    "Deadline",
    "Exec",
    "FunctionTimeout",
    "GCArgs",
    "GCAttachment",
    "IPConfig",
    "Interface",
    "InvalidArgs",
    "InvalidName",
    "InvalidVersion",
    "LibcniError",
    "LockFailed",
    "Locked",
    "MissingArgs",
    "NetworkAttachment",
    "NetworkConfig",
    "NetworkConfigList",
    "NoConfigsFound",
    "NotFound",
    "Options",
    "OwnBuildExec",
    "PluginConf",
    "PluginFailed",
    "PluginFinder",
    "PluginInfo",
    "PluginNotFound",
    "PluginTimeout",
    "ProcessExec",
    "Result",
    "ResultError",
    "Route",
    "RuntimeConf",
    "SeveralErrors",
    "SeveralTimeout",
    "StepFailed",
    "StepTimeout",
    "Threaded",
    "UnsupportedByPlugin",
    "VersionInfoError",
    "__version__",
    "code_of",
    "conf_files",
    "conf_from_bytes",
    "conf_from_file",
    "conf_list_from_bytes",
    "conf_list_from_conf",
    "conf_list_from_file",
    "inject_conf",
    "is_cancelled",
    "is_timeout",
    "load_conf",
    "load_conf_list",
    "load_default_network",
    "load_network_conf",
    "load_networks",
    "network_conf_from_bytes",
    "network_conf_from_file",
    "network_plugin_conf_from_bytes",
    "network_plugin_confs_from_files",
]

_show_as_public(globals())
