"""The fixture of tests about DHCP: a node and a segment with pods, servers and other hosts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .dhcp import MAKES, Segment, Site
from .plugin import subject_is_old_go
from .topology import Node

# A test of what both makes do alike
EACH_MAKE = pytest.mark.parametrize("make", ["go", "ours"])
# Go's keeps leases worse in each of the ways that are tested
OURS_ALONE = pytest.mark.skipif(subject_is_old_go(), reason="ours alone")


@pytest.fixture
def site(request: pytest.FixtureRequest, node: Node, tmp_path: Path) -> Iterator[Site]:
    """A node with pods on a segment."""
    case = getattr(request.node, "callspec", None)
    make = case.params.get("make", "") if case else ""
    if make == "ours" and subject_is_old_go():
        pytest.skip("the other case is the same")
    if not Path(MAKES[make or "ours"], "dhcp").is_file():
        pytest.skip(f"needs {MAKES[make or 'ours']}/dhcp")
    with Segment() as segment:
        yield Site(node, segment, tmp_path)
