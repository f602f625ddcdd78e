"""What a container runtime needs to drive CNI plugins: configurations, execution, the cache. See docs/runtime.md.

``CNIConfig`` is the container-networking interface, ``AsyncCNIConfig`` its asyncio form; ``libcni.containerd`` is
containerd's interface on top, ``libcni.cnitool`` the command. Semantics and files are those of the Go libraries.
"""

from cni import versions
from libcni.aiocniconfig import AsyncCNIConfig, Threaded
from libcni.attached import AsyncAttached, Attached
from libcni.cancellation import Cancellation, Deadline
from libcni.cniconfig import CNIConfig
from libcni.configuration import conf_from_bytes, conf_list_from_conf, network_conf_from_bytes
from libcni.errors import (
    CacheDamaged,
    CacheError,
    CallCancelled,
    CheckNotSupported,
    CNIError,
    CollectFailed,
    CollectTimeout,
    ConfigError,
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
from libcni.execution import AsyncExec, Exec, PluginFinder, ProcessExec
from libcni.injection import inject_conf
from libcni.interface import CNI, AsyncCNI
from libcni.loading import (
    conf_files,
    conf_from_file,
    load_conf,
    load_default_network,
    load_network_conf,
    load_networks,
    network_conf_from_file,
    network_plugin_confs_from_files,
)
from libcni.model import (
    GCArgs,
    GCAttachment,
    NetworkAttachment,
    NetworkConfig,
    NetworkConfigList,
    PluginConf,
    PluginInfo,
    RuntimeConf,
)
from libcni.options import Options
from libcni.ownbuild import OwnBuildExec
from libcni.results import DNS, Interface, IPConfig, Result, Route

__version__ = versions.RELEASE

# The Go library's later names of the same functions.
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
