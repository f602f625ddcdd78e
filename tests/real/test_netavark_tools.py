"""What runs podman for people, with a network of our driver: quadlet's units, podman-compose, ``podman system reset``."""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.netavark import CACHE, Netavark, cached, version, with_web
from node.podman import IMAGE, Container
from node.ports import answers
from node.topology import Node

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(version() < (5,), reason="podman 5 is not installed"),
]
GENERATOR = Path("/usr/lib/systemd/system-generators/podman-system-generator")
# What needs systemd itself.
OF_SYSTEMD = ("--cgroups", "--sdnotify", "--cidfile", "--replace")


@pytest.fixture
def podman(node: Node) -> Iterator[Netavark]:
    """A podman with the network ``web``, and a program that runs it."""
    with with_web(node) as made:
        own = made.folder / "podman"
        own.write_text(f'#!/bin/sh\nexec /usr/bin/podman {" ".join(made.storage)} "$@"\n')
        own.chmod(0o755)
        yield made


def commands(units: Path) -> list[list[str]]:
    """The commands of podman in the services that podman's generator makes of the units, in their order."""
    environ = {**os.environ, "QUADLET_UNIT_DIRS": str(units)}
    made = subprocess.run([GENERATOR, "--dryrun"], env=environ, capture_output=True, text=True, check=True).stdout
    lines = [line.partition("=")[2] for line in made.splitlines() if line.startswith("ExecStart=")]
    return [
        [word for word in shlex.split(line)[1:] if not word.startswith(OF_SYSTEMD)]
        for line in sorted(lines, key=lambda line: "network create" not in line)
    ]


@pytest.mark.skipif(not GENERATOR.exists(), reason="podman has no generator here")
def test_units_of_quadlet(podman: Netavark) -> None:
    """A network and a container that is in it, by the commands of their services."""
    units = podman.folder / "units"
    units.mkdir()
    options = [word for word in podman.options("web") if word != "-o"]
    lines = "".join(f"Options={option}\n" for option in options)
    (units / "front.network").write_text(f"[Network]\nDriver=cni\n{lines}")
    (units / "app.container").write_text(
        f"[Container]\nImage={IMAGE}\nContainerName=app\nNetwork=front.network:alias=uno\nPublishPort=8080:80\n"
    )
    network, container = commands(units)
    podman(*network)
    assert json.loads(podman("network", "inspect", "systemd-front"))[0]["driver"] == "cni"
    podman.containers.append("app")
    podman(*container)
    app = Container(podman, "app")
    assert answers("tcp", app.netns, 80, podman.node.outside, podman.node.ADDRESS, 8080)
    app.remove()
    assert cached() == []
    podman("network", "rm", "systemd-front")


@pytest.mark.skipif(not shutil.which("podman-compose"), reason="podman-compose is not installed")
def test_a_project_of_compose(podman: Netavark) -> None:
    """Two services on a network that the project makes; they know each other's names."""
    options = dict(word.split("=", 1) for word in podman.options("web") if word != "-o")
    services = {
        name: {"image": IMAGE, "networks": ["front"], "stop_grace_period": "0s", **more}
        for name, more in (("one", {"ports": ["8080:80"]}), ("two", {}))
    }
    project = {"services": services, "networks": {"front": {"driver": "cni", "driver_opts": options}}}
    (podman.folder / "compose.yaml").write_text(json.dumps(project))

    def compose(*words: str) -> None:
        command = ["podman-compose", "--podman-path", podman.folder / "podman", "-p", "pycni", *words]
        with podman.node.inside():
            done = subprocess.run(command, env=podman.environ, cwd=podman.folder, capture_output=True, text=True)
        assert done.returncode == 0, done

    podman.containers += ["pycni_one_1", "pycni_two_1"]
    compose("up", "-d")
    one = Container(podman, "pycni_one_1")
    assert answers("tcp", one.netns, 80, podman.node.outside, podman.node.ADDRESS, 8080)
    if os.path.exists("/usr/lib/podman/aardvark-dns"):
        assert one.addresses[0] in podman("exec", "pycni_two_1", "busybox", "nslookup", "one", "10.88.0.1")
    compose("down", "-t", "0")
    assert cached() == []
    assert "pycni_front" not in podman("network", "ls")


def test_the_demo() -> None:
    """`make demo-podman` shows what its page promises, and removes everything."""
    demo = Path(__file__).parents[2] / "deploy/demo-podman"
    done = subprocess.run(["/usr/bin/python3", demo], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"driver": "cni"' in done.stdout and "root:x:0:0" in done.stdout
    assert done.stdout.endswith("Nothing is left: no attachment, no lease, no rule.\n")


def test_a_reset_and_a_loss_of_everything_else(podman: Netavark) -> None:
    """Reset detaches its containers. Storage that is lost, or removed by hand, is left to GC."""
    node = podman.node
    podman.run("--network", "web").remove()
    before = node.snapshot()
    podman.run("--network", "web", "-p", "8080:80")
    podman("system", "reset", "--force")
    podman.containers.clear()
    assert node.snapshot() == before and cached() == []
    for made in ("networks", "tmp", "root", "run"):
        (podman.folder / made).mkdir(exist_ok=True)
    podman("load", "-q", "-i", str(podman.folder / "pause.tar"))
    podman.create("web")
    lost = podman.run("--network", "web", "-p", "8080:80")
    record, lease = cached()[0], set(node.leases("web"))
    content = (CACHE / record).read_text()
    lost.remove()
    # a power cut: what is on the disk is as it was, podman's storage and all of /run are new
    (CACHE / record).write_text(content)
    for address in lease:
        (node.data_dir / "web" / address).write_text(f"{lost.id}\r\neth0")
    done = podman.driver("gc", "--podman", str(podman.folder / "podman"))
    assert (done.returncode, done.stdout) == (0, ""), done
    assert node.snapshot() == before and cached() == [] and node.leases("web") == {}
