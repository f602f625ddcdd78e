"""podman 5 and our driver when something goes wrong: plugins that hang, refuse or die, lost files, calls at the same time.

A container can always be removed, a failed setup leaves nothing, and GC finds what a killed one has left.
"""

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from node.deadline import eventually
from node.netavark import CACHE, Netavark, cached, version, web, with_web
from node.podman import IMAGE, Container
from node.ports import answers
from node.topology import Node

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(version() < (5,), reason="podman 5 is not installed"),
]

# A plugin that passes the result on. In the verb that the file `bad` names it does what the file `deed` says.
SCRIPT = """#!/bin/sh
case $CNI_COMMAND in
VERSION) echo '{"cniVersion":"1.1.0","supportedVersions":["1.0.0","1.1.0"]}'; exit;;
ADD) result=$(sed -E 's/.*"prevResult":(.*),"type":"mark"}$/\\1/');;
*) cat >/dev/null;;
esac
[ "$CNI_COMMAND" != "$(cat FOLDER/bad)" ] || . FOLDER/deed
[ -z "$result" ] || echo "$result"
"""
REFUSE = 'echo \'{"cniVersion":"1.0.0","code":7,"msg":"not today"}\'; exit 1'
HANG = "exec sleep 1000"


@pytest.fixture
def podman(node: Node) -> Iterator[Netavark]:
    """A podman whose network ``web`` ends with a plugin of somebody's own; ``-o timeout`` is six seconds."""
    with with_web(node) as made:
        script = made.folder / "own/mark"
        script.parent.mkdir()
        script.write_text(SCRIPT.replace("FOLDER", str(made.folder)))
        script.chmod(0o755)
        made.binaries = f"{made.binaries}:{script.parent}"
        behave(made, "", "")
        lists = web(node, "odd", 89)
        lists["plugins"] = [*lists["plugins"][:2], {"type": "mark"}]
        made.add_network(lists | {"cniVersion": "1.0.0"})
        made.create("odd", "-o", "timeout=6")
        yield made


def behave(podman: Netavark, verb: str, deed: str) -> None:
    """What the plugin does from now on."""
    (podman.folder / "deed").write_text(deed)
    (podman.folder / "bad").write_text(verb)


def test_a_plugin_that_hangs_or_refuses(podman: Netavark) -> None:
    """In ADD: the container does not start, and nothing is left. In DEL: it is removed, and so is what others made."""
    node = podman.node
    podman.run("--network", "odd").remove()
    before = node.snapshot()
    for deed, said in ((REFUSE, "not today"), (HANG, "did not end within the call's 6 s")):
        behave(podman, "ADD", deed)
        error = podman.refused("run", "--rm", "--network", "odd", IMAGE)
        assert "network odd: plugin mark failed (ADD): " in error and said in error, error
        assert error.count("failed (ADD)") == 1 and len(error.strip().splitlines()) == 1, error
        assert node.snapshot() == before and cached() == []
    for deed, said in ((REFUSE, "not today"), (HANG, "did not end within a plugin's 2 s")):
        behave(podman, "", "")
        container = podman.run("--network", "odd", "-p", "8080:80")
        behave(podman, "DEL", deed)
        error = torn_down(podman, container)
        assert "network odd: plugin mark failed (DEL): " in error and said in error, error
        container.remove()
        assert container.name not in podman("ps", "--all")
        assert node.snapshot() == before, "the plugins before it have done their part"
        assert len(cached()) == 1, "for GC"
        behave(podman, "", "")
        assert gc(podman) == 0
        assert cached() == []


def torn_down(podman: Netavark, container: Container) -> str:
    """What teardown says, as netavark calls it. It succeeds, because podman would not remove the container."""
    (network,) = json.loads(podman("network", "inspect", "odd"))
    names = {"container_id": container.id, "container_name": container.name, "network": network}
    document = names | {"port_mappings": None, "network_options": {"interface_name": "eth0"}}
    done = podman.driver("teardown", container.netns.path, stdin=json.dumps(document))
    assert (done.returncode, done.stdout) == (0, ""), done
    return done.stderr


def gc(podman: Netavark) -> int:
    """GC with this podman; its exit status."""
    own = podman.folder / "podman"
    own.write_text(f'#!/bin/sh\nexec podman {" ".join(podman.storage)} "$@"\n')
    own.chmod(0o755)
    return podman.driver("gc", "--podman", str(own)).returncode


def test_a_setup_that_is_killed(podman: Netavark) -> None:
    """GC removes what its plugins had made, although the list has no GC of its own and its file is gone."""
    node = podman.node
    podman.run("--network", "odd").remove()
    before = node.snapshot()
    behave(podman, "ADD", f"touch {podman.folder}/there; {HANG}")
    with ThreadPoolExecutor() as pool:
        running = pool.submit(podman.done, "run", "--rm", "--network", "odd", "-p", "8080:80", IMAGE)
        assert eventually((podman.folder / "there").exists, seconds=60)
        for path in Path("/proc").glob("[0-9]*"):
            if words(path)[-3:-1] == [f"{podman.folder}/drivers/cni", "setup"]:
                os.kill(int(path.name), signal.SIGKILL)
        assert running.result().returncode
    assert len(cached()) == 1 and node.snapshot() != before
    assert json.loads((CACHE / cached()[0]).read_text())["unfinished"]
    behave(podman, "", "")
    (podman.folder / "lists/10-odd.conflist").unlink()
    assert gc(podman) == 0
    assert node.snapshot() == before and cached() == []


def words(process: Path) -> list[str]:
    """The command line of a process; empty if it has ended."""
    try:
        return (process / "cmdline").read_text().split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


def test_records_that_are_lost_or_damaged(podman: Netavark) -> None:
    """Teardown uses the list of now; GC keeps the network of a living container; a power cut hinders no start."""
    node = podman.node
    podman.run("--network", "web").remove()
    before = node.snapshot()
    container = podman.run("--network", "web", "-p", "8080:80")
    (CACHE / cached()[0]).write_text('{"kind":')
    assert gc(podman) == 0
    assert answers("tcp", container.netns, 80, node.outside, node.ADDRESS, 8080), "it is alive"
    container.remove()
    assert node.snapshot() == before and cached() == []
    # a power cut: the record is on disk, the namespace is not, and podman starts the container without a teardown
    container = podman.run("--network", "web", "-p", "8080:80")
    name = cached()[0]
    record = (CACHE / name).read_text().replace(container.netns.path, "/run/netns/gone")
    podman("stop", "--time", "0", container.name)
    (CACHE / name).write_text(record)
    (node.data_dir / "web").mkdir(exist_ok=True)
    (node.data_dir / "web/10.88.0.200").write_text(f"{container.id}\r\neth0")
    podman("start", container.name)
    assert set(node.leases("web")) & {"10.88.0.200"} == set()
    container.remove()
    assert node.snapshot() == before and cached() == []


def test_many_calls_at_once(podman: Netavark) -> None:
    """Containers that start together, and several calls for one container: no call fails for another's sake."""
    node = podman.node
    podman.run("--network", "web").remove()
    before = node.snapshot()
    with ThreadPoolExecutor(8) as pool:
        started = list(pool.map(lambda number: podman.run("--network", "web", "-p", f"{9000 + number}:80"), range(8)))
    assert len({container.addresses[0] for container in started}) == 8
    first = started[0]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: podman("network", "reload", first.name), range(4)))
        assert answers("tcp", first.netns, 80, node.outside, node.ADDRESS, 9000)
        list(pool.map(lambda container: container.remove(), started))
    assert node.snapshot() == before and cached() == []
