"""The plugins' pages list the keys that the plugins read, and have an example."""

import importlib
import json
import re
from pathlib import Path

import pytest

from cni.settings import Section

PLUGINS = Path(__file__).parents[2] / "plugins"
FOLDERS = [folder.name for folder in sorted(PLUGINS.iterdir()) if folder.is_dir()]
# Sections that are not the plugin's own, and that its users write all the same.
SHARED = {"host-local": {"cni.pool.StatedRange", "cni.result.Route"}}


def sections_of(plugin: str) -> set[str]:
    """The sections of the plugin's configuration that have keys for users."""
    settings = importlib.import_module(f"cni_{plugin.replace('-', '_')}.settings")
    own = {
        f"{settings.__name__}.{name}"
        for name, found in vars(settings).items()
        if isinstance(found, type)
        and issubclass(found, Section)
        and found.__module__ == settings.__name__
        and found.TABLE.markdown()
    }
    return own | SHARED.get(plugin, set())


@pytest.mark.parametrize("plugin", FOLDERS)
def test_the_page_has_every_section_of_the_settings(plugin: str) -> None:
    """Each as a part that is made from its rows; unit/test_pages.py holds that the parts are current."""
    page = (PLUGINS / plugin / "README.md").read_text()
    assert set(re.findall(r"^<!-- made: keys (\S+) -->$", page, re.MULTILINE)) == sections_of(plugin)


def test_sections_are_found() -> None:
    """The test above is only as good as this."""
    assert sections_of("portmap") == {"cni_portmap.settings.Settings", "cni_portmap.settings.Port"}
    assert sections_of("loopback") == set() and len(sections_of("host-local")) == 3


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
