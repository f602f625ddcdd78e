"""What each call of ``CNIConfig`` and ``AsyncCNIConfig`` does, as operations (see ``_requests``).

The order of plugins, the checks, ``prevResult`` and the error texts are those of the Go library (`libcni/api.go`), unless
an option changes them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from cni import versions
from cni.errors import UNKNOWN_CONTAINER, CNIError
from libcni import _environment, _injection, _results
from libcni._cache import Cache, is_gone
from libcni._cancellation import Deadline, UndoTime
from libcni._checks import args_fault, check_args, check_names
from libcni._configuration import bytes_for_cache, conf_from_bytes, network_conf_from_bytes
from libcni._errors import (
    CacheDamaged,
    CacheError,
    CheckNotSupported,
    CollectFailed,
    ConfigError,
    InvalidName,
    InvalidVersion,
    MissingArgs,
    PluginFailed,
    SeveralErrors,
    StepFailed,
    UnsupportedByPlugin,
    is_cancelled,
)
from libcni._execution import Finder
from libcni._interface import AsyncGCSource, AsyncSeveral
from libcni._locking import Attachment, HeldLocks, Locks
from libcni._log import logged
from libcni._model import (
    GCArgs,
    GCAttachment,
    NetworkAttachment,
    NetworkConfig,
    NetworkConfigList,
    PluginInfo,
    RuntimeConf,
)
from libcni._options import IgnoringErrors, Options
from libcni._quoting import quote
from libcni._requests import Ask, Execute, Operation, Work
from libcni._results import Result

_VERSION_PROBE = b'{"cniVersion":"%s"}' % versions.CURRENT.encode()
T = TypeVar("T")
G = TypeVar("G")


def _is_at_least(version: str, wanted: str) -> bool:
    try:
        return versions.number(version) >= versions.number(wanted)
    except CNIError as error:
        raise InvalidVersion(error.msg) from None


def _is_known_at_least(version: str, wanted: str) -> bool:
    """As ``_is_at_least``, but False for an invalid version: GC and STATUS skip it without an error."""
    try:
        return _is_at_least(version, wanted)
    except InvalidVersion:
        return False


class Attempt:
    """One ADD. It knows whether the attachment existed before: a failed ADD does not undo that one."""

    def __init__(self, cache: Cache, network: str, runtime: RuntimeConf) -> None:
        self._is_live = partial(cache.has_live_attachment, network, runtime)
        self._was_live = self._is_live()
        self.may_have_cached = False  # whether this ADD may have written the cache file
        self.recorded = False  # whether this ADD has written it before it ran a plugin

    @property
    def was_attached(self) -> bool:
        """Whether the attachment existed before, or another call without a lock has made it meanwhile."""
        return self._was_live or (not (self.may_have_cached or self.recorded) and self._is_live())


class Operations:
    """The calls of one ``CNIConfig``."""

    def __init__(self, path: Sequence[str], finder: Finder, cache: Cache, options: Options) -> None:
        self._path = tuple(path)
        self._finder = finder
        self._cache = cache
        # An error of the caller's own function must not stop a DEL.
        self._options = replace(options, report=IgnoringErrors(options.report))
        self._locks = Locks(options.lock_folder, options.lock_timeout)

    # --- one plugin

    def _run(
        self,
        verb: str,
        net: NetworkConfigList,
        plugin: NetworkConfig,
        previous: Result | None,
        runtime: RuntimeConf,
        cleanup: Deadline | None = None,
    ) -> Operation[bytes]:
        """Run a plugin for an attachment, and return its output. ``cleanup`` is that of ``Execute``."""
        path = self._find(plugin)
        if verb == "DEL":
            runtime = self._with_sendable_args(runtime)
        config = _injection.for_attachment(plugin, net.name, net.cni_version, previous, runtime)
        environ = _environment.for_attachment(verb, runtime, self._path)
        return (yield from logged(Execute(path, config.bytes, environ, cleanup)))

    def _with_sendable_args(self, runtime: RuntimeConf) -> RuntimeConf:
        """The attachment for DEL, without pairs that ``CNI_ARGS`` cannot contain.

        Another runtime's ADD may have used such pairs, and DEL must still be possible.
        """
        sendable = tuple(pair for pair in runtime.args if not args_fault(*pair))
        if len(sendable) == len(runtime.args):
            return runtime
        left_out = ", ".join(quote("=".join(pair)) for pair in runtime.args if pair not in sendable)
        self._options.report(f"DEL of {runtime.container_id} {runtime.if_name} leaves out CNI_ARGS {left_out}")
        return replace(runtime, args=sendable)

    def _find(self, plugin: NetworkConfig) -> str:
        return self._finder.find_in_path(plugin.network.type, self._path)

    def _add(
        self,
        net: NetworkConfigList,
        plugin: NetworkConfig,
        previous: Result | None,
        runtime: RuntimeConf,
        begun: list[NetworkConfig],
    ) -> Operation[Result]:
        self._find(plugin)  # as in Go, a missing plugin is reported before an invalid name
        check_names(runtime.container_id, net.name, runtime.if_name)
        begun.append(plugin)
        output = yield from self._run("ADD", net, plugin, previous, runtime)
        return _results.parse(output, net.cni_version)

    def _undo(
        self,
        net: NetworkConfigList,
        begun: Sequence[NetworkConfig],
        last: Result | None,
        runtime: RuntimeConf,
        error: BaseException,
    ) -> Operation[bool]:
        """Run DEL for the plugins that a failed ADD ran, in reverse order. Returns whether all are undone.

        Errors become notes of the ADD's error, and are reported. If all plugins are undone, the cache file is removed.
        Otherwise it stays for a later DEL or GC.
        """
        previous = last if _is_known_at_least(net.cni_version, "0.4.0") else None
        undone, time = 0, self.undo_time()
        for remaining in range(len(begun), 0, -1):
            plugin = begun[remaining - 1]
            try:
                yield from self._run("DEL", net, plugin, previous, runtime, time.share(remaining))
                undone += 1
            except Exception as failed:
                self.note(error, f"undoing plugin {plugin.network.describe()} failed: {failed}", net, runtime)
        if undone == len(net.plugins):
            self._forget(net, runtime)
        return undone == len(begun)

    def undo_time(self) -> UndoTime:
        """The time for undoing something. It begins now."""
        return UndoTime(self._options.undo_timeout)

    def note(self, error: BaseException, line: str, net: NetworkConfigList, runtime: RuntimeConf) -> None:
        """Add a line about what could not be undone to the error, and report it.

        It is reported because the error of a cancelled task may be lost.
        """
        error.add_note(line)
        self._options.report(f"ADD of {runtime.container_id} {runtime.if_name} in network {net.name}: {line}")

    def attempt(self, net: NetworkConfigList, runtime: RuntimeConf) -> "Attempt":
        """An ADD that begins now. The caller holds the locks."""
        return Attempt(self._cache, net.name, runtime)

    # --- lists

    def add_network_list(
        self, net: NetworkConfigList, runtime: RuntimeConf, single: bool = False, undo: bool | None = None
    ) -> Operation[Result]:
        """Run ADD of each plugin in order.

        With ``single`` the list has one plugin, and its errors are not wrapped. ``undo`` replaces the option
        ``undo_failed_add``.
        """
        with (yield from self._locked("ADD", net, runtime)):
            return (yield from self.attach(net, runtime, single, undo))

    def _locked(self, verb: str, net: NetworkConfigList, runtime: RuntimeConf) -> Operation[HeldLocks]:
        return self._locks.attachments(verb, [Attachment(net.name, runtime.container_id, runtime.if_name)])

    def attach(
        self,
        net: NetworkConfigList,
        runtime: RuntimeConf,
        single: bool = False,
        undo: bool | None = None,
        attempt: "Attempt | None" = None,
    ) -> Operation[Result]:
        """As ``add_network_list``. The caller holds the locks."""
        check_args(runtime.args)
        begun: list[NetworkConfig] = []
        result: Result | None = None
        undo = self._options.undo_failed_add if undo is None else undo
        attempt = attempt or self.attempt(net, runtime)
        config = net.bytes if single else bytes_for_cache(net)
        try:
            if self._options.record_before_add and not attempt.was_attached:
                yield from self._remember(net, lambda: self._cache.begin(net.name, config, runtime))
                attempt.recorded = True
            for plugin in net.plugins:
                step = self._add(net, plugin, result, runtime, begun)
                result = yield from (step if single else _with_plugin_name(plugin, "add", step))
            attempt.may_have_cached = True
            yield from self._remember(net, partial(self._cache.add, net.name, config, result, runtime))
        except BaseException as error:
            if undo and attempt.was_attached:
                error.add_note(f"network {net.name} was attached before: nothing was undone, DEL removes it")
            elif undo:
                undone = yield from self._undo(net, begun, result, runtime, error)
                if undone and attempt.recorded:
                    self._forget(net, runtime)
            raise
        return result or Result(net.cni_version if net.cni_version in versions.KNOWN else "0.1.0")

    def _remember(self, net: NetworkConfigList, write: Callable[[], None]) -> Operation[None]:
        try:
            yield Work(write)
        except (OSError, CacheError, TypeError, ValueError) as error:
            raise CacheError(f"failed to set network {quote(net.name)} cached result: {error}") from error

    def check_network_list(self, net: NetworkConfigList, runtime: RuntimeConf) -> Operation[None]:
        """Run CHECK of each plugin in order, each with the final result of ADD. The first error is raised."""
        if not _is_at_least(net.cni_version, "0.4.0"):
            raise CheckNotSupported(net.cni_version)
        if net.disable_check:
            return
        check_args(runtime.args)
        with (yield from self._locked("CHECK", net, runtime)):
            try:
                previous = self.get_network_list_cached_result(net, runtime)
            except CacheError as error:
                msg = f"failed to get network {quote(net.name)} cached result: {error}"
                raise type(error)(msg) from error
            for plugin in net.plugins:
                yield from self._run("CHECK", net, plugin, previous, runtime)

    def del_network_list(self, net: NetworkConfigList, runtime: RuntimeConf, single: bool = False) -> Operation[None]:
        """Run DEL of each plugin in reverse order, each with the final result of ADD. Stop at the first error.

        With ``delete_continues``, stop at the end.
        """
        with (yield from self._locked("DEL", net, runtime)):
            yield from self.detach(net, runtime, single)

    def detach(self, net: NetworkConfigList, runtime: RuntimeConf, single: bool = False) -> Operation[None]:
        """As ``del_network_list``. The caller holds the locks."""
        if self._options.delete_with_cached_config:
            net, runtime = self._as_cached(net, runtime, single)
        yield from self._delete(net, runtime, single)

    def _delete(self, net: NetworkConfigList, runtime: RuntimeConf, single: bool = False) -> Operation[None]:
        previous = self._previous_for_delete(net, runtime)
        errors: list[Exception] = []
        for plugin in reversed(net.plugins):
            step = self._run("DEL", net, plugin, previous, runtime)
            try:
                yield from (step if single else _with_plugin_name(plugin, "delete", step))
            except Exception as error:
                errors.append(error)
                if not self._options.delete_continues or is_cancelled(error):
                    break
        raise_together(errors)
        self._forget(net, runtime)

    def undo_network(
        self, net: NetworkConfigList, runtime: RuntimeConf, time: UndoTime, later: int = 0
    ) -> Operation[None]:
        """Run DEL of all plugins, to undo a call that failed or was cancelled. The caller holds the locks.

        Continues after errors, and raises them together; the cache file stays then. ``later`` is the number of plugins
        of other networks that share ``time`` and run after these.
        """
        if self._options.delete_with_cached_config:
            net, runtime = self._as_cached(net, runtime, single=False)
        previous = self._previous_for_delete(net, runtime)
        errors: list[Exception] = []
        for remaining in range(len(net.plugins), 0, -1):
            plugin = net.plugins[remaining - 1]
            try:
                step = self._run("DEL", net, plugin, previous, runtime, time.share(remaining + later))
                yield from _with_plugin_name(plugin, "delete", step)
            except Exception as error:
                errors.append(error)
        raise_together(errors)
        self._forget(net, runtime)

    def release(self, net: NetworkConfigList, runtime: RuntimeConf, failed: bool) -> Operation[None]:
        """Remove the attachment at the end of a ``with`` block. ``failed`` says whether the block raised an error."""
        return remove_or_undo(
            failed, lambda: self.del_network_list(net, runtime), lambda: self._release_undoing(net, runtime)
        )

    def _release_undoing(self, net: NetworkConfigList, runtime: RuntimeConf) -> Operation[None]:
        """Undo the attachment. ``undo_timeout`` includes the wait for the lock. An error is raised and reported."""
        time = self.undo_time()
        what = [Attachment(net.name, runtime.container_id, runtime.if_name)]
        try:
            with (yield from self._locks.undoing(time.left).attachments("DEL", what)):
                yield from self.undo_network(net, runtime, time)
        except Exception as error:
            self.report_not_removed(net, runtime, error)
            raise

    def report_not_removed(self, net: NetworkConfigList, runtime: RuntimeConf, error: Exception) -> None:
        """Report what could not be removed at the end of a block. The error of a cancelled task may be lost."""
        self._options.report(f"DEL of {runtime.container_id} {runtime.if_name} in network {net.name}: {error}")

    def _previous_for_delete(self, net: NetworkConfigList, runtime: RuntimeConf) -> Result | None:
        if not _is_at_least(net.cni_version, "0.4.0"):
            return None
        try:
            return self._cache.result(net.name, net.cni_version, runtime)
        except CacheError as error:
            self._options.report(f"{error}: the file is removed, DEL goes on without the result of ADD")
            self._forget(net, runtime)
            return None

    def _forget(self, net: NetworkConfigList, runtime: RuntimeConf) -> None:
        try:
            self._cache.remove(net.name, runtime)
        except (OSError, CacheError, ValueError) as error:
            self._options.report(f"the cache file of {runtime.container_id} in {net.name} cannot be removed: {error}")

    def _as_cached(
        self, net: NetworkConfigList, runtime: RuntimeConf, single: bool
    ) -> tuple[NetworkConfigList, RuntimeConf]:
        """The list and the arguments that ADD used, from the cache. Without a usable cache file: the given ones."""
        try:
            cached = self._cache.config(net.name, runtime)
            if cached is None:
                return net, runtime
            data, runtime_of_add = cached
            added = as_list(conf_from_bytes(data)) if single else _with_folder(network_conf_from_bytes(data), net)
            if not added.plugins:  # ADD used the configuration of one plugin, not a list
                raise ConfigError(f"the cached configuration of network {quote(net.name)} has no plugins")
            return added, runtime_of_add
        except (CacheError, ConfigError) as error:
            self._options.report(f"{error}: DEL uses the configuration that it was given")
            return net, runtime

    def get_network_list_cached_result(self, net: NetworkConfigList, runtime: RuntimeConf) -> Result | None:
        """The cached result, in the version of the list."""
        try:
            return self._cache.result(net.name, net.cni_version, runtime)
        except CacheDamaged as error:
            if not self._options.tolerate_damaged_cache:
                raise
            self._options.report(f"{error}: treated as no result")
            return None

    def get_network_list_cached_config(
        self, net: NetworkConfigList, runtime: RuntimeConf
    ) -> tuple[bytes, RuntimeConf] | None:
        """The cached configuration and arguments."""
        try:
            return self._cache.config(net.name, runtime)
        except CacheDamaged as error:
            if not self._options.tolerate_damaged_cache:
                raise
            self._options.report(f"{error}: treated as no configuration")
            return None

    # --- what plugins support

    def get_version_info(self, plugin: str) -> Operation[PluginInfo]:
        """Run VERSION of one plugin."""
        path = self._finder.find_in_path(plugin, self._path)
        try:
            output = yield from logged(Execute(path, _VERSION_PROBE, _environment.for_version()))
        except PluginFailed as error:
            if str(error) == "unknown CNI_COMMAND: VERSION":
                return PluginInfo("0.1.0", ("0.1.0",))
            raise
        return self._finder.decode(output)

    def _validate(self, plugin: str, version: str) -> Operation[None]:
        info = yield from self.get_version_info(plugin)
        if (version or "0.1.0") not in info.supported_versions:
            wanted = quote(version or "0.1.0")
            raise UnsupportedByPlugin(f"plugin {plugin} does not support config version {wanted}")

    def validate_network_list(self, net: NetworkConfigList) -> Operation[list[str]]:
        """Run VERSION of each plugin, and return the enabled capabilities."""
        errors: list[Exception] = []
        for plugin in net.plugins:
            try:
                yield from self._validate(plugin.network.type, net.cni_version)
            except Exception as error:
                errors.append(error)
        if errors:
            raise SeveralErrors(errors, brackets=True)
        return _capabilities(net.plugins)

    def validate_network(self, plugin: NetworkConfig) -> Operation[list[str]]:
        """Run VERSION of one plugin, and return its enabled capabilities."""
        yield from self._validate(plugin.network.type, plugin.network.cni_version)
        return _capabilities([plugin])

    def get_status_network_list(self, net: NetworkConfigList) -> Operation[None]:
        """Run STATUS of each plugin in order. The first error is raised. Below 1.1.0 only look for the plugins."""
        has_status = _is_known_at_least(net.cni_version, "1.1.0")
        for plugin in net.plugins:
            path = self._find(plugin)
            if has_status:
                config = _injection.for_status(plugin, net.name, net.cni_version)
                environ = _environment.for_network("STATUS", self._path)
                yield from logged(Execute(path, config.bytes, environ))

    # --- garbage

    def get_cached_attachments(self, container_id: str) -> list[NetworkAttachment]:
        """The attachments of a container, or of all."""
        found, damaged = self._cache.attachments(container_id)
        for path in damaged:
            self._options.report(f"cache file {path} is damaged or of another kind: skipped")
        return found

    def del_cached_attachments(self, container_id: str) -> Operation[None]:
        """Run DEL for all cached attachments of a container, with the configurations that ADD used.

        Continues after errors.
        """
        if not container_id:  # an empty id would select all attachments of the node
            raise InvalidName("missing containerID", "the id of the container to remove", UNKNOWN_CONTAINER)
        errors: list[Exception] = []
        for cached in self.get_cached_attachments(container_id):
            what = f"failed to delete attachment {cached.container_id} {cached.if_name} of network {cached.network}"
            yield from _collect_error(errors, what, self._delete_cached(cached))
            if errors and is_cancelled(errors[-1]):
                break
        if errors:
            raise SeveralErrors(errors)

    def _delete_cached(self, found: NetworkAttachment) -> Operation[None]:
        runtime = found.runtime_conf()
        if is_gone(found.netns):
            runtime = replace(runtime, netns="")  # some plugins fail if the path does not exist
        what = Attachment(found.network, found.container_id, found.if_name)
        with (yield from self._locks.attachments("DEL", [what])):
            cached = self._cache.config(found.network, runtime)
            if cached is None:
                return  # another call has removed it meanwhile
            data, runtime = cached
            if not data:
                raise CacheError(f"the cache has no configuration of network {quote(found.network)}")
            yield from self._delete(replace(_list_or_plugin(data), name=found.network), runtime)

    def gc_network_lists(self, nets: Iterable[NetworkConfigList], args: AsyncSeveral | None) -> Operation[None]:
        """Run GC of several networks. Read the cache once. Continue after errors.

        ``args`` None is Go's nil: no attachment is valid, and the plugins get no list. No public method passes it.
        """
        nets = [net for net in nets if not net.disable_gc]
        if isinstance(args, Mapping) and (missing := [quote(net.name) for net in nets if net.name not in args]):
            # A default of None would mean that no attachment is valid.
            raise MissingArgs(f"no GC arguments for network {', '.join(missing)}: nothing was removed")
        try:
            cached = self.get_cached_attachments("")
        except CacheError as error:
            self._options.report(f"{error}: GC removes nothing")
            return  # as in Go
        errors: list[Exception] = []
        for net in nets:
            own = args[net.name] if isinstance(args, Mapping) else args
            try:
                held = yield from self._locks.network(net.name)
            except Exception as error:
                errors.append(error)
                continue
            with held:
                what = f"the valid attachments of network {net.name} are not known, nothing was removed"
                valid = yield from _collect_error(errors, what, _ask_valid(own))
                if valid is not None:
                    yield from self._collect(net, valid.args, cached, errors)
        if errors:
            raise SeveralErrors(errors)

    def _collect(
        self,
        net: NetworkConfigList,
        args: GCArgs | None,
        cached: Sequence[NetworkAttachment],
        errors: list[Exception],
    ) -> Operation[None]:
        valid = set(args.valid_attachments) if args is not None else set()
        for stale in cached:
            if stale.network != net.name or GCAttachment(stale.container_id, stale.if_name) in valid:
                continue
            runtime = stale.runtime_conf()
            what = f"failed to delete stale attachment {stale.container_id} {stale.if_name}"
            added = net
            if self._options.delete_with_cached_config:
                added, runtime = self._as_cached(net, runtime, single=False)
            yield from _collect_error(errors, what, self._delete(added, runtime))
        if _is_known_at_least(net.cni_version, "1.1.0"):
            for plugin in net.plugins:
                what = f"failed to GC plugin {plugin.network.type}"
                yield from _collect_error(errors, what, self._gc(net, plugin, args))

    def _gc(self, net: NetworkConfigList, plugin: NetworkConfig, args: GCArgs | None) -> Operation[None]:
        config = _injection.for_gc(plugin, net.name, net.cni_version, args)
        yield from logged(Execute(self._find(plugin), config.bytes, _environment.for_network("GC", self._path)))


def as_list(plugin: NetworkConfig) -> NetworkConfigList:
    """One plugin's configuration as a list, with its own name, version and bytes, for the calls without a list."""
    return NetworkConfigList(plugin.network.name, plugin.network.cni_version, (plugin,), bytes=plugin.bytes)


def remove_or_undo(
    failed: bool, remove: Callable[[], Operation[None]], undo: Callable[[], Operation[None]]
) -> Operation[None]:
    """The end of a ``with`` block: remove, or undo if the block failed or the removal itself is cancelled."""
    if failed:
        yield from undo()
        return
    try:
        yield from remove()
    except Exception:
        raise
    except BaseException:  # a cancellation or Ctrl-C: undoing is not cancelled
        yield from undo()
        raise


def _list_or_plugin(data: bytes) -> NetworkConfigList:
    """The configuration that ADD used: a list, or that of one plugin."""
    try:
        net = network_conf_from_bytes(data)
    except ConfigError as error:
        try:
            return as_list(conf_from_bytes(data))
        except ConfigError:
            raise error from None
    return net if net.plugins else as_list(conf_from_bytes(data))


def _with_plugin_name(plugin: NetworkConfig, deed: str, operation: Operation[T]) -> Operation[T]:
    """Run the operation. Wrap its error into a ``StepFailed`` with the plugin's name."""
    try:
        return (yield from operation)
    except Exception as error:
        raise StepFailed(plugin.network.describe(), deed, error) from error


def _collect_error(errors: list[Exception], what: str, operation: Operation[T]) -> Operation[T | None]:
    """Run the operation. If it fails, append the error to ``errors`` and return None."""
    try:
        return (yield from operation)
    except Exception as error:
        failed = CollectFailed(what, error)
        failed.__cause__ = error
        errors.append(failed)
        return None


def raise_together(errors: Sequence[Exception]) -> None:
    """Raise the error if there is one, or ``SeveralErrors`` if there are several."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise SeveralErrors(errors)


@dataclass(frozen=True, slots=True)
class _Valid:
    """The attachments that GC keeps in one network."""

    args: GCArgs | None


def checked_gc_args(args: G) -> G:
    """The same arguments of GC. Raises ``TypeError`` if they name no valid attachments: GC would remove everything."""
    for value in args.values() if isinstance(args, Mapping) else [args]:
        if not (isinstance(value, GCArgs) or callable(value)):
            raise TypeError(
                f"args must be GCArgs or a function that returns the valid attachments, not {type(value).__name__}; "
                "GCArgs([]) removes every attachment"
            )
    return args


def _ask_valid(args: GCArgs | AsyncGCSource | None) -> Operation[_Valid]:
    """The attachments that GC keeps. A function is called now, while the network is locked."""
    if args is None or isinstance(args, GCArgs):
        return _Valid(args)
    returned = yield Ask(args)
    return _Valid(returned if isinstance(returned, GCArgs) else GCArgs(returned))


def _capabilities(plugins: Iterable[NetworkConfig]) -> list[str]:
    found = {name for plugin in plugins for name, wanted in plugin.network.capabilities.items() if wanted}
    return sorted(found)


def _with_folder(cached: NetworkConfigList, given: NetworkConfigList) -> NetworkConfigList:
    """The cached list. Plugins from the network's folder that are not in it are taken from the given list."""
    if cached.load_only_inlined_plugins:
        return cached
    inlined = len(network_conf_from_bytes(given.bytes).plugins) if given.bytes else len(given.plugins)
    return replace(cached, plugins=(*cached.plugins, *given.plugins[inlined:]))
