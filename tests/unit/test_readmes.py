"""The plugins' pages tell the keys that the plugins read: the tables of both are the same."""

import importlib
import json
from pathlib import Path

import pytest

from cni.pool import StatedRange
from cni.result import Route
from cni_portmap.settings import Port

PLUGINS = Path(__file__).parents[2] / "plugins"
START, END = "<!-- keys: made from the plugin's table; a test holds that -->", "<!-- end of keys -->"
HEAD = ["| key | type | default | meaning |", "|---|---|---|---|"]
FOLDERS = [folder.name for folder in sorted(PLUGINS.iterdir()) if folder.is_dir()]


def tables_of(plugin: str) -> list[list[str]]:
    """The rows of each of the plugin's tables, in the order in which its page shows them."""
    settings = importlib.import_module(f"cni_{plugin.replace('-', '_')}.settings")
    nested = {"host-local": [StatedRange, Route], "portmap": [Port]}.get(plugin, [])
    return [section.TABLE.markdown().splitlines() for section in (settings.Settings, *nested)]


@pytest.mark.parametrize("plugin", ["bridge", "chain", "host-local", "portmap"])
def test_the_tables_of_keys_are_the_plugins_own(plugin: str) -> None:
    """What README.md shows between each two marks is what ``Table.markdown`` prints, and nothing is left out."""
    page = (PLUGINS / plugin / "README.md").read_text()
    shown = [part.split(END)[0].strip().splitlines() for part in page.split(START)[1:]]
    assert shown == [HEAD + rows for rows in tables_of(plugin)]


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
