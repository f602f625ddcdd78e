"""The five verbs, made from what a plugin declares in its package.

``settings.read(call)``
    Reads and checks the configuration. Raises before anything is changed.
``settings.ready(call, settings)`` (optional)
    Further checks for STATUS.
``wanted.wanted(call, settings)``
    The plan of ADD and CHECK. It returns the result of ADD.
``wanted.left(call)``
    The kinds of effects that an ADD may have left, with any configuration: DEL and GC look for them.

STATUS is called every few seconds, so it imports neither plans nor effects.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cni.result import Result
    from cni.skel import Call, Plugin


def _part(plugin: "Plugin", name: str) -> "Any":
    """A module of the plugin's package."""
    module = f"{plugin.package}.{name}"
    __import__(module)
    return sys.modules[module]


def _open_namespace(plugin: "Plugin", call: "Call") -> None:
    """Open the container's namespace before anything is changed; raises if it cannot be opened now.

    DEL needs it too: the container's other interfaces may share what DEL would remove.
    """
    if plugin.namespace == "needed" and call.verb != "DEL":
        call.site.container  # noqa: B018 -- opened
    elif plugin.namespace != "unused":
        call.site.remaining  # noqa: B018 -- opened


def _begin(plugin: "Plugin", call: "Call") -> "tuple[Any, Any]":
    """What ADD and CHECK start from: the settings, and the module with the plan."""
    settings, wanted = _part(plugin, "settings").read(call), _part(plugin, "wanted")
    _open_namespace(plugin, call)
    return settings, wanted


def _add(plugin: "Plugin", call: "Call") -> "Result":
    from cni import plan

    settings, wanted = _begin(plugin, call)
    result: Result = plan.make(lambda: wanted.wanted(call, settings), lambda: wanted.left(call), call.observe)
    return result


def _check(plugin: "Plugin", call: "Call") -> None:
    from cni import plan

    settings, wanted = _begin(plugin, call)
    plan.compare(wanted.wanted(call, settings), call.observe)


def _delete(plugin: "Plugin", call: "Call") -> None:
    """Does not read the plugin's own keys, so DEL works with any values in them."""
    from cni import plan

    _open_namespace(plugin, call)
    plan.remove(_part(plugin, "wanted").left(call), call.observe)


def _gc(plugin: "Plugin", call: "Call") -> None:
    """Without a list of valid attachments, only kinds that read the list themselves are collected."""
    from cni import plan

    kinds = _part(plugin, "wanted").left(call)
    if not kinds:
        return
    from cni.valid_attachments import valid_attachments

    valid = valid_attachments(call)
    left = [kind for kind in kinds if valid is not None or kind.reads_list]
    for kind, found in plan.collect(left, call.network, valid or [], call.observe):
        owner = f" of {found.owner}" if found.owner else ""
        if kind.reported:
            call.say(f"{plugin.type}: removed {kind.noun} {found}{owner} (network {call.network})")


def _status(plugin: "Plugin", call: "Call") -> None:
    module = _part(plugin, "settings")
    settings = module.read(call)
    if hasattr(module, "ready"):
        module.ready(call, settings)


# Each serves one call; the result is ADD's.
VERBS: "dict[str, Callable[[Plugin, Call], Result | None]]" = {
    "ADD": _add, "CHECK": _check, "DEL": _delete, "GC": _gc, "STATUS": _status
}  # fmt: skip
