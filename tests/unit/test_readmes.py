"""The plugins' pages: each shows the keys that the plugin reads (tests/unit/test_pages.py holds that they are current)."""

import importlib
import json
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"
FOLDERS = [folder.name for folder in sorted(PLUGINS.iterdir()) if folder.is_dir()]


@pytest.mark.parametrize("plugin", FOLDERS)
def test_the_rows_of_a_plugins_settings_are_on_its_page(plugin: str) -> None:
    module = f"cni_{plugin.replace('-', '_')}.settings"
    settings = getattr(importlib.import_module(module), "Settings", None)
    mark = f"<!-- made: keys {module}.Settings -->"
    assert settings is None or not settings.TABLE.markdown() or mark in (PLUGINS / plugin / "README.md").read_text()


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
