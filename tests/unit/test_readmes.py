"""The plugins' pages tell the keys that the plugins read: the tables of both are the same."""

import importlib
import json
from pathlib import Path

import pytest

from cni.result import Route

PLUGINS = Path(__file__).parents[2] / "plugins"
START, END = "<!-- keys: made from the plugin's table; a test holds that -->", "<!-- end of keys -->"
HEAD = ["| key | type | default | meaning |", "|---|---|---|---|"]
FOLDERS = [folder.name for folder in sorted(PLUGINS.iterdir()) if folder.is_dir()]


def tables_of(plugin: str) -> list[list[str]]:
    """The rows of each of the plugin's tables, in the order in which its page shows them."""
    package = f"cni_{plugin.replace('-', '_')}"
    settings = importlib.import_module(f"{package}.settings")
    if plugin == "host-local":
        tables = [settings.IPAM, importlib.import_module(f"{package}.ranges").RANGE, Route.TABLE]
    elif plugin == "portmap":
        tables = [settings.TABLE, settings.MAPPING]
    else:
        tables = [settings.TABLE]
    return [table.markdown().splitlines() for table in tables]


@pytest.mark.parametrize("plugin", ["bridge", "host-local", "portmap"])
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
