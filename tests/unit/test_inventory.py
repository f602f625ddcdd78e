"""The inventory's walk: owners completed by what other things name, and no kind forgotten."""

import ast
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from cni.attachment import Attachment
from cni.go import names
from cni.inventory import Thing, walk
from cni.plan import Found, Kind
from cni.site import Site
from cni_handback.kinds import kinds

ROOT = Path(__file__).parents[2]
LONG = Attachment("net1", "c" * 130, "eth0")
ONE, SECOND = Attachment("net1", "c1", "eth0"), Attachment("net1", "c1", "eth1")


class Some(Kind):
    """A kind of which these things exist."""

    noun = "thing"

    def __init__(self, *found: Found) -> None:
        super().__init__(Site(ONE))
        self.found = found

    def present(self, network: str) -> Iterable[Found]:
        assert network == ""
        return self.found


def owners(*found: Found) -> list[str]:
    return ["/".join((thing.network, thing.container, thing.ifname)) for thing in walk([Some(*found)])]


@pytest.mark.parametrize(
    ("text", "others", "owner"),
    [
        ("net1/c1/eth0", (), "net1/c1/eth0"),
        # Go's chains name no interface, its newer tables and its MAC spoof check no network
        ("net1/c1/", (ONE,), "net1/c1/eth0"),
        ("/c1/", (ONE,), "net1/c1/eth0"),
        ("/c1/eth1", (ONE, SECOND), "net1/c1/eth1"),
        # nothing else names it, another one is named, or two fit
        ("net1/c1/", (), "net1/c1/"),
        ("net2/c1/", (ONE,), "net2/c1/"),
        ("net1/c1/", (ONE, SECOND), "net1/c1/"),
        ("", (ONE,), "//"),
    ],
)
def test_an_owner_is_completed_by_the_only_attachment_that_fits(
    text: str, others: tuple[Attachment, ...], owner: str
) -> None:
    assert owners(Found("x", text), *(Found(str(number), str(each)) for number, each in enumerate(others)))[0] == owner


@pytest.mark.parametrize("identity", [LONG.link, names.instance(LONG)])
def test_a_name_that_is_a_hash_of_an_attachment_shows_its_owner(identity: str) -> None:
    """A comment that was shortened names nobody, but a link's name, or the hash in Go's comments, is derived from it."""
    assert LONG.comment != str(LONG) == LONG.alias
    shortened = Found(identity, LONG.comment if identity == LONG.link else "")
    assert owners(shortened, Found("veth", LONG.alias), Found("lease", str(ONE))) == [str(LONG), str(LONG), str(ONE)]


def test_what_is_known_as_json(tmp_path: Path) -> None:
    """A fact that is a file gives its age; an owner whose text was shortened is there as that text."""
    file = tmp_path / "10.1.0.2"
    file.touch()
    os.utime(file, (0, file.stat().st_mtime - 3600))
    (thing,) = walk([Some(Found(str(file), "net1/c1/", file=str(file), address="10.1.0.2"))])
    document = thing.document()
    assert 3600 <= int(document["facts"].pop("age")) < 3660
    assert document == {
        "kind": "thing",
        "identity": str(file),
        "owner": {"network": "net1", "container": "c1"},
        "facts": {"file": str(file), "address": "10.1.0.2"},
    }
    assert Thing(Some(), Found("x", LONG.comment, file="/nowhere")).document() == {
        "kind": "thing",
        "identity": "x",
        "owner": {"text": LONG.comment},
        "facts": {"file": "/nowhere"},
    }


def test_every_kind_that_reports_what_exists_is_walked() -> None:
    """Those whose ``present`` is their own, in common and in the plugins."""
    reporting = {
        node.name
        for room in ("common", "plugins")
        for source in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.ClassDef) and node.name != "Kind"
        for part in node.body
        if isinstance(part, ast.FunctionDef) and part.name == "present" and "network" in ast.unparse(part.args)
    }
    assert {"PodLink", "Masquerade", "HostPorts", "Leases", "LeftByGo"} <= reporting
    walked = {kind.__name__ for each in kinds(Site(ONE)) for kind in type(each).__mro__}
    assert reporting - {"Shares"} <= walked
