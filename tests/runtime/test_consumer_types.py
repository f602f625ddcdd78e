"""mypy and pyright, both strict, on a consumer's code, in both ways that docs/runtime.md names; and on what is wrong."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="mypy is not installed")
ROOT = Path(__file__).parents[2]
CONSUMER = Path(__file__).with_name("consumer.py")
EXAMPLES = sorted((ROOT / "docs/examples").glob("*.py"))
WRONG = (
    "from libcni import CNI, CNIConfig, RuntimeConf, load_network_conf\n"
    "cni: CNI = CNIConfig('/opt/cni/bin', timeout=5)\n"
    "net = load_network_conf('/x', 'n')\n"
    "cni.add_network_list(net.plugins[0], RuntimeConf())\n"
    "size: int = cni.add_network_list(net, RuntimeConf(container_id=7))\n"
)


def _installed(folder: Path) -> Path:
    """The packages that ``pip install .`` puts into an environment, in one of its own; the answer is its interpreter."""
    pytest.importorskip("setuptools", reason="setuptools is not installed")
    source = folder / "source"
    for part in ("common", "plugins", "runtime", "tools"):
        shutil.copytree(ROOT / part, source / part)
    for file in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "build/packing.py", "build/roots.py"):
        (source / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, source / file)
    venv.create(folder / "venv")
    (packages,) = (folder / "venv/lib").glob("python3*/site-packages")
    command = [sys.executable, "setup.py", "-q", "build", "--build-lib", packages]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder / "venv/bin/python3"


pytestmark = pytest.mark.xdist_group("consumer types")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the library."""
    return _installed(tmp_path_factory.mktemp("environment"))


class Checker:
    """A type checker; ``lines`` are those of a file with an error."""

    def __init__(self, at: Path, python: Path | None) -> None:
        self.at = at
        self.python = python
        self.checkout = [] if python else [f"{ROOT}/common", f"{ROOT}/runtime"]
        self.environ = {name: value for name, value in os.environ.items() if name != "MYPYPATH"}

    def lines(self, *texts: str) -> set[int]:
        raise NotImplementedError

    def files(self, texts: tuple[str, ...]) -> list[str]:
        for number, text in enumerate(texts):
            (self.at / f"code{number}.py").write_text(text)
        return [f"code{number}.py" for number in range(len(texts))]

    def said(self, command: list[str | Path]) -> str:
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, cwd=self.at, timeout=300)
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.stdout


class Mypy(Checker):
    def lines(self, *texts: str) -> set[int]:
        files = self.files(texts)
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--config-file=",
            f"--cache-dir={self.at}/c",
        ]
        if self.python:
            command.append(f"--python-executable={self.python}")
        else:
            self.environ["MYPYPATH"] = ":".join(self.checkout)
        said = self.said([*command, *files]).splitlines()
        return {int(line.split(":")[1]) for line in said if ": error:" in line}


class Pyright(Checker):
    """basedpyright's packages bring the program along; pyright's own loads it from elsewhere."""

    def lines(self, *texts: str) -> set[int]:
        files = self.files(texts)
        config = {"typeCheckingMode": "strict", "include": files, "extraPaths": self.checkout}
        (self.at / "pyrightconfig.json").write_text(json.dumps(config))
        python = self.python or Path(sys.executable)
        said = json.loads(self.said([sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", python]))
        assert said["summary"]["filesAnalyzed"] == len(files)
        found = [one for one in said["generalDiagnostics"] if one["severity"] == "error"]
        return {one["range"]["start"]["line"] + 1 for one in found}


@pytest.mark.parametrize("how", ["installed", "checkout"])
@pytest.mark.parametrize("checker", [Mypy, Pyright])
def test_a_consumers_code_passes_and_its_mistakes_do_not(
    tmp_path: Path, installed: Path, checker: type[Checker], how: str
) -> None:
    check = checker(tmp_path, installed if how == "installed" else None)
    assert check.lines(*(file.read_text() for file in (CONSUMER, *EXAMPLES))) == set()
    assert check.lines(WRONG) == {2, 4, 5}
