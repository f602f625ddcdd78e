"""mypy --strict on a consumer's code, in both ways that docs/runtime.md names, and that it finds what is wrong there."""

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
    for part in ("common", "plugins", "deploy", "runtime"):
        shutil.copytree(ROOT / part, source / part)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    venv.create(folder / "venv")
    (packages,) = (folder / "venv/lib").glob("python3*/site-packages")
    command = [sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", "build", "--build-lib", packages]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder / "venv/bin/python3"


@pytest.mark.parametrize("how", ["installed", "checkout"])
def test_a_consumers_code_passes_and_its_mistakes_do_not(tmp_path: Path, how: str) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "MYPYPATH"}
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path}/cache"]
    if how == "installed":
        command.append(f"--python-executable={_installed(tmp_path / 'environment')}")
    else:
        environ["MYPYPATH"] = f"{ROOT}/common:{ROOT}/runtime"

    def mypy(file: Path) -> tuple[int, str]:
        done = subprocess.run([*command, file], env=environ, capture_output=True, text=True, cwd=tmp_path, timeout=300)
        return done.returncode, done.stdout + done.stderr

    right, wrong = tmp_path / "right.py", tmp_path / "wrong.py"
    right.write_text(CONSUMER.read_text())
    status, said = mypy(right)
    assert status == 0, said
    wrong.write_text(WRONG)
    status, said = mypy(wrong)
    assert status == 1
    lines = {line.split(":")[1] for line in said.splitlines() if ": error:" in line}
    assert lines == {"2", "4", "5"}, said
