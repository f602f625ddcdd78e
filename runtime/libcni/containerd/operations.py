"""What containerd's interface does, once, for both forms: generators over the calls of ``libcni.operations``.

Order, refusals and texts are Go's library's (go-cni, `cni.go`). A call works on the networks that were loaded when it
began: a reload waits for nobody, and nobody for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from libcni.cache import Cache
from libcni.containerd.capabilities import Namespace, NamespaceOpt
from libcni.containerd.errors import LoadFailed, NotInitialized
from libcni.containerd.outcome import ConfigResult, ConfNetwork, Result, combine
from libcni.containerd.settings import Network, Opt, Settings
from libcni.errors import LibcniError
from libcni.execution import Finder
from libcni.given import StrPath, path_of
from libcni.locking import Attachment, Locks
from libcni.model import NetworkConfigList, RuntimeConf
from libcni.naming import check_args
from libcni.operations import Operations
from libcni.options import Options
from libcni.requests import Operation, Outcome, Together
from libcni.results import Result as NetworkResult


@dataclass(frozen=True, slots=True)
class _Part:
    """One network's part in a Setup."""

    calls: Operations
    net: NetworkConfigList
    runtime: RuntimeConf

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

    def load(self, opts: Sequence[Opt]) -> None:
        """Forget all networks, then apply the options.

        The first one's error is raised as ``LoadFailed``; networks of earlier options stay.
        """
        settings = replace(self.settings, networks=[])
        try:
            for opt in opts:
                opt(settings)
        except (LibcniError, OSError, ValueError) as error:
            raise LoadFailed(f"cni config load failed: {error}") from error
        finally:
            self.settings = settings  # at once: calls that run keep theirs

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

    def _set_up(self, id: str, path: StrPath, opts: Sequence[NamespaceOpt], adds: _Adds) -> Operation[Result]:
        """One hold of the locks for all ADDs and what undoes them: nobody else's work comes in between."""
        settings = self._ready()
        parts = [
            _Part(self._calls(settings, network), network.config, _runtime(network, id, path, opts))
            for network in settings.networks
        ]
        begun: list[_Part] = []
        for part in parts:
            check_args(part.runtime.args)
        locks = Locks(settings.options.lock_folder, settings.options.lock_timeout)
        with (yield from locks.attachments("ADD", [part.attachment for part in parts])):
            try:
                return combine((yield from adds(parts, begun)), settings.prefix)
            except BaseException as error:
                if settings.rollback:
                    yield from _roll_back(begun, error)
                raise

    def remove(self, id: str, path: StrPath, opts: Sequence[NamespaceOpt]) -> Operation[None]:
        """DEL of the networks in load order; what is gone already is skipped, any other error ends it."""
        settings = self._ready()
        for network in settings.networks:
            runtime = _runtime(network, id, path, opts)
            try:
                yield from self._calls(settings, network).del_network_list(network.config, runtime)
            except Exception as error:
                if not _gone(str(error), runtime.netns):
                    raise

    def check(self, id: str, path: StrPath, opts: Sequence[NamespaceOpt]) -> Operation[None]:
        """CHECK of the networks in load order; the first error."""
        settings = self._ready()
        for network in settings.networks:
            runtime = _runtime(network, id, path, opts)
            yield from self._calls(settings, network).check_network_list(network.config, runtime)


def _attach(part: _Part, begun: list[_Part]) -> Operation[NetworkResult]:
    begun.append(part)
    return (yield from part.calls.attach(part.net, part.runtime))


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


def _roll_back(begun: Sequence[_Part], error: BaseException) -> Operation[None]:
    """DEL of what a failed Setup had begun, the last first; errors become notes of the Setup's error."""
    for part in reversed(begun):
        try:
            yield from part.calls.detach(part.net, part.runtime, cleanup=True)
        except Exception as failed:
            error.add_note(f"removing network {part.net.name} again failed: {failed}")


def _gone(text: str, path: str) -> bool:
    """Whether Go's library takes the error for "there is nothing to remove": it looks at the text alone."""
    return "not found" in text or (not path and "no such file or directory" in text)


def _runtime(network: Network, id: str, path: StrPath, opts: Sequence[NamespaceOpt]) -> RuntimeConf:
    namespace = Namespace(id, path_of(path))
    for opt in opts:
        opt(namespace)
    return RuntimeConf(id, path, network.if_name, namespace.args, namespace.capability_args)
