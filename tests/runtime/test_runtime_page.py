"""docs/runtime.md tells every name that there is, and shows the examples as they are."""

import dataclasses
import io
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

import libcni
from cni.skel import Call
from cni_portmap import settings
from libcni import AsyncCNIConfig, CNIConfig, Options, _commandline, containerd
from libcni.containerd import AsyncContainerd, Containerd

from .conftest import network
from .stub import Stubs, result

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "runtime.md").read_text()
PROSE = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
WORDS = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", PROSE))))


def methods(of: type) -> set[str]:
    return {name for name in dir(of) if not name.startswith("_") and callable(getattr(of, name))}


@pytest.mark.parametrize("module", [libcni, containerd], ids=lambda module: str(module.__name__))
def test_every_public_name_is_there(module: ModuleType) -> None:
    names = set(module.__all__)
    assert {name for name in names if not hasattr(module, name)} == set()
    assert names - WORDS == set()


@pytest.mark.parametrize(("one", "other"), [(CNIConfig, AsyncCNIConfig), (Containerd, AsyncContainerd)])
def test_every_method_is_there_in_both_forms(one: type, other: type) -> None:
    assert methods(one) == methods(other)
    assert methods(one) <= WORDS, methods(one) - WORDS


def test_every_option_is_there() -> None:
    """With its row; and each default is Go's, which is: not."""
    for field in dataclasses.fields(Options):
        assert f"\n| `{field.name}` |" in PAGE
    plain = {field.name: getattr(Options(), field.name) for field in dataclasses.fields(Options)}
    assert not any(plain[name] for name in plain if name not in ("undo_timeout", "lock_timeout", "report"))


def test_the_commands_words_are_there() -> None:
    section = PAGE.split("\n## cnitool\n")[1].split("\n## ")[0]
    for word in (
        *_commandline.VERBS,
        "--json",
        "--timeout",
        "--undo",
        "--undo-timeout",
        "--all",
        "--leftovers",
        "--container",
        "--cache",
        "--ifname",
        "-i",
    ):
        assert f"`{word}" in section
    for variable in re.findall(r"^  ([A-Z_]+) ", _commandline.usage(), re.MULTILINE):
        assert f"`{variable}`" in section


def test_the_helps_example_of_capabilities_is_what_portmap_takes() -> None:
    text = _commandline.usage().split("CAP_ARGS")[1]
    said = text[text.index("{") : text.rindex("}") + 1]
    conf = {"cniVersion": "1.1.0", "name": "net1", "type": "portmap", "runtimeConfig": json.loads(said)}
    (mapping,) = settings.read(Call({"CNI_COMMAND": "ADD"}, json.dumps(conf).encode(), io.StringIO())).mappings
    assert (mapping.protocol, mapping.host_port, mapping.container_port) == ("tcp", 80, 80)


def test_the_example_is_the_file() -> None:
    shown = PAGE.split("<!-- example: the file as it stands; a test holds that -->\n```python\n")[1].split("```")[0]
    assert shown == (DOCS / "examples/tiny_runtime.py").read_text()


@pytest.mark.parametrize("name", ["many_pods.py", "pod_networks.py", "watched_folder.py"])
def test_the_other_examples_are_the_files(name: str) -> None:
    shown = PAGE.split(f"<!-- example: {name} -->\n```python\n")[1].split("```")[0]
    assert shown == (DOCS / "examples" / name).read_text()


def test_the_snippet_of_a_containers_end_runs(
    stubs: Stubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it stands, but for the folders."""
    stubs.add("one", result("1.1.0"))
    (tmp_path / "net.d").mkdir()
    (tmp_path / "net.d/10.conflist").write_bytes(network("one", version="1.1.0").bytes)
    monkeypatch.setattr("libcni._cache.DEFAULT_FOLDER", str(tmp_path / "cache"))
    snippet = PAGE.split("### When a container ends\n\n```python\n")[1].split("```")[0]
    folders = {"/opt/cni/bin": stubs.folder, "/etc/cni/net.d": tmp_path / "net.d", "/run/myruntime": tmp_path}
    for name, own in folders.items():
        snippet = snippet.replace(name, str(own))
    exec(snippet, {})
    assert capsys.readouterr().out == "['10.1.2.3/24']\n"
    assert stubs.order == ["ADD one", "DEL one", "GC one"]
    assert stubs.calls[2].config["cni.dev/valid-attachments"] == [{"containerID": "c2", "ifname": "eth0"}]


def test_the_first_snippet_is_code_that_mypy_and_python_know() -> None:
    """Every name that it imports is there; it is in the consumer's code as well."""
    snippet = PAGE.split("```python\n")[1].split("```")[0]
    compile(snippet, "snippet", "exec")
    imported = re.search(r"from libcni import (.*)", snippet)
    assert imported is not None
    assert set(imported[1].split(", ")) <= set(libcni.__all__)
