"""One call of a plugin in this process: environment, standard input and standard error are values (``cni.skel``)."""

import importlib
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cni import skel

from .plugin import Object, Outcome, held


def plugin(type: str) -> skel.Plugin:
    """The plugin of a folder in plugins/, as its file's front door would find it."""
    found: skel.Plugin = importlib.import_module(f"cni_{type.replace('-', '_')}.plugin").PLUGIN
    return found


def serve(
    plugin: skel.Plugin,
    verb: str,
    conf: Object | str | bytes | Callable[[], bytes],
    environ: dict[str, str] | None = None,
    watch: Any = None,
    *,
    container: str = "c1",
    netns: str = "/nowhere",
    ifname: str = "eth0",
    args: str = "",
    path: str = "/nowhere",
) -> Outcome:
    """Serve a call, and hold it to the protocol. ``environ`` adds variables or replaces them."""
    variables = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": netns,
        "CNI_IFNAME": ifname,
        "CNI_ARGS": args,
        "CNI_PATH": path,
        **(environ or {}),
    }
    if isinstance(conf, dict):
        conf = json.dumps(conf)
    stdin = conf.encode() if isinstance(conf, str) else conf
    log = io.StringIO()
    status, output = answer(plugin, variables, stdin, log, watch)
    text = stdin.decode("utf-8", "replace") if isinstance(stdin, bytes) else "{}"
    return held(plugin.type, variables["CNI_COMMAND"], text, status, output.decode(), log.getvalue())


def answer(plugin: skel.Plugin, environ: Any, stdin: Any, log: Any, watch: Any = None) -> tuple[int, bytes]:
    """Serve a call and close it; returns the exit status and the standard output."""
    answered = skel.answer(plugin, environ, stdin, log, watch)
    answered.close()
    return answered.status, answered.output


class Probe(skel.Plugin):
    """A plugin whose verbs are functions."""

    __slots__ = ("functions",)

    def __init__(self, functions: dict[str, Callable[[skel.Call], Any]]) -> None:
        super().__init__("probe", "cni_probe")
        self.functions = functions

    def serve(self, call: skel.Call) -> Any:
        return self.functions[VERBS[call.verb]](call)


VERBS = {"ADD": "add", "DEL": "delete", "CHECK": "check", "GC": "gc", "STATUS": "status"}


@contextmanager
def probe(**functions: Callable[[skel.Call], Any]) -> Iterator[skel.Plugin]:
    """A plugin whose verbs are these functions: ``add``, ``delete``, ``check``, ``gc``, ``status``."""
    yield Probe(functions)
