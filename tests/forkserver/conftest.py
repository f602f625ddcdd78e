"""A node and a server that the tests of a file share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from forkserver.server import PROGRAM, Server, running
from node.topology import Node

if not PROGRAM.exists():
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One pretended node for the tests of a file; every test has pods of its own."""
    made = Node(tmp_path_factory.mktemp("leases"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests of a file that do not harm it."""
    with running(tmp_path_factory.mktemp("server")) as made:
        yield made


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that a test may end."""
    with running(tmp_path) as made:
        yield made
