"""A node and a server that the tests of a file share, and the doors through which the calls of a test go."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from forkserver.server import C_DOOR, DIST, PROGRAM, PYTHON_DOOR, Node, Server, running
from native.compiled import callers

if not PROGRAM.exists():
    collect_ignore_glob = ["test_*.py"]


# The files whose tests are about a call and its caller. The others are about the server.
OF_CALLERS = ("test_faults", "test_refusals", "test_same_answers", "test_surroundings")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test of callers through both doors. The native file has one of its own."""
    if "binaries" in metafunc.fixturenames:
        both = metafunc.module.__name__.endswith(OF_CALLERS) and not Path(DIST, "pycni").exists()
        doors = [PYTHON_DOOR, C_DOOR] if both else [PYTHON_DOOR]
        metafunc.parametrize("binaries", doors, indirect=True, scope="session")


@pytest.fixture(scope="session")
def c_door(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of plugins with the door in C."""
    return callers(tmp_path_factory.mktemp("callers"))


@pytest.fixture(scope="session")
def binaries(request: pytest.FixtureRequest) -> Path:
    """The folder of the plugins that call."""
    made: Path = request.getfixturevalue("c_door") if request.param == C_DOOR else DIST
    return made


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, binaries: Path) -> Iterator[Node]:
    """One pretended node for the tests of a file; every test has pods of its own."""
    made = Node(tmp_path_factory.mktemp("leases"), binaries)
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
