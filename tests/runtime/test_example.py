"""The example of the documentation, as it stands, on a pretended node."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from node.configuration import bridge, host_local
from node.topology import Node

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs/examples/tiny_runtime.py"


def _run(node: Node, folder: Path, binaries: str, *command: str) -> subprocess.CompletedProcess[str]:
    environ = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}/common:{ROOT}/runtime",
        "NETCONFPATH": str(folder),
        "CNI_PATH": binaries,
    }
    with node.inside():
        return subprocess.run(
            [sys.executable, str(EXAMPLE), *command], env=environ, capture_output=True, text=True, timeout=60
        )


def test_a_process_has_a_network_and_leaves_nothing(node: Node, binaries: str, tmp_path: Path) -> None:
    conf = bridge(host_local(node.data_dir, "10.77.0.0/24"), name="net1", isGateway=True)
    (tmp_path / "10.conf").write_text(json.dumps(conf))
    done = _run(
        node, tmp_path, binaries, "net1", "sh", "-c", "ip -br -4 addr show eth0; ping -c1 -W2 10.77.0.1; exit 7"
    )
    assert done.returncode == 7, done.stderr
    assert "10.77.0.2/24" in done.stdout and "1 received" in done.stdout
    assert done.stderr.endswith("has 10.77.0.2/24\n")
    assert node.leases() == {}
    name = done.stderr.split(" has ")[0].split()[-1]
    assert name.startswith("tiny-") and not os.path.exists(f"/run/netns/{name}")


def test_a_network_that_fails_is_told_in_one_line(node: Node, tmp_path: Path) -> None:
    (tmp_path / "10.conf").write_text('{"cniVersion":"1.0.0","name":"net1","type":"missing"}')
    before = os.listdir("/run/netns")
    done = _run(node, tmp_path, "/none", "net1", "true")
    assert [name for name in os.listdir("/run/netns") if name.startswith("tiny-") and name not in before] == []
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith('tiny_runtime: plugin type="missing" name="net1" failed (')


@pytest.mark.parametrize("words", [(), ("net1",)])
def test_without_a_command_it_tells_how_it_is_used(node: Node, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = _run(node, tmp_path, "/none", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "usage: tiny_runtime.py NETWORK COMMAND [ARGUMENT…]\n"


def test_it_is_as_short_as_the_documentation_says() -> None:
    lines = EXAMPLE.read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 34
