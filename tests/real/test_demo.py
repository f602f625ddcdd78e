"""`make demo` does what README.md says: shows two pods, removes them, and leaves the machine as it was."""

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.plugin import SUBJECT

DEMO = Path(__file__).parents[2] / "deploy/demo"
pytestmark = [
    pytest.mark.real,
    pytest.mark.root,
    pytest.mark.skipif(not Path(SUBJECT, "bridge").is_file(), reason="make dist has not been run"),
]


def machine() -> tuple[list[str], set[str], set[str]]:
    """What the demo must not touch: the machine's links, and what is installed and configured on it."""
    links = json.loads(subprocess.run(["ip", "-j", "link"], capture_output=True, text=True, check=True).stdout)
    folders = ["/opt/cni/bin", "/etc/cni/net.d"]
    files = {str(file) for folder in folders if os.path.isdir(folder) for file in Path(folder).iterdir()}
    return sorted(link["ifname"] for link in links), files, {str(at) for at in Path("/tmp").glob("pycni-demo-*")}


def demo() -> str:
    done = subprocess.run(["/usr/bin/python3", str(DEMO)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(autouse=True)
def one_at_a_time() -> Iterator[None]:
    """Its namespaces' names are the machine's: another run of these tests waits for its turn."""
    with open("/run/pycni-demo-test.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_the_demo_shows_its_scenes_and_leaves_nothing() -> None:
    """Each line of what it promises; also where one that was interrupted left its namespaces."""
    before = machine()
    subprocess.run(["ip", "netns", "add", "pycni-demo-a"], check=True)
    said = demo()
    for line in (
        "pycni-demo-a: 10.88.0.2/16, fd00:88::2/64",
        "pycni-demo-a reaches 10.88.0.3",
        "pycni-demo-b reaches fd00:88::2",
        "pycni-demo-b reaches 192.0.2.2",
        "pycni-demo-outside asks 192.0.2.1:8080: a pod answers 192.0.2.2",
        "pycni-demo-b: removed",
        "leases: none; nftables: nothing; links: ['cni0', 'lo', 'uplink']",
        "pycni-demo-peer asks 10.89.0.2:80: a pod answers 10.89.0.3",
        "pycni-demo-other asks 10.89.0.2:80: no answer",
        "nothing is left but the two bridges",
    ):
        assert line in said.splitlines()
    assert machine() == before
    assert not [name for name in os.listdir("/run/netns") if name.startswith("pycni-demo")]
