"""The five verbs, out of what a plugin declares in its package.

``settings.read(call)``
    The configuration, checked. Raises before anything is touched.
``settings.ready(call, settings)``, where there is one
    What STATUS asks beyond reading the configuration.
``wanted.wanted(call, settings)``
    The plan of ADD and CHECK. It returns the result of ADD.
``wanted.left(call)``
    The kinds of effects that an ADD may have left: what DEL and GC look for, whatever the configuration says by now.

STATUS is called every few seconds: it imports neither plans nor effects.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.result import Result
    from cni.skel import Call, Plugin


def _part(plugin: "Plugin", name: str) -> "Any":
    """A module of the plugin's package."""
    module = f"{plugin.package}.{name}"
    __import__(module)
    return sys.modules[module]


def _open_namespace(plugin: "Plugin", call: "Call") -> None:
    """Before anything is changed: one that cannot be opened now is an error.

    For DEL too: the container's other interfaces may share what would be removed, and they would not be seen.
    """
    if plugin.namespace == "needed" and call.verb != "DEL":
        call.site.container  # noqa: B018 -- opened
    elif plugin.namespace != "unused":
        call.site.remaining  # noqa: B018 -- opened


def _add(plugin: "Plugin", call: "Call") -> "Result":
    from cni import plan

    settings, wanted = _part(plugin, "settings").read(call), _part(plugin, "wanted")
    _open_namespace(plugin, call)
    result: Result = plan.make(lambda: wanted.wanted(call, settings), lambda: wanted.left(call), call.observe)
    return result


def _check(plugin: "Plugin", call: "Call") -> None:
    from cni import plan

    settings, wanted = _part(plugin, "settings").read(call), _part(plugin, "wanted")
    _open_namespace(plugin, call)
    plan.compare(wanted.wanted(call, settings), call.observe)


def _delete(plugin: "Plugin", call: "Call") -> None:
    """The plugin's own keys are not read, so nothing in them can keep DEL from removing."""
    from cni import plan

    _open_namespace(plugin, call)
    plan.remove(_part(plugin, "wanted").left(call), call.observe)


def _gc(plugin: "Plugin", call: "Call") -> None:
    """Without a list of valid attachments nothing is known to be stale, so nothing is removed."""
    from cni import plan
    from cni.valid_attachments import valid_attachments

    valid = valid_attachments(call)
    left = [kind for kind in _part(plugin, "wanted").left(call) if valid is not None or kind.reads_list]
    for kind, found in plan.collect(left, call.network, valid or [], call.observe):
        owner = f" of {found.owner}" if found.owner else ""
        if kind.reported:
            call.say(f"{plugin.type}: removed {kind.noun} {found}{owner} (network {call.network})")


def _status(plugin: "Plugin", call: "Call") -> None:
    module = _part(plugin, "settings")
    settings = module.read(call)
    if hasattr(module, "ready"):
        module.ready(call, settings)


_VERBS = {"ADD": _add, "CHECK": _check, "DEL": _delete, "GC": _gc, "STATUS": _status}
KNOWN = tuple(_VERBS)


def serve(plugin: "Plugin", call: "Call") -> "Result | None":
    """Serve one call; the result is ADD's. Raises ``CNIError``."""
    return _VERBS[call.verb](plugin, call)
