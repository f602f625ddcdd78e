"""What an index would get: the wheel and the source distribution, built, checked, and installed where nothing else is."""

import email
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from libcni import __version__

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PARTS = ("bench", "build", "common", "deploy", "docs", "plugins", "runtime", "tests", "tools")
FILES = (
    ".editorconfig",
    ".pre-commit-config.yaml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "MANIFEST.in",
    "Makefile",
    "README.md",
    "mkdocs.yml",
    "pyproject.toml",
    "setup.cfg",
    "setup.py",
)
LEFT = shutil.ignore_patterns("__pycache__", "*.pyc", "lib", "bdist.*")
# Every module, in a fresh interpreter that has nothing but the wheel.
IMPORT_ALL = """
import importlib, importlib.metadata, importlib.util, pkgutil, sys
import libcni
for module in pkgutil.walk_packages(libcni.__path__, "libcni."):
    importlib.import_module(module.name)
assert importlib.metadata.version("pycni") == libcni.__version__
assert importlib.metadata.requires("pycni") and not any("extra" not in one for one in importlib.metadata.requires("pycni"))
for name in ("cni", "cni_bridge", "pyroute2", "netaddr"):
    assert importlib.util.find_spec(name) is None, name
assert libcni.network_conf_from_bytes(b'{"name":"n","cniVersion":"1.0.0","plugins":[{"type":"x"}]}').name == "n"
"""
PLUGIN = """#!/bin/sh
echo '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.5/24"}]}'
"""


class Built:
    """Both files, the wheel that the source distribution gives, and what the tools said."""

    def __init__(self, at: Path) -> None:
        self.source = at / "source"
        for part in PARTS:
            shutil.copytree(ROOT / part, self.source / part, ignore=LEFT)
        for file in FILES:
            shutil.copy(ROOT / file, self.source)
        self.said = self._build("--wheel", "--outdir", at / "direct") + self._build("--outdir", at / "both")
        (self.direct,) = (at / "direct").glob("*.whl")
        (self.wheel,) = (at / "both").glob("*.whl")
        (self.sdist,) = (at / "both").glob("*.tar.gz")

    def _build(self, *words: str | Path) -> str:
        command = [sys.executable, "-m", "build", "--no-isolation", *words, self.source]
        # not from the root: its build/ would stand beside the tool of that name
        done = subprocess.run(command, cwd=self.source.parent, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def metadata(self) -> Message:
        return email.message_from_bytes(self.content(self.wheel)[f"pycni-{__version__}.dist-info/METADATA"])

    def content(self, wheel: Path) -> dict[str, bytes]:
        with zipfile.ZipFile(wheel) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


pytestmark = pytest.mark.xdist_group("package")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(tmp_path_factory.mktemp("package"))


def test_the_wheel_takes_one_name(built: Built) -> None:
    content = built.content(built.wheel)
    assert {name.split("/")[0] for name in content} == {"libcni", f"pycni-{__version__}.dist-info"}
    assert {"libcni/py.typed", "libcni/containerd/__init__.py", "libcni/_cni/result.py"} <= set(content)
    shared = re.compile(rb"^\s*(from|import) cni\b", re.MULTILINE)
    assert [name for name, data in content.items() if name.endswith(".py") and shared.search(data)] == []


def test_the_source_distribution_gives_the_same_wheel(built: Built) -> None:
    assert built.content(built.wheel) == built.content(built.direct)


def test_the_source_distribution_has_all_sources(built: Built) -> None:
    """All that make dist and make test need."""
    with tarfile.open(built.sdist) as archive:
        there = {name.partition("/")[2] for name in archive.getnames()}
    files = [path for part in PARTS for path in (ROOT / part).rglob("*") if path.is_file()]
    made = re.compile(r"/__pycache__/|\.egg-info/|^build/(lib|bdist)|\.pyc$")
    wanted = {path.relative_to(ROOT).as_posix() for path in files} | set(FILES)
    assert {name for name in wanted if not made.search(name)} - there == set()


def test_an_index_would_take_them(built: Built) -> None:
    command = [sys.executable, "-m", "twine", "--no-color", "check", "--strict", built.wheel, built.sdist]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.count("PASSED")) == (0, 2), done.stdout + done.stderr
    assert "deprecated" not in built.said.lower(), built.said


def test_the_metadata(built: Built) -> None:
    metadata = built.metadata
    assert metadata["License-Expression"] == "Apache-2.0"
    assert not [one for one in metadata.get_all("Requires-Dist", []) if "extra ==" not in one]
    assert metadata["Version"] == __version__
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    urls = dict(one.split(", ", 1) for one in metadata.get_all("Project-URL", []))
    assert set(urls) == {"Source", "Documentation", "Changelog", "Issues"}
    assert all(url.startswith(urls["Source"]) for url in urls.values())


def test_links_of_the_readme_lead_somewhere_from_an_index(built: Built) -> None:
    """Absolute, and what they name is in the repository."""
    page, source = str(built.metadata.get_payload()), PROJECT["project"]["urls"]["Source"]
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page) if not link.startswith("#")]
    assert len(links) > 10 and any(link.endswith(".svg") for link in links)
    for link in links:
        assert link.startswith("https://"), link
        if link.startswith(source):
            kind, _, path = link.removeprefix(f"{source}/").partition("/main/")
            assert kind == ("raw" if path.endswith(".svg") else "blob")
            assert (ROOT / path.partition("#")[0]).is_file(), link


def test_an_installed_wheel(built: Built, tmp_path: Path) -> None:
    """Without pyroute2; the command runs a plugin."""
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv/bin/python3"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", built.wheel]
    subprocess.run(install, check=True, timeout=300)
    imported = subprocess.run(
        [python, "-I", "-c", IMPORT_ALL], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (imported.returncode, imported.stdout) == (0, ""), imported.stderr
    (tmp_path / "stub").write_text(PLUGIN)
    (tmp_path / "stub").chmod(0o755)
    (tmp_path / "10.conflist").write_text('{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"stub"}]}')
    environ = {"CNI_PATH": str(tmp_path), "NETCONFPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}
    command = [tmp_path / "venv/bin/cnitool", "--cache", tmp_path / "cache", "add", "n", "/run/netns/none"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ips"] == [{"address": "10.0.0.5/24"}]


def test_the_bound_of_the_builder_is_tested_with() -> None:
    """It has an upper end, and these tests ran below it."""
    (builder,) = map(Requirement, PROJECT["build-system"]["requires"])
    assert any(one.operator == "<" for one in builder.specifier)
    assert importlib.metadata.version("setuptools") in builder.specifier
