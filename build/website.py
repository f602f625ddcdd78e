"""A hook of mkdocs (mkdocs.yml): the menu, pages from other folders than docs/, and links to files of the repository."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
# The place on the site of each page that is not in docs/.
ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "deploy/kubelet.md": "kubelet.md",
    **{
        page.relative_to(ROOT).as_posix(): f"plugins/{page.parent.name}.md"
        for page in sorted((ROOT / "plugins").glob("*/README.md"))
    },
}
COMPATIBILITY = ("index", "frame", "nat-order", *sorted(at.name for at in (ROOT / "plugins").iterdir()), "libcni")
MENU: list[dict[str, str | list[str]]] = [
    {"Start": "index.md"},
    {
        "On a node": [
            "install.md",
            "distributions.md",
            "kernel-options.md",
            "kubernetes.md",
            "kubelet.md",
            "podman.md",
            "dhcp.md",
            "chain.md",
            "dhcp.md",
            "forkserver.md",
            "native.md",
            "performance.md",
        ]
    },
    {"Plugins": [*(to for to in ELSEWHERE.values() if to.startswith("plugins/")), "reference.md"]},
    {"Compatibility": [f"compatibility/{name}.md" for name in COMPATIBILITY]},
    {"Library": ["runtime.md"]},
    {
        "Development": [
            "contributing.md",
            "new-plugin.md",
            "architecture.md",
            "effects.md",
            "dependencies.md",
            "changelog.md",
        ]
    },
]
LINK = re.compile(r"(\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_config(config: MkDocsConfig) -> None:
    """The menu."""
    config.nav = MENU


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages from other folders."""
    for source, page in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Change relative links: to pages of the site, or to the repository's address for other files."""
    place = page.file.src_uri
    source = next((known for known, to in ELSEWHERE.items() if to == place), f"docs/{place}")

    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[2]))
        inside = ELSEWHERE.get(target) or (target.startswith("docs/") and target.removeprefix("docs/"))
        file = files.get_file_from_path(inside) if inside else None
        if file:
            return found[1] + posixpath.relpath(file.src_uri, posixpath.dirname(place) or ".")
        if (ROOT / target).exists():
            return f"{found[1]}{config.repo_url}/blob/main/{target}"
        return found[0]

    return LINK.sub(link, markdown)
