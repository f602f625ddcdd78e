#!/usr/bin/env python3
"""Write the parts of the pages that are made from the code: ``build/pages.py`` (``make pages``).

A part is between two comments, ``<!-- made: PART -->`` and ``<!-- end -->``. PART is a function below, or
``source PATH [NAME]``: a file, or one class or function of it. tests/unit/test_pages.py checks that all are up to date.
"""

import ast
import importlib
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from roots import ROOT, package_of, packages, plugins, source_roots

sys.path.extend(map(str, source_roots()))
from cni import environment, plan, versions

PART = re.compile(r"(^<!-- made: (.+?) -->\n).*?(^<!-- end -->$)", re.MULTILINE | re.DOTALL)


def pages(root: Path = ROOT) -> list[Path]:
    """Every page of the repository. The files in build/skeleton are only templates of pages."""
    folders = [at for at in root.iterdir() if at.is_dir() and not at.name.startswith(".") and at.name != "build"]
    return sorted([*root.glob("*.md"), *(page for folder in folders for page in folder.rglob("*.md"))])


def table(head: str, rows: list[list[str]]) -> str:
    """A table. ``head`` has the names of the columns, separated by bars."""
    lines = [f"| {head} |", "|---" * (head.count("|") + 1) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)


def summary(plugin: str) -> str:
    """What a plugin does: the docstring of its package, without ``NAME: ``."""
    package = ROOT / "plugins" / plugin / package_of(plugin) / "__init__.py"
    name, _, words = (ast.get_docstring(ast.parse(package.read_text())) or "").partition(": ")
    if name != plugin or not words:
        sys.exit(f'{package.relative_to(ROOT)}: the docstring must begin with "{plugin}: " and say what it does')
    return words.rstrip(".").replace("``", "`")


def plugin_table() -> str:
    """README.md: a row for each plugin."""
    rows = [[f"[{name}](plugins/{name}/README.md)", summary(name)] for name in plugins()]
    return table("plugin | what it does", rows)


def compatibility() -> str:
    """docs/compatibility/index.md: a row for each page beside it."""
    rows = []
    for page in sorted((ROOT / "docs/compatibility").glob("*.md")):
        if page.stem != "index":
            title, words = page.read_text().removeprefix("# ").split("\n\n", 2)[:2]
            known = page.stem in plugins()
            rows.append([f"[{title}]({page.name})", summary(page.stem) if known else words.split(".")[0]])
    return table("page | what it is about", rows)


def variables() -> str:
    """The ``CNI_*`` variables and the verbs that need them."""
    return table("variable | needed by", [[f"`{name}`", ", ".join(verbs)] for name, verbs, _ in environment.TABLE])


def verbs() -> str:
    """The verbs, and the first version of the specification that has each."""
    oldest = versions.KNOWN[0]
    return table("verb | since", [[verb, versions.SINCE.get(verb, oldest)] for verb in environment.VERBS])


def known_versions() -> str:
    """The versions of the specification."""
    return ", ".join(versions.KNOWN)


def errors() -> str:
    """The codes of errors, from the constants and classes that have one and a docstring."""
    body = ast.parse((ROOT / "common/cni/errors.py").read_text()).body
    found: dict[int, str] = {}
    for pair in [*itertools.pairwise(body), *(node.body[1::-1] for node in body if isinstance(node, ast.ClassDef))]:
        match pair:
            case ast.Assign(value=ast.Constant(value=int(code))), ast.Expr(value=ast.Constant(value=str(words))):
                found[code] = words
    return table("code | meaning", [[str(code), found[code].rstrip(".").replace("``", "`")] for code in sorted(found)])


def keys(name: str) -> str:
    """The keys of a configuration. ``name`` is the module and name of its class."""
    module, _, section = name.rpartition(".")
    rows: str = getattr(importlib.import_module(module), section).TABLE.markdown()
    return table("key | type | default | meaning", []) + "\n" + rows


def effects() -> str:
    """Every effect and kind that a plan may have: its module, its state, and what removes it."""
    for package, folder in packages().items():
        if package.partition(".")[0] in ("cni", *map(package_of, plugins())):
            for module in folder.glob("*.py"):
                importlib.import_module(f"{package}.{module.stem}".removesuffix(".__init__"))
    rows: list[list[str]] = []
    for kind in sorted(set(_subclasses(plan.Part)), key=lambda kind: (kind.__module__, kind.__name__)):
        if kind.__module__ != "cni.plan" and kind.__module__.startswith(("cni.", "cni_")):
            words = (kind.__doc__ or "").partition("\n")[0].rstrip(".").replace("``", "`").replace("|", "\\|")
            rows.append([f"`{kind.__name__}`", kind.__module__, words, _end(kind)])
    return table("effect | module | state | removed by", rows)


def _subclasses(kind: type) -> Iterator[type]:
    each: type
    for each in kind.__subclasses__():
        yield each
        yield from _subclasses(each)


def _end(kind: type) -> str:
    """What removes a thing of this kind."""
    if issubclass(kind, plan.Effect) and kind.shared:
        return "stays"
    if not issubclass(kind, plan.Kind):
        return "goes with another"
    own = any(getattr(kind, name) is not getattr(plan.Kind, name) for name in ("remove", "discard", "collect"))
    return "DEL and GC" if own else "only reported"


def _source(path: str, name: str = "") -> str:
    """A file as a block of code, or one class or function of it."""
    text = (ROOT / path).read_text()
    kind = {".py": "python", ".conflist": "json"}.get(Path(path).suffix, "")
    if name:
        (node,) = [each for each in ast.parse(text).body if getattr(each, "name", "") == name]
        text = "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno]) + "\n"
    return f"```{kind}\n{text}```"


PARTS: dict[str, Callable[..., str]] = {
    "plugins": plugin_table,
    "compatibility": compatibility,
    "variables": variables,
    "verbs": verbs,
    "versions": known_versions,
    "errors": errors,
    "keys": keys,
    "effects": effects,
    "source": _source,
}


def filled(page: str) -> str:
    """A page's text with current parts."""

    def made(part: re.Match[str]) -> str:
        name, *words = part[2].split()
        return f"{part[1]}{PARTS[name](*words)}\n{part[3]}"

    return PART.sub(made, page)


def main() -> None:
    """Write the pages with outdated parts."""
    for page in pages():
        text = page.read_text()
        if filled(text) != text:
            page.write_text(filled(text))
            print(f"wrote {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
