"""What each call of ``Containerd`` and ``AsyncContainerd`` does, as operations (see ``libcni._requests``).

The order of networks, the checks and the texts are those of Go's library (go-cni, `cni.go`). A call uses the networks
that were loaded when it began. So a reload does not wait for calls, and calls do not wait for a reload.
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
from libcni._operations import Attempt, Operations, raise_together, remove_or_undo
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
    # Whether the Setup undoes a failed ADD. Otherwise the ADD does, if the options say so.
    rollback: bool = True
    attempt: Attempt | None = None

    @property
    def attachment(self) -> Attachment:
        """The attachment to lock."""
        return Attachment(self.net.name, self.runtime.container_id, self.runtime.if_name)


# Runs the ADDs of a Setup. It appends each part whose ADD begins to the second list, for a Setup that fails.
_Adds = Callable[[Sequence[_Part], list[_Part]], Operation[list[NetworkResult]]]


class Service:
    """The settings and networks of a ``Containerd`` or ``AsyncContainerd``, and its calls."""

    def __init__(self, finder: Finder, opts: Sequence[Opt]) -> None:
        """Apply the options in order. The first error is raised."""
        self._finder = finder
        settings = Settings()
        for opt in opts:
            opt(settings)
        self.settings = settings

    def load(self, opts: Sequence[Opt]) -> list[LibcniError]:
        """Unload all networks, then apply the options. Return the errors of bad files.

        The first error of an option is raised as ``LoadFailed``. Networks of earlier options stay.
        """
        settings = replace(self.settings, networks=[], skipped=[])
        try:
            for opt in opts:
                opt(settings)
        except (LibcniError, OSError, ValueError) as error:
            raise LoadFailed(f"cni config load failed: {error}") from error
        finally:
            self.settings = settings  # running calls keep the old object
        return list(settings.skipped)

    def get_config(self) -> ConfigResult:
        """The settings and the loaded networks."""
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
        """The options for the calls of each network."""
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
        """Run STATUS of each network in order. The first error is raised."""
        settings = self._ready()
        for network in settings.networks:
            yield from self._calls(settings, network).get_status_network_list(network.config)

    def setup(self, id: str, path: StrPath, opts: Sequence[NamespaceOpt]) -> Operation[Result]:
        """Run ADD of all networks at once. Raise the first error when all have ended."""
        return self._set_up(id, path, opts, _in_parallel)

    def setup_serially(self, id: str, path: StrPath, opts: Sequence[NamespaceOpt]) -> Operation[Result]:
        """Run ADD of the networks in load order. Stop at the first error."""
        return self._set_up(id, path, opts, _in_order)

    def _parts(self, settings: Settings, id: str, path: StrPath, opts: Sequence[NamespaceOpt]) -> list[_Part]:
        return [
            _Part(self._calls(settings, network), network.config, _runtime(network, id, path, opts), settings.rollback)
            for network in settings.networks
        ]

    def _set_up(self, id: str, path: StrPath, opts: Sequence[NamespaceOpt], adds: _Adds) -> Operation[Result]:
        """Hold the locks of all networks until the ADDs have ended or are undone."""
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
        """Run DEL of the networks in load order. Ignore networks that are already gone. Raise other errors at the end."""
        settings = self._ready()
        errors: list[Exception] = []
        for network in settings.networks:
            runtime = _runtime(network, id, path, opts)
            try:
                yield from self._calls(settings, network).del_network_list(network.config, runtime)
            except Exception as error:
                if not _means_gone(str(error), runtime.netns):
                    errors.append(error)
                if is_cancelled(error):
                    break
        raise_together(errors)

    def remove_cached(self, id: str) -> Operation[None]:
        """Run DEL for all cached attachments of a container. No network need be loaded."""
        settings = self.settings
        cache = Cache(settings.cache_dir, settings.options.sync_cache)
        return Operations(settings.plugin_dirs, self._finder, cache, settings.options).del_cached_attachments(id)

    def release(self, id: str, path: StrPath, opts: Sequence[NamespaceOpt], failed: bool) -> Operation[None]:
        """Remove the networks at the end of a ``with`` block. ``failed`` says whether the block raised an error."""
        return remove_or_undo(failed, lambda: self.remove(id, path, opts), lambda: self._undo_all(id, path, opts))

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
                part.calls.report_not_removed(part.net, part.runtime, error)
            raise
        with held:
            for part, later in _in_reverse(parts):
                try:
                    yield from part.calls.undo_network(part.net, part.runtime, time, later)
                except Exception as error:
                    if not _means_gone(str(error), part.runtime.netns):
                        errors.append(error)
                        part.calls.report_not_removed(part.net, part.runtime, error)
        raise_together(errors)

    def check(self, id: str, path: StrPath, opts: Sequence[NamespaceOpt]) -> Operation[None]:
        """Run CHECK of the networks in load order. The first error is raised."""
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


def _in_parallel(parts: Sequence[_Part], begun: list[_Part]) -> Operation[list[NetworkResult]]:
    outcomes: list[Outcome] = yield Together([_attach(part, begun) for part in parts])
    failures = sorted((outcome for outcome in outcomes if outcome.error is not None), key=lambda outcome: outcome.order)
    if failures and failures[0].error is not None:
        raise failures[0].error
    return [outcome.value for outcome in outcomes]


def _in_order(parts: Sequence[_Part], begun: list[_Part]) -> Operation[list[NetworkResult]]:
    results = []
    for part in parts:
        results.append((yield from _attach(part, begun)))
    return results


def _roll_back(begun: Sequence[_Part], error: BaseException, time: UndoTime) -> Operation[None]:
    """Run DEL for the networks of a failed Setup, in reverse order, except those that were attached before.

    Errors become notes of the Setup's error, and are reported.
    """
    made = []
    for part in begun:
        if part.attempt is None or not part.attempt.was_attached:
            made.append(part)
        else:
            error.add_note(f"network {part.net.name} was attached before: it is left as it was")
    for part, later in _in_reverse(made):
        try:
            yield from part.calls.undo_network(part.net, part.runtime, time, later)
        except Exception as failed:
            part.calls.note(error, f"removing network {part.net.name} again failed: {failed}", part.net, part.runtime)


def _in_reverse(parts: Sequence[_Part]) -> Iterator[tuple[_Part, int]]:
    """Yield the parts in reverse order, each with the number of plugins of the parts that are still to come."""
    later = sum(len(part.net.plugins) for part in parts)
    for part in reversed(parts):
        later -= len(part.net.plugins)
        yield part, later


def _means_gone(text: str, path: str) -> bool:
    """Whether the error means that there is nothing to remove. As in Go's library, only the text is checked."""
    return "not found" in text or (not path and "no such file or directory" in text)


def _runtime(network: Network, id: str, path: StrPath, opts: Sequence[NamespaceOpt]) -> RuntimeConf:
    namespace = Namespace(id, path_of(path))
    for opt in opts:
        opt(namespace)
    return RuntimeConf(id, path, network.if_name, namespace.args, namespace.capability_args)
