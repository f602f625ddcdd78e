"""The plugins' pages tell the keys that the plugins read: the tables of both are the same."""

import importlib
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"
START, END = "<!-- keys: made from the plugin's table; a test holds that -->", "<!-- end of keys -->"


@pytest.mark.parametrize("plugin", ["bridge"])
def test_the_table_of_keys_is_the_plugins_own(plugin: str) -> None:
    """What README.md shows between its two marks is what ``Table.markdown`` prints."""
    page = (PLUGINS / plugin / "README.md").read_text()
    shown = page.split(START)[1].split(END)[0].strip().splitlines()[2:]
    table = importlib.import_module(f"cni_{plugin.replace('-', '_')}.settings").TABLE
    assert shown == table.markdown().splitlines()


@pytest.mark.parametrize("plugin", [folder.name for folder in sorted(PLUGINS.iterdir()) if folder.is_dir()])
def test_every_plugin_has_its_page_and_an_example(plugin: str) -> None:
    """A folder has README.md and example.conflist, and the example names the plugin."""
    assert f"# {plugin}" in (PLUGINS / plugin / "README.md").read_text().splitlines()
    assert f'"{plugin}"' in (PLUGINS / plugin / "example.conflist").read_text()
