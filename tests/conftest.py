"""What the tests share: pretended nodes, and what Debian's Go plugins cannot do when they are the subject."""

import itertools
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from roots import source_roots

sys.path.extend(map(str, source_roots()))
from node.machine import set_apart
from node.namespace import Netns
from node.plugin import subject_is_old_go
from node.topology import NamedNetns, Node

# No test is about time: an example that takes long on a busy machine is no fault. The examples are the same each time,
# so that a run tells of a change and not of luck; with PYCNI_EXPLORE=1 they are others each time.
settings.register_profile("untimed", deadline=None, derandomize="PYCNI_EXPLORE" not in os.environ)
settings.load_profile("untimed")


# Who runs the suite in the background, or under nohup, has it ignore these, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
for number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)


def pytest_configure(config: pytest.Config) -> None:
    if not os.geteuid():
        set_apart()
    config.addinivalue_line(
        "markers",
        "beyond_old_go(reason): Go's plugins of the 1.1 line cannot do this; with them as the subject it has to fail",
    )


# Folders with tests that need nothing, the marks that say otherwise, and the fixtures that do.
UNIT = {"unit", "runtime", "contract"}
NEEDS = ("real", "root", "guest", "kubernetes")
NODES = {"node", "new_node", "empty"}


@pytest.hookimpl(tryfirst=True)  # before pytest looks for what `-m` wants
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say of each test whether it can run without root, and with Go's 1.1 line under test whether it has to fail.

    What is beyond Go's 1.1 line has to fail with it: so each such test is seen to be able to.
    """
    for item in items:
        if NODES & set(getattr(item, "fixturenames", ())):
            item.add_marker("root")
        if os.geteuid() and item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root"))
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        if folder in UNIT and not any(map(item.get_closest_marker, NEEDS)):
            item.add_marker("unit")
        marker = item.get_closest_marker("beyond_old_go")
        if marker and subject_is_old_go():
            item.add_marker(pytest.mark.xfail(reason=marker.args[0], strict=True, raises=AssertionError))


@pytest.fixture
def new_node(tmp_path: Path) -> Iterator[Callable[[], Node]]:
    """A function that makes pretended nodes, each with a store of leases of its own."""
    numbers = itertools.count()

    def make() -> Node:
        data_dir = tmp_path / f"leases{next(numbers)}"
        data_dir.mkdir()
        node = Node(data_dir)
        nodes.callback(node.close)
        return node

    with ExitStack() as nodes:
        yield make


@pytest.fixture
def empty() -> Iterator[Netns]:
    """An empty network namespace, in which the test itself runs."""
    at = NamedNetns("empty")
    try:
        with at.inside():
            yield at
    finally:
        at.close()


@pytest.fixture
def node(new_node: Callable[[], Node]) -> Node:
    """A pretended node."""
    return new_node()
