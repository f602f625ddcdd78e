#!/usr/bin/env python3
"""Begin a new plugin: ``build/newplugin.py NAME`` (``make plugin NAME=x``) copies build/skeleton under that name.

The copy is a plugin that works: it passes `make lint` and the contract tests, and docs/new-plugin.md goes on from there.
"""

import re
import subprocess
import sys
from pathlib import Path

from roots import ROOT, package_of

SKELETON = ROOT / "build/skeleton"
# Where the files of the skeleton that are not the plugin's own go.
APART = {"compatibility.md": "docs/compatibility/{name}.md", "subject.py": "tests/contract/subjects/{module}.py"}


def renamed(text: str, name: str) -> str:
    """A text of the skeleton for a plugin of this name."""
    words = {"cni_skeleton": package_of(name), "Skeleton": name.title().replace("-", ""), "skeleton": name}
    return re.sub("|".join(words), lambda found: words[found[0]], text)


def target(file: Path, name: str) -> Path:
    """Where a file of the skeleton goes."""
    inside = file.relative_to(SKELETON).as_posix()
    apart = APART.get(inside, "").format(name=name, module=name.replace("-", "_"))
    return ROOT / (apart or f"plugins/{name}/{renamed(inside, name)}")


def main(name: str) -> None:
    """Write the files; nothing that exists is overwritten."""
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
        print(f"wrote {at.relative_to(ROOT)}")
    subprocess.run([sys.executable, ROOT / "build/pages.py"], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:] or [""])
