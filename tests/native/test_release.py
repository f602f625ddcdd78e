"""dist/release, after ``make release``: its sums, its bill of materials, and the file for the other architecture."""

import hashlib
import json
import lzma
import os
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest

from node.configuration import bridge, host_local
from node.plugin import LIMIT, PLUGINS
from node.topology import Node

RELEASE = Path(__file__).parents[2] / "dist/release"
if not (RELEASE / "SHA256SUMS").exists():
    pytest.skip("dist/release is not there: make release makes it", allow_module_level=True)
FILE = Path(__file__).parents[2] / "dist/native/pycni"
if not (RELEASE / "pycni-linux-amd64").read_bytes().endswith(FILE.read_bytes()[-64:]):
    pytest.skip("dist/release is of another build: make release", allow_module_level=True)
pytestmark = pytest.mark.real
NATIVE = {"pycni-linux-amd64": "x86_64", "pycni-linux-arm64": "aarch64"}


def bill() -> dict[str, Any]:
    """The bill of materials."""
    (file,) = RELEASE.glob("*.cdx.json")
    document: dict[str, Any] = json.loads(file.read_text())
    return document


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_sums_are_those_of_all_files() -> None:
    """SHA256SUMS can be checked with sha256sum."""
    sums = dict(reversed(line.split()) for line in (RELEASE / "SHA256SUMS").read_text().splitlines())
    assert set(sums) == {at.name for at in RELEASE.iterdir()} - {"SHA256SUMS"}
    assert sums == {name: sha256(RELEASE / name) for name in sums}


@pytest.mark.parametrize("name", NATIVE)
def test_a_native_file_is_small(name: str) -> None:
    """At most 14 MB, and 4 MB as `xz` compresses it."""
    data = (RELEASE / name).read_bytes()
    assert len(data) <= 14_000_000 and len(lzma.compress(data)) <= 4_000_000


def test_the_bill_of_materials_names_what_is_inside() -> None:
    """Each file with its hash, and for native files Debian's packages with their versions."""
    document = bill()
    known = {each["bom-ref"]: each for each in document["components"]}
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.5")
    inside = {each["ref"]: each["dependsOn"] for each in document["dependencies"]}
    assert {part for parts in inside.values() for part in parts} <= set(known)
    for name in inside["pycni"]:
        assert known[name]["hashes"] == [{"alg": "SHA-256", "content": sha256(RELEASE / name)}]
        libraries = {known[part]["name"] for part in inside[name]}
        assert {"pyroute2", "netaddr"} <= libraries
        assert ("libc6-dev" in libraries) == (name in NATIVE)
        assert any(each.startswith("libpython3") for each in libraries) == (name in NATIVE)


def test_all_files_are_of_one_build() -> None:
    """So one fork server serves callers of both kinds."""
    (archive,) = RELEASE.glob("*.tgz")
    with tarfile.open(archive) as whole:
        assert {member.name.removeprefix("./") for member in whole} > set(PLUGINS)
        single = whole.extractfile("./bridge")
        assert single
        marks = {single.read()[-64:]}
    marks |= {(RELEASE / name).read_bytes()[-64:] for name in NATIVE}
    (stated,) = bill()["metadata"]["component"]["properties"]
    assert {mark.decode() for mark in marks} == {stated["value"]}


@pytest.mark.parametrize("name", NATIVE)
def test_the_file_runs_on_its_machine(name: str, tmp_path: Path) -> None:
    """Emulated, if it is for another machine: the door, Python, and a program that uses a part of Python's library."""
    emulator = [] if os.uname().machine == NATIVE[name] else [f"qemu-{NATIVE[name]}-static"]
    (tmp_path / "loopback").symlink_to(RELEASE / name)

    def run(*words: str, stdin: str = "", **env: str) -> "subprocess.CompletedProcess[str]":
        command = [*emulator, *words]
        environ = {"PATH": "/usr/bin:/bin", **env}
        return subprocess.run(command, env=environ, input=stdin, capture_output=True, text=True, timeout=LIMIT)

    plugin = str(tmp_path / "loopback")
    assert json.loads(run(plugin, CNI_COMMAND="VERSION").stdout)["cniVersion"] == "1.1.0"
    conf = '{"cniVersion": "1.1.0", "name": "lo", "type": "loopback"}'
    answered = run(plugin, stdin=conf, CNI_COMMAND="STATUS", CNI_PATH="/nowhere", CNI_FORKSERVER="")
    assert (answered.returncode, answered.stdout, answered.stderr) == (0, "", "")
    refused = run(plugin, stdin=conf[:-1], CNI_COMMAND="STATUS", CNI_PATH="/nowhere", CNI_FORKSERVER="")
    assert json.loads(refused.stdout)["code"] == 6
    assert "Usage:" in run(str(RELEASE / name), "cnitool", "--help").stdout


@pytest.mark.parametrize("name", NATIVE)
def test_the_file_attaches_a_pod_on_its_machine(node: Node, name: str, tmp_path: Path) -> None:
    """bridge with host-local: ADD, CHECK and DEL. An emulator hands rtnetlink on, but not nftables."""
    folder = tmp_path / "bin"
    folder.mkdir()
    emulator = "" if os.uname().machine == NATIVE[name] else f"qemu-{NATIVE[name]}-static"
    for plugin in ("bridge", "host-local"):
        (tmp_path / plugin).symlink_to(RELEASE / name)
        (folder / plugin).write_text(f'#!/bin/sh\nPATH=/usr/bin exec {emulator} {tmp_path}/{plugin} "$@"\n')
        (folder / plugin).chmod(0o755)
    conf = bridge(host_local(node.data_dir, "10.1.2.0/24"), name="net1", isGateway=True)
    pod = node.attach(conf, binaries=str(folder))
    assert pod.pod.addresses("eth0") == {"10.1.2.2/24"}
    checked = pod.check(binaries=str(folder))
    assert checked.ok, checked
    host = pod.host
    assert host in node.snapshot()["links"]
    assert pod.delete(binaries=str(folder)).ok
    assert host not in node.snapshot()["links"] and node.leases() == {}
