"""The plugins' pages show the keys that the plugins read: the rows of both are the same."""

import importlib
import json
import re
from pathlib import Path

import pytest

from cni.settings import Table

PLUGINS = Path(__file__).parents[2] / "plugins"
SHOWN = re.compile(r"^<!-- keys of (\S+)\.(\w+): [^\n]* -->\n(.*?)\n<!-- end of keys -->$", re.MULTILINE | re.DOTALL)
HEAD = "| key | type | default | meaning |\n|---|---|---|---|\n"
FOLDERS = [folder.name for folder in sorted(PLUGINS.iterdir()) if folder.is_dir()]


@pytest.mark.parametrize("plugin", FOLDERS)
def test_the_keys_that_a_page_shows_are_those_of_the_rows(plugin: str) -> None:
    """Between each two marks stands what ``Table.markdown`` prints of the class named there; the settings are shown."""
    shown = {}
    for module, name, text in SHOWN.findall((PLUGINS / plugin / "README.md").read_text()):
        table: Table = getattr(importlib.import_module(module), name).TABLE
        assert text == HEAD + table.markdown(), f"{module}.{name}"
        shown[f"{module}.{name}"] = table
    module = f"cni_{plugin.replace('-', '_')}.settings"
    settings = getattr(importlib.import_module(module), "Settings", None)
    assert settings is None or not settings.TABLE.markdown() or f"{module}.Settings" in shown


def test_the_marks_are_found() -> None:
    """The test above is only as good as this."""
    marks = {plugin: len(SHOWN.findall((PLUGINS / plugin / "README.md").read_text())) for plugin in FOLDERS}
    texts = {plugin: (PLUGINS / plugin / "README.md").read_text().count("<!-- keys") for plugin in FOLDERS}
    assert marks == texts and marks["host-local"] == 3 and marks["portmap"] == 2


@pytest.mark.parametrize("plugin", FOLDERS)
def test_every_plugin_has_its_page_and_an_example(plugin: str) -> None:
    """A folder has README.md and example.conflist; the example is a network list that names the plugin."""
    assert f"# {plugin}" in (PLUGINS / plugin / "README.md").read_text().splitlines()
    text = (PLUGINS / plugin / "example.conflist").read_text()
    assert f'"{plugin}"' in text
    example = json.loads(text)
    assert {"cniVersion", "name", "plugins"} <= set(example)


def test_the_page_of_the_chain_shows_one_network_in_both_forms() -> None:
    """What the chain's ``plugins`` holds is the plain list; its capabilities are those of the members together."""
    page = (PLUGINS.parent / "docs/chain.md").read_text()
    plain, chain = (json.loads(part.split("```")[0]) for part in page.split("```json\n")[1:])
    (entry,) = chain.pop("plugins")
    members = plain.pop("plugins")
    wanted = {name: True for member in members for name in member.get("capabilities", {})}
    assert entry == {"type": "chain", "capabilities": wanted, "plugins": members}
    assert chain == plain
