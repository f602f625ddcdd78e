"""What each call does, once, for both forms: generators that ask for executions and never wait themselves.

Order, refusals, ``prevResult`` and error texts are the Go library's (`libcni/api.go`); what an option changes says so.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from cni import versions
from cni.errors import UNKNOWN_CONTAINER, CNIError
from libcni import _environment, _injection, _results
from libcni._cache import Cache, is_gone
from libcni._cancellation import Deadline, UndoTime
from libcni._checks import args_fault, check_args, check_names
from libcni._configuration import conf_from_bytes, effective, network_conf_from_bytes
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
from libcni._locking import Attachment, Held, Locks
from libcni._log import executed
from libcni._model import (
    GCArgs,
    GCAttachment,
    NetworkAttachment,
    NetworkConfig,
    NetworkConfigList,
    PluginInfo,
    RuntimeConf,
)
from libcni._options import Guarded, Options
from libcni._quoting import quote
from libcni._requests import Ask, Execute, Operation, Work
from libcni._results import Result

_VERSION_PROBE = b'{"cniVersion":"%s"}' % versions.CURRENT.encode()
T = TypeVar("T")
G = TypeVar("G")


def _reaches(version: str, wanted: str) -> bool:
    try:
        return versions.number(version) >= versions.number(wanted)
    except CNIError as error:
        raise InvalidVersion(error.msg) from None


def _reaches_quietly(version: str, wanted: str) -> bool:
    """GC and STATUS take what is no version for too old, and say nothing."""
    try:
        return _reaches(version, wanted)
    except InvalidVersion:
        return False


class Attempt:
    """One ADD of an attachment, which may meet one that is there already: that one is not undone when it fails."""

    def __init__(self, cache: Cache, network: str, runtime: RuntimeConf) -> None:
        self._holds_living = partial(cache.holds_living, network, runtime)
        self._met = self._holds_living()
        self.caches = False  # whether what the cache has may be this ADD's own

    @property
    def met_another(self) -> bool:
        """Whether there was one before, or another call, which had no lock, has made one meanwhile."""
        return self._met or (not self.caches and self._holds_living())


class Operations:
    """The calls of one ``CNIConfig``."""

    def __init__(self, path: Sequence[str], finder: Finder, cache: Cache, options: Options) -> None:
        self._path = tuple(path)
        self._finder = finder
        self._cache = cache
        # what a caller's own function raises must not end a DEL half-way
        self._options = replace(options, report=Guarded(options.report))
        self._locks = Locks(options.lock_folder, options.lock_timeout)

    # --- one execution

    def _run(
        self,
        verb: str,
        net: NetworkConfigList,
        plugin: NetworkConfig,
        previous: Result | None,
        runtime: RuntimeConf,
        cleanup: Deadline | None = None,
    ) -> Operation[bytes]:
        """One plugin for one attachment; the answer is what it printed. ``cleanup``: see ``_requests.Execute``."""
        path = self._find(plugin)
        if verb == "DEL":
            runtime = self._with_sendable_args(runtime)
        config = _injection.for_attachment(plugin, net.name, net.cni_version, previous, runtime)
        environ = _environment.for_attachment(verb, runtime, self._path)
        return (yield from executed(Execute(path, config.bytes, environ, cleanup)))

    def _with_sendable_args(self, runtime: RuntimeConf) -> RuntimeConf:
        """The attachment for DEL, without pairs that another runtime's ADD was given: it must be removable."""
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
        self._find(plugin)  # a missing plugin is told before a malformed name, as in Go
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
    ) -> Operation[None]:
        """DEL for what a failed ADD had begun, in reverse; errors become notes of the ADD's error, and are reported.

        The cache, which may have a leftover, forgets what is undone whole; the rest is left for a DEL or GC.
        """
        previous = last if _reaches_quietly(net.cni_version, "0.4.0") else None
        undone, time = 0, self.undo_time()
        for coming in range(len(begun), 0, -1):
            plugin = begun[coming - 1]
            try:
                yield from self._run("DEL", net, plugin, previous, runtime, time.share(coming))
                undone += 1
            except Exception as failed:
                self.note(error, f"undoing plugin {plugin.network.describe()} failed: {failed}", net, runtime)
        if undone == len(net.plugins):
            self._forget(net, runtime)

    def undo_time(self) -> UndoTime:
        """The time of an undoing that begins now."""
        return UndoTime(self._options.undo_timeout)

    def note(self, error: BaseException, line: str, net: NetworkConfigList, runtime: RuntimeConf) -> None:
        """Add what could not be undone to the error, and report it: a cancelled task's error may reach nobody."""
        error.add_note(line)
        self._options.report(f"ADD of {runtime.container_id} {runtime.if_name} in network {net.name}: {line}")

    def attempt(self, net: NetworkConfigList, runtime: RuntimeConf) -> "Attempt":
        """An ADD that begins now, by a caller who holds the locks."""
        return Attempt(self._cache, net.name, runtime)

    # --- lists

    def add_network_list(
        self, net: NetworkConfigList, runtime: RuntimeConf, single: bool = False, undo: bool | None = None
    ) -> Operation[Result]:
        """ADD of each plugin in order; ``single``: the list stands for one plugin, whose errors come as they are.

        ``undo`` stands in for the option ``undo_failed_add``.
        """
        with (yield from self._locked("ADD", net, runtime)):
            return (yield from self.attach(net, runtime, single, undo))

    def _locked(self, verb: str, net: NetworkConfigList, runtime: RuntimeConf) -> Operation[Held]:
        return self._locks.attachments(verb, [Attachment(net.name, runtime.container_id, runtime.if_name)])

    def attach(
        self,
        net: NetworkConfigList,
        runtime: RuntimeConf,
        single: bool = False,
        undo: bool | None = None,
        attempt: "Attempt | None" = None,
    ) -> Operation[Result]:
        """``add_network_list`` for a caller who holds the locks."""
        check_args(runtime.args)
        begun: list[NetworkConfig] = []
        result: Result | None = None
        undo = self._options.undo_failed_add if undo is None else undo
        attempt = attempt or self.attempt(net, runtime)
        try:
            for plugin in net.plugins:
                step = self._add(net, plugin, result, runtime, begun)
                result = yield from (step if single else _named(plugin, "add", step))
            attempt.caches = True
            yield from self._remember(net, result, runtime, net.bytes if single else effective(net))
        except BaseException as error:
            if undo and attempt.met_another:
                error.add_note(f"network {net.name} was attached before: nothing was undone, DEL removes it")
            elif undo:
                yield from self._undo(net, begun, result, runtime, error)
            raise
        return result or Result(net.cni_version if net.cni_version in versions.KNOWN else "0.1.0")

    def _remember(
        self, net: NetworkConfigList, result: Result | None, runtime: RuntimeConf, config: bytes
    ) -> Operation[None]:
        try:
            yield Work(partial(self._cache.add, net.name, config, result, runtime))
        except (OSError, CacheError, TypeError, ValueError) as error:
            raise CacheError(f"failed to set network {quote(net.name)} cached result: {error}") from error

    def check_network_list(self, net: NetworkConfigList, runtime: RuntimeConf) -> Operation[None]:
        """CHECK of each plugin in order, each with the final result of ADD; the first error as it is."""
        if not _reaches(net.cni_version, "0.4.0"):
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
        """DEL of each plugin in reverse, each with the final result of ADD; stops at the first error."""
        with (yield from self._locked("DEL", net, runtime)):
            yield from self.detach(net, runtime, single)

    def detach(self, net: NetworkConfigList, runtime: RuntimeConf, single: bool = False) -> Operation[None]:
        """``del_network_list`` for a caller who holds the locks."""
        if self._options.delete_with_cached_config:
            net, runtime = self._as_added(net, runtime, single)
        yield from self._delete(net, runtime, single)

    def _delete(self, net: NetworkConfigList, runtime: RuntimeConf, single: bool = False) -> Operation[None]:
        previous = self._previous_for_delete(net, runtime)
        for plugin in reversed(net.plugins):
            step = self._run("DEL", net, plugin, previous, runtime)
            yield from (step if single else _named(plugin, "delete", step))
        self._forget(net, runtime)

    def undo_whole(
        self, net: NetworkConfigList, runtime: RuntimeConf, time: UndoTime, later: int = 0
    ) -> Operation[None]:
        """DEL of all plugins for a call that failed or was cancelled, by a caller who holds the locks.

        It goes on after errors and raises them together; the cache is kept then. ``later`` is how many executions
        share the time after this network's.
        """
        if self._options.delete_with_cached_config:
            net, runtime = self._as_added(net, runtime, single=False)
        previous = self._previous_for_delete(net, runtime)
        errors: list[Exception] = []
        for place in range(len(net.plugins), 0, -1):
            plugin = net.plugins[place - 1]
            try:
                step = self._run("DEL", net, plugin, previous, runtime, time.share(place + later))
                yield from _named(plugin, "delete", step)
            except Exception as error:
                errors.append(error)
        raise_together(errors)
        self._forget(net, runtime)

    def release(self, net: NetworkConfigList, runtime: RuntimeConf, failed: bool) -> Operation[None]:
        """DEL at the end of a ``with`` block; undoing's way, if the block failed or the DEL itself is cancelled."""
        if not failed:
            try:
                return (yield from self.del_network_list(net, runtime))
            except Exception:
                raise
            except BaseException:  # a cancellation or Ctrl-C: the DEL is made again, as undoing
                yield from self._release_undoing(net, runtime)
                raise
        return (yield from self._release_undoing(net, runtime))

    def _release_undoing(self, net: NetworkConfigList, runtime: RuntimeConf) -> Operation[None]:
        """The wait for the lock is a part of the time that undoing has; a failure is reported, too."""
        time = self.undo_time()
        what = [Attachment(net.name, runtime.container_id, runtime.if_name)]
        try:
            with (yield from self._locks.undoing(time.left).attachments("DEL", what)):
                yield from self.undo_whole(net, runtime, time)
        except Exception as error:
            self.report_left(net, runtime, error)
            raise

    def report_left(self, net: NetworkConfigList, runtime: RuntimeConf, error: Exception) -> None:
        """Report what the end of a block could not remove: the note of a cancelled task's error may reach nobody."""
        self._options.report(f"DEL of {runtime.container_id} {runtime.if_name} in network {net.name}: {error}")

    def _previous_for_delete(self, net: NetworkConfigList, runtime: RuntimeConf) -> Result | None:
        if not _reaches(net.cni_version, "0.4.0"):
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

    def _as_added(
        self, net: NetworkConfigList, runtime: RuntimeConf, single: bool
    ) -> tuple[NetworkConfigList, RuntimeConf]:
        """The list and the arguments that ADD had used; those given where the cache cannot tell."""
        try:
            cached = self._cache.config(net.name, runtime)
            if cached is None:
                return net, runtime
            data, then = cached
            added = as_list(conf_from_bytes(data)) if single else _with_folder(network_conf_from_bytes(data), net)
            if not added.plugins:  # not a list: ADD was told one plugin's configuration
                raise ConfigError(f"the cached configuration of network {quote(net.name)} has no plugins")
            return added, then
        except (CacheError, ConfigError) as error:
            self._options.report(f"{error}: DEL uses the configuration that it was given")
            return net, runtime

    def get_network_list_cached_result(self, net: NetworkConfigList, runtime: RuntimeConf) -> Result | None:
        """The cached result in the list's version."""
        try:
            return self._cache.result(net.name, net.cni_version, runtime)
        except CacheDamaged as error:
            if not self._options.tolerate_damaged_cache:
                raise
            self._options.report(f"{error}: taken for no result")
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
            self._options.report(f"{error}: taken for no configuration")
            return None

    # --- what plugins can do

    def get_version_info(self, plugin: str) -> Operation[PluginInfo]:
        """VERSION of one plugin."""
        path = self._finder.find_in_path(plugin, self._path)
        try:
            output = yield from executed(Execute(path, _VERSION_PROBE, _environment.for_version()))
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
        """VERSION of each entry; the enabled capabilities."""
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
        """VERSION of one plugin; its enabled capabilities."""
        yield from self._validate(plugin.network.type, plugin.network.cni_version)
        return _capabilities([plugin])

    def get_status_network_list(self, net: NetworkConfigList) -> Operation[None]:
        """STATUS of each plugin in order; the first error as it is. Below 1.1.0 only whether each plugin is there."""
        asked = _reaches_quietly(net.cni_version, "1.1.0")
        for plugin in net.plugins:
            path = self._find(plugin)
            if asked:
                config = _injection.for_status(plugin, net.name, net.cni_version)
                environ = _environment.for_network("STATUS", self._path)
                yield from executed(Execute(path, config.bytes, environ))

    # --- garbage

    def get_cached_attachments(self, container_id: str) -> list[NetworkAttachment]:
        """The attachments of a container, or of all."""
        found, damaged = self._cache.attachments(container_id)
        for path in damaged:
            self._options.report(f"cache file {path} is damaged or of another kind: skipped")
        return found

    def del_cached_attachments(self, container_id: str) -> Operation[None]:
        """DEL of all that the cache has of a container, with the configurations of then; goes on after errors."""
        if not container_id:  # the cache would give all attachments of the node
            raise InvalidName("missing containerID", "the id of the container to remove", UNKNOWN_CONTAINER)
        errors: list[Exception] = []
        for one in self.get_cached_attachments(container_id):
            who = f"failed to delete attachment {one.container_id} {one.if_name} of network {one.network}"
            yield from _gathered(errors, who, self._take_down(one))
            if errors and is_cancelled(errors[-1]):
                break
        if errors:
            raise SeveralErrors(errors)

    def _take_down(self, one: NetworkAttachment) -> Operation[None]:
        runtime = one.runtime_conf()
        if is_gone(one.netns):
            runtime = replace(runtime, netns="")  # plugins know an empty one as gone, not all a path without a file
        with (yield from self._locks.attachments("DEL", [Attachment(one.network, one.container_id, one.if_name)])):
            cached = self._cache.config(one.network, runtime)
            if cached is None:
                return  # somebody has removed it meanwhile
            data, runtime = cached
            if not data:
                raise CacheError(f"the cache has no configuration of network {quote(one.network)}")
            yield from self._delete(replace(_list_or_plugin(data), name=one.network), runtime)

    def gc_network_lists(self, nets: Iterable[NetworkConfigList], args: AsyncSeveral | None) -> Operation[None]:
        """GC of several networks with one reading of the cache; goes on after errors.

        ``args`` None is Go's nil: nothing is valid, and the plugins are sent no list. It is not the caller's default.
        """
        nets = [net for net in nets if not net.disable_gc]
        if isinstance(args, Mapping) and (missing := [quote(net.name) for net in nets if net.name not in args]):
            # None would mean that nothing is valid there
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
                who = f"the valid attachments of network {net.name} are not known, nothing was removed"
                listed = yield from _gathered(errors, who, _valid(own))
                if listed is not None:
                    yield from self._collect(net, listed.args, cached, errors)
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
            who = f"failed to delete stale attachment {stale.container_id} {stale.if_name}"
            added = net
            if self._options.delete_with_cached_config:
                added, runtime = self._as_added(net, runtime, single=False)
            yield from _gathered(errors, who, self._delete(added, runtime))
        if _reaches_quietly(net.cni_version, "1.1.0"):
            for plugin in net.plugins:
                who = f"failed to GC plugin {plugin.network.type}"
                yield from _gathered(errors, who, self._gc(net, plugin, args))

    def _gc(self, net: NetworkConfigList, plugin: NetworkConfig, args: GCArgs | None) -> Operation[None]:
        config = _injection.for_gc(plugin, net.name, net.cni_version, args)
        yield from executed(Execute(self._find(plugin), config.bytes, _environment.for_network("GC", self._path)))


def as_list(plugin: NetworkConfig) -> NetworkConfigList:
    """One plugin's configuration for the calls without a list: its own name and version, its own bytes."""
    return NetworkConfigList(plugin.network.name, plugin.network.cni_version, (plugin,), bytes=plugin.bytes)


def _list_or_plugin(data: bytes) -> NetworkConfigList:
    """What ADD had: a list, or one plugin's configuration, whose keys are read in another way."""
    try:
        net = network_conf_from_bytes(data)
    except ConfigError as error:
        try:
            return as_list(conf_from_bytes(data))
        except ConfigError:
            raise error from None
    return net if net.plugins else as_list(conf_from_bytes(data))


def _named(plugin: NetworkConfig, deed: str, operation: Operation[T]) -> Operation[T]:
    """The operation; its error gets the plugin's name."""
    try:
        return (yield from operation)
    except Exception as error:
        raise StepFailed(plugin.network.describe(), deed, error) from error


def _gathered(errors: list[Exception], who: str, operation: Operation[T]) -> Operation[T | None]:
    """The operation; its error is collected, and the value is None then."""
    try:
        return (yield from operation)
    except Exception as error:
        failed = CollectFailed(who, error)
        failed.__cause__ = error
        errors.append(failed)
        return None


def raise_together(errors: Sequence[Exception]) -> None:
    """Nothing for no error, the error itself for one, ``SeveralErrors`` for several."""
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise SeveralErrors(errors)


@dataclass(frozen=True, slots=True)
class _Listed:
    """What GC keeps in one network, once it is known."""

    args: GCArgs | None


def gc_args(args: G) -> G:
    """What the caller of GC gave; raises ``TypeError`` for what does not say what is valid: all would be removed."""
    for one in args.values() if isinstance(args, Mapping) else [args]:
        if not (isinstance(one, GCArgs) or callable(one)):
            raise TypeError(
                f"args must be GCArgs or a function that returns the valid attachments, not {type(one).__name__}; "
                "GCArgs([]) removes every attachment"
            )
    return args


def _valid(args: GCArgs | AsyncGCSource | None) -> Operation[_Listed]:
    """What GC keeps; a function is called now, under the network's lock."""
    if args is None or isinstance(args, GCArgs):
        return _Listed(args)
    answer = yield Ask(args)
    return _Listed(answer if isinstance(answer, GCArgs) else GCArgs(answer))


def _capabilities(plugins: Iterable[NetworkConfig]) -> list[str]:
    found = {name for plugin in plugins for name, wanted in plugin.network.capabilities.items() if wanted}
    return sorted(found)


def _with_folder(cached: NetworkConfigList, given: NetworkConfigList) -> NetworkConfigList:
    """The cached list; plugins that lie in the network's folder are not in it, and are taken from the given one."""
    if cached.load_only_inlined_plugins:
        return cached
    inlined = len(network_conf_from_bytes(given.bytes).plugins) if given.bytes else len(given.plugins)
    return replace(cached, plugins=(*cached.plugins, *given.plugins[inlined:]))
