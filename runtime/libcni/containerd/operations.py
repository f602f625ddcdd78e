"""What containerd's interface does, once, for both forms: generators over the calls of ``libcni.operations``.

Order, refusals and texts are Go's library's (go-cni, `cni.go`). A call works on the networks that were loaded when it
began: a reload waits for nobody, and nobody for it.
"""

from collections.abc import Sequence
from dataclasses import replace

from libcni.cache import Cache
from libcni.containerd.capabilities import Namespace, NamespaceOpt
from libcni.containerd.errors import LoadFailed, NotInitialized
from libcni.containerd.outcome import ConfigResult, ConfNetwork, Result, combine
from libcni.containerd.settings import Network, Opt, Settings
from libcni.errors import LibcniError, Locked
from libcni.execution import Finder
from libcni.model import RuntimeConf
from libcni.operations import Operations
from libcni.options import Options
from libcni.requests import Operation, Outcome, Together
from libcni.results import Result as NetworkResult


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

    def setup(self, id: str, path: str, opts: Sequence[NamespaceOpt]) -> Operation[Result]:
        """ADD of all networks at once; the error that came first, after all have ended."""
        settings = self._ready()
        begun: list[Network] = []
        adds = [
            self._attach(settings, network, _runtime(network, id, path, opts), begun) for network in settings.networks
        ]
        try:
            outcomes: list[Outcome] = yield Together(adds)
            failures = sorted((one for one in outcomes if one.error is not None), key=lambda one: one.place)
            if failures and failures[0].error is not None:
                raise failures[0].error
            return combine([one.value for one in outcomes], settings.prefix)
        except BaseException as error:
            yield from self._roll_back(settings, begun, id, path, opts, error)
            raise

    def setup_serially(self, id: str, path: str, opts: Sequence[NamespaceOpt]) -> Operation[Result]:
        """ADD of the networks in load order; stops at the first error."""
        settings = self._ready()
        begun: list[Network] = []
        results = []
        try:
            for network in settings.networks:
                runtime = _runtime(network, id, path, opts)
                results.append((yield from self._attach(settings, network, runtime, begun)))
            return combine(results, settings.prefix)
        except BaseException as error:
            yield from self._roll_back(settings, begun, id, path, opts, error)
            raise

    def _attach(
        self, settings: Settings, network: Network, runtime: RuntimeConf, begun: list[Network]
    ) -> Operation[NetworkResult]:
        """ADD of one network; ``begun`` notes those that a failed Setup has to remove."""
        begun.append(network)
        try:
            return (yield from self._calls(settings, network).add_network_list(network.config, runtime))
        except Locked:
            begun.remove(network)  # somebody else works on this attachment: what is there is theirs
            raise

    def _roll_back(
        self,
        settings: Settings,
        begun: Sequence[Network],
        id: str,
        path: str,
        opts: Sequence[NamespaceOpt],
        error: BaseException,
    ) -> Operation[None]:
        """DEL of what a failed Setup had begun, the last first; errors become notes of the Setup's error."""
        if not settings.rollback:
            return
        for network in reversed(begun):
            try:
                calls = self._calls(settings, network)
                yield from calls.del_network_list(network.config, _runtime(network, id, path, opts), cleanup=True)
            except Exception as failed:
                error.add_note(f"removing network {network.config.name} again failed: {failed}")

    def remove(self, id: str, path: str, opts: Sequence[NamespaceOpt]) -> Operation[None]:
        """DEL of the networks in load order; what is gone already is skipped, any other error ends it."""
        settings = self._ready()
        for network in settings.networks:
            runtime = _runtime(network, id, path, opts)
            try:
                yield from self._calls(settings, network).del_network_list(network.config, runtime)
            except Exception as error:
                if not _gone(str(error), path):
                    raise

    def check(self, id: str, path: str, opts: Sequence[NamespaceOpt]) -> Operation[None]:
        """CHECK of the networks in load order; the first error."""
        settings = self._ready()
        for network in settings.networks:
            runtime = _runtime(network, id, path, opts)
            yield from self._calls(settings, network).check_network_list(network.config, runtime)


def _gone(text: str, path: str) -> bool:
    """Whether Go's library takes the error for "there is nothing to remove": it looks at the text alone."""
    return "not found" in text or (not path and "no such file or directory" in text)


def _runtime(network: Network, id: str, path: str, opts: Sequence[NamespaceOpt]) -> RuntimeConf:
    namespace = Namespace(id, path)
    for opt in opts:
        opt(namespace)
    return RuntimeConf(id, path, network.if_name, tuple(namespace.args.items()), namespace.capability_args)
