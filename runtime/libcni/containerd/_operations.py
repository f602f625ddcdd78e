"""What containerd's interface does, once, for both forms: generators over the calls of ``libcni._operations``.

Order, refusals and texts are Go's library's (go-cni, `cni.go`). A call works on the networks that were loaded when it
began: a reload waits for nobody, and nobody for it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from libcni._cache import Cache
from libcni._cancellation import UndoTime
from libcni._checks import check_args
from libcni._errors import LibcniError, is_cancelled
from libcni._execution import Finder
from libcni._inputs import StrPath, path_of
from libcni._locking import Attachment, Locks
from libcni._model import NetworkConfigList, RuntimeConf
from libcni._operations import Attempt, Operations, raise_together
from libcni._options import Options
from libcni._requests import Operation, Outcome, Together
from libcni._results import Result as NetworkResult
from libcni.containerd._capabilities import Namespace, NamespaceOpt
from libcni.containerd._errors import LoadFailed, NotInitialized
from libcni.containerd._results import ConfigResult, ConfNetwork, Result, combine
from libcni.containerd._settings import Network, Opt, Settings


@dataclass(frozen=True, slots=True)
class _Part:
    """One network's part in a Setup."""

    calls: Operations
    net: NetworkConfigList
    runtime: RuntimeConf
    # what undoes it when its ADD fails: the Setup, or the ADD itself as the options say
    rollback: bool = True
    attempt: Attempt | None = None

    @property
    def attachment(self) -> Attachment:
        """What it has to lock."""
        return Attachment(self.net.name, self.runtime.container_id, self.runtime.if_name)


# The ADDs of a Setup; those that have begun are noted in the second list, for a Setup that fails.
_Adds = Callable[[Sequence[_Part], list[_Part]], Operation[list[NetworkResult]]]


class Service:
    """The object's settings and networks, and its calls."""

    def __init__(self, finder: Finder, opts: Sequence[Opt]) -> None:
        """Apply the options in order; the first one's error is raised as it is."""
        self._finder = finder
        settings = Settings()
        for opt in opts:
            opt(settings)
        self.settings = settings

    def load(self, opts: Sequence[Opt]) -> list[LibcniError]:
        """Forget all networks, then apply the options; the answer is the errors of files that were bad.

        The first option's error is raised as ``LoadFailed``; networks of earlier options stay.
        """
        settings = replace(self.settings, networks=[], skipped=[])
        try:
            for opt in opts:
                opt(settings)
        except (LibcniError, OSError, ValueError) as error:
            raise LoadFailed(f"cni config load failed: {error}") from error
        finally:
            self.settings = settings  # at once: calls that run keep theirs
        return list(settings.skipped)

    def get_config(self) -> ConfigResult:
        """How the object is configured, and what is loaded."""
        now = self.settings
        return ConfigResult(
            plugin_dirs=now.plugin_dirs,
            plugin_conf_dir=":".join(now.plugin_conf_dirs),
            plugin_max_conf_num=now.plugin_max_conf_num,
            prefix=now.prefix,
            networks=[ConfNetwork(network.config, network.if_name) for network in now.networks],
        )

    @property
    def options(self) -> Options:
        """What goes beyond Go's library."""
        return self.settings.options

    def _calls(self, settings: Settings, network: Network) -> Operations:
        cache = Cache(settings.cache_dir, settings.options.sync_cache)
        return Operations(network.plugin_dirs, self._finder, cache, settings.options)

    def _ready(self) -> Settings:
        settings = self.settings
        if len(settings.networks) < settings.min_network_count:
            raise NotInitialized
        return settings

    def status(self) -> Operation[None]:
        """STATUS of each network in order; the first error."""
        settings = self._ready()
        for network in settings.networks:
            yield from self._calls(settings, network).get_status_network_list(network.config)

    def setup(self, id: str, path: StrPath, opts: Sequence[NamespaceOpt]) -> Operation[Result]:
        """ADD of all networks at once; the error that came first, after all have ended."""
        return self._set_up(id, path, opts, _at_once)

    def setup_serially(self, id: str, path: StrPath, opts: Sequence[NamespaceOpt]) -> Operation[Result]:
        """ADD of the networks in load order; stops at the first error."""
        return self._set_up(id, path, opts, _in_order)

    def _parts(self, settings: Settings, id: str, path: StrPath, opts: Sequence[NamespaceOpt]) -> list[_Part]:
        return [
            _Part(self._calls(settings, network), network.config, _runtime(network, id, path, opts), settings.rollback)
            for network in settings.networks
        ]

    def _set_up(self, id: str, path: StrPath, opts: Sequence[NamespaceOpt], adds: _Adds) -> Operation[Result]:
        """One hold of the locks for all ADDs and what undoes them: nobody else's work comes in between."""
        settings = self._ready()
        parts = self._parts(settings, id, path, opts)
        begun: list[_Part] = []
        for part in parts:
            check_args(part.runtime.args)
        locks = Locks(settings.options.lock_folder, settings.options.lock_timeout)
        with (yield from locks.attachments("ADD", [part.attachment for part in parts])):
            parts = [replace(part, attempt=part.calls.attempt(part.net, part.runtime)) for part in parts]
            try:
                return combine((yield from adds(parts, begun)), settings.prefix)
            except BaseException as error:
                if settings.rollback:
                    yield from _roll_back(begun, error, UndoTime(settings.options.undo_timeout))
                raise

    def remove(self, id: str, path: StrPath, opts: Sequence[NamespaceOpt]) -> Operation[None]:
        """DEL of the networks in load order; what is gone already is skipped, other errors are raised at the end."""
        settings = self._ready()
        errors: list[Exception] = []
        for network in settings.networks:
            runtime = _runtime(network, id, path, opts)
            try:
                yield from self._calls(settings, network).del_network_list(network.config, runtime)
            except Exception as error:
                if not _gone(str(error), runtime.netns):
                    errors.append(error)
                if is_cancelled(error):
                    break
        raise_together(errors)

    def remove_cached(self, id: str) -> Operation[None]:
        """DEL of all that the cache has of a container; needs no loaded network."""
        settings = self.settings
        cache = Cache(settings.cache_dir, settings.options.sync_cache)
        return Operations(settings.plugin_dirs, self._finder, cache, settings.options).del_cached_attachments(id)

    def release(self, id: str, path: StrPath, opts: Sequence[NamespaceOpt], failed: bool) -> Operation[None]:
        """The removal at the end of a ``with`` block; undoing's way if the block failed, or if it is cancelled."""
        if not failed:
            try:
                return (yield from self.remove(id, path, opts))
            except Exception:
                raise
            except BaseException:  # a cancellation or Ctrl-C: the DELs are made again, as undoing
                yield from self._undo_all(id, path, opts)
                raise
        return (yield from self._undo_all(id, path, opts))

    def _undo_all(self, id: str, path: StrPath, opts: Sequence[NamespaceOpt]) -> Operation[None]:
        settings = self.settings
        parts = self._parts(settings, id, path, opts)
        time = UndoTime(settings.options.undo_timeout)
        locks = Locks(settings.options.lock_folder, settings.options.lock_timeout).undoing(time.left)
        errors: list[Exception] = []
        try:
            held = yield from locks.attachments("DEL", [part.attachment for part in parts])
        except Exception as error:
            for part in parts:
                part.calls.report_left(part.net, part.runtime, error)
            raise
        with held:
            for part, later in _in_reverse(parts):
                try:
                    yield from part.calls.undo_whole(part.net, part.runtime, time, later)
                except Exception as error:
                    if not _gone(str(error), part.runtime.netns):
                        errors.append(error)
                        part.calls.report_left(part.net, part.runtime, error)
        raise_together(errors)

    def check(self, id: str, path: StrPath, opts: Sequence[NamespaceOpt]) -> Operation[None]:
        """CHECK of the networks in load order; the first error."""
        settings = self._ready()
        for network in settings.networks:
            runtime = _runtime(network, id, path, opts)
            yield from self._calls(settings, network).check_network_list(network.config, runtime)


def _attach(part: _Part, begun: list[_Part]) -> Operation[NetworkResult]:
    begun.append(part)
    return (
        yield from part.calls.attach(
            part.net, part.runtime, undo=False if part.rollback else None, attempt=part.attempt
        )
    )


def _at_once(parts: Sequence[_Part], begun: list[_Part]) -> Operation[list[NetworkResult]]:
    outcomes: list[Outcome] = yield Together([_attach(part, begun) for part in parts])
    failures = sorted((one for one in outcomes if one.error is not None), key=lambda one: one.place)
    if failures and failures[0].error is not None:
        raise failures[0].error
    return [one.value for one in outcomes]


def _in_order(parts: Sequence[_Part], begun: list[_Part]) -> Operation[list[NetworkResult]]:
    results = []
    for part in parts:
        results.append((yield from _attach(part, begun)))
    return results


def _roll_back(begun: Sequence[_Part], error: BaseException, time: UndoTime) -> Operation[None]:
    """DEL of what a failed Setup had begun, the last first, and nothing of what was there before.

    Errors become notes of the Setup's error, and are reported.
    """
    made = []
    for part in begun:
        if part.attempt is None or not part.attempt.met_another:
            made.append(part)
        else:
            error.add_note(f"network {part.net.name} was attached before: it is left as it was")
    for part, later in _in_reverse(made):
        try:
            yield from part.calls.undo_whole(part.net, part.runtime, time, later)
        except Exception as failed:
            part.calls.note(error, f"removing network {part.net.name} again failed: {failed}", part.net, part.runtime)


def _in_reverse(parts: Sequence[_Part]) -> Iterator[tuple[_Part, int]]:
    """Each part, the last first, with the number of plugins that come after its own."""
    later = sum(len(part.net.plugins) for part in parts)
    for part in reversed(parts):
        later -= len(part.net.plugins)
        yield part, later


def _gone(text: str, path: str) -> bool:
    """Whether Go's library takes the error for "there is nothing to remove": it looks at the text alone."""
    return "not found" in text or (not path and "no such file or directory" in text)


def _runtime(network: Network, id: str, path: StrPath, opts: Sequence[NamespaceOpt]) -> RuntimeConf:
    namespace = Namespace(id, path_of(path))
    for opt in opts:
        opt(namespace)
    return RuntimeConf(id, path, network.if_name, namespace.args, namespace.capability_args)
