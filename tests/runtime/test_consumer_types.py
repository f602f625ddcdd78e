"""mypy --strict on a consumer's code, and that it finds what is wrong there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="mypy is not installed")
ROOT = Path(__file__).parents[2]
CONSUMER = Path(__file__).with_name("consumer.py")


def _mypy(file: Path, cache: Path) -> tuple[int, str]:
    command = [
        sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=", "--no-warn-unused-ignores",
        f"--cache-dir={cache}", "--explicit-package-bases", str(file),
    ]  # fmt: skip
    environ = {**os.environ, "MYPYPATH": f"{ROOT}/common:{ROOT}/runtime"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, cwd=file.parent, timeout=300)
    return done.returncode, done.stdout + done.stderr


def test_a_consumers_code_passes_and_its_mistakes_do_not(tmp_path: Path) -> None:
    right = tmp_path / "right.py"
    right.write_text(CONSUMER.read_text())
    status, said = _mypy(right, tmp_path / "cache")
    assert status == 0, said
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from libcni import CNI, CNIConfig, RuntimeConf, load_network_conf\n"
        "cni: CNI = CNIConfig('/opt/cni/bin', timeout=5)\n"
        "net = load_network_conf('/x', 'n')\n"
        "cni.add_network_list(net.plugins[0], RuntimeConf())\n"
        "size: int = cni.add_network_list(net, RuntimeConf(container_id=7))\n"
    )
    status, said = _mypy(wrong, tmp_path / "cache")
    assert status == 1
    lines = {line.split(":")[1] for line in said.splitlines() if ": error:" in line}
    assert lines == {"2", "4", "5"}, said
