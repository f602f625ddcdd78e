#!/usr/bin/env python3
"""Begin a new plugin: ``build/newplugin.py NAME`` (``make plugin NAME=x``) copies build/skeleton and renames it.

The copy is a working plugin. It passes `make lint` and the contract tests. docs/new-plugin.md describes the next steps.
"""

import re
import subprocess
import sys
from pathlib import Path

from roots import ROOT, package_of

SKELETON = ROOT / "build/skeleton"
# The targets of the skeleton's files that are not in the folder of the plugin.
APART = {"compatibility.md": "docs/compatibility/{name}.md", "subject.py": "tests/contract/subjects/{module}.py"}


def renamed(text: str, name: str) -> str:
    """A text of the skeleton, changed to this name."""
    words = {"cni_skeleton": package_of(name), "Skeleton": name.title().replace("-", ""), "skeleton": name}
    return re.sub("|".join(words), lambda found: words[found[0]], text)


def target(file: Path, name: str) -> Path:
    """The target of a file of the skeleton."""
    inside = file.relative_to(SKELETON).as_posix()
    apart = APART.get(inside, "").format(name=name, module=name.replace("-", "_"))
    return ROOT / (apart or f"plugins/{name}/{renamed(inside, name)}")


def main(name: str) -> None:
    """Write the files. Existing files are not overwritten."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        sys.exit("usage: make plugin NAME=x, where x has lower-case letters, digits and hyphens, as in host-local")
    files = [file for file in sorted(SKELETON.rglob("*")) if file.is_file() and file.suffix != ".pyc"]
    taken = [at for at in (ROOT / "plugins" / name, *(target(file, name) for file in files)) if at.exists()]
    if taken:
        sys.exit(f"{taken[0].relative_to(ROOT)} exists already")
    for file in files:
        at = target(file, name)
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(renamed(file.read_text(), name))
        print(f"wrote {at.relative_to(ROOT)}", flush=True)
    subprocess.run([sys.executable, ROOT / "build/pages.py"], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:] or [""])
