"""The lists of what each verb of each plugin imports: tests/build/imports/common.txt and a file a plugin.

``common.txt`` has groups of modules that several plugins import together. A line of a plugin's file is a group or a
module, and the verbs that import it: a group is named where a verb imports all of it.
"""

from collections.abc import Mapping
from pathlib import Path

VERBS = ("VERSION", "STATUS", "ADD", "CHECK", "GC", "DEL")
# The lists are for the first. In another Python a verb imports other modules of the standard library in the place of
# these, or none: 3.12 has setns, which 3.11 lacks, and one module for all lengths of SHA-2; 3.13's posixpath needs errno.
WRITTEN_WITH = "3.11"
DIFFERENCES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    WRITTEN_WITH: {},
    "3.13": {"_ctypes": (), "_sha512": ("_sha2",), "posixpath": ("posixpath", "errno")},
}
# Stands for a plugin's own package.
OWN = "PLUGIN"
COMMON = "common"
Groups = dict[str, set[str]]
# The modules of each verb of a plugin.
Listed = Mapping[str, set[str]]


def package_of(plugin: str) -> str:
    """The package of a plugin."""
    return f"cni_{plugin.replace('-', '_')}"


def groups(folder: Path) -> Groups:
    """The groups of common.txt."""
    found: Groups = {}
    for line in _lines(folder / f"{COMMON}.txt"):
        if line.startswith("["):
            members = found.setdefault(line.strip("[]"), set())
        else:
            members.add(line)
    return found


def listed(folder: Path, plugin: str, python: str = WRITTEN_WITH) -> dict[str, set[str]]:
    """What each verb of a plugin may import."""
    known, found = groups(folder), {verb: set[str]() for verb in VERBS}
    for line in _lines(folder / f"{plugin}.txt"):
        name, *verbs = line.split()
        for verb in verbs:
            found[verb] |= _of(plugin, known.get(name, {name}))
    other = DIFFERENCES[python]
    return {verb: {each for name in names for each in other.get(name, (name,))} for verb, names in found.items()}


def write(folder: Path, surveyed: Mapping[str, Listed]) -> None:
    """Write all lists. A module that is imported where a group is joins it; a group of one plugin is dissolved."""
    known = _regrouped(groups(folder), surveyed)
    head = (folder / f"{COMMON}.txt").read_text().splitlines()[0]
    parts = [head, *("\n".join([f"[{name}]", *sorted(members)]) for name, members in known.items())]
    (folder / f"{COMMON}.txt").write_text("\n\n".join(parts) + "\n")
    for plugin, verbs in surveyed.items():
        where: dict[str, list[str]] = {}
        for verb in VERBS:
            whole = [name for name, members in known.items() if _of(plugin, members) <= verbs[verb]]
            rest = verbs[verb].difference(*(_of(plugin, known[name]) for name in whole))
            for name in [*whole, *sorted(rest)]:
                where.setdefault(name, []).append(verb)
        order = [*(name for name in known if name in where), *sorted(set(where) - set(known))]
        (folder / f"{plugin}.txt").write_text("".join(f"{name} {' '.join(where[name])}\n" for name in order))


def _regrouped(known: Groups, surveyed: Mapping[str, Listed]) -> Groups:
    users: dict[str, set[tuple[str, str]]] = {}
    for plugin, verbs in surveyed.items():
        own = package_of(plugin)
        for verb, modules in verbs.items():
            for module in modules:
                common = OWN + module.removeprefix(own) if module in (own, f"{own}.plugin") else module
                users.setdefault(common, set()).add((plugin, verb))
    kept = {name: {module for module in members if module in users} for name, members in known.items()}
    kept = {name: members for name, members in kept.items() if members and len(_plugins(members, users)) > 1}
    grouped = set().union(*kept.values())
    for members in kept.values():
        together = set.intersection(*(users[module] for module in members))
        joining = {module for module, where in users.items() if where == together and module not in grouped}
        members |= joining
        grouped |= joining
    return kept


def _plugins(members: set[str], users: Mapping[str, set[tuple[str, str]]]) -> set[str]:
    """The plugins with a verb that imports all of these modules."""
    return {plugin for plugin, _ in set.intersection(*(users[module] for module in members))}


def _of(plugin: str, members: set[str]) -> set[str]:
    """A group's modules, with the plugin's package for PLUGIN."""
    own = package_of(plugin)
    return {own + module.removeprefix(OWN) if module.startswith(OWN) else module for module in members}


def _lines(at: Path) -> list[str]:
    return [line for line in at.read_text().splitlines() if line and not line.startswith("#")]
