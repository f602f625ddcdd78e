"""``wheels.py RELEASE PIP``: load what .venv needs on the root of a release, with a pip of this machine.

The root has no network, and neither this machine's certificates nor its settings of pip.
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from debian import entering, root


def required() -> list[str]:
    """The requirements of the test environment and of its build."""
    described = tomllib.loads((entering.CHECKOUT / "pyproject.toml").read_text())
    extras = described["project"]["optional-dependencies"]
    own = f"{described['project']['name']}["
    found = [each for extra in extras.values() for each in extra if not each.startswith(own)]
    return sorted({*found, *described["build-system"]["requires"]})


def main(release: str, pip: str) -> None:
    """Load them, if they are other ones than last time."""
    into = entering.belongings(release) / "wheels"
    locked = entering.CHECKOUT / "build/requirements.txt"
    with root.in_use(release) as at:
        (library,) = (at / "root/usr/lib").glob("python3.*")
    version = library.name.removeprefix("python")
    wanted = "\n".join([version, *required(), locked.read_text()])
    done = into / ".done"
    if done.exists() and done.read_text() == wanted:
        return
    options = ["--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--python-version", version]
    for of in (required(), ["--require-hashes", "-r", str(locked)]):
        subprocess.run([os.path.abspath(pip), "download", *options, "--dest", str(into), *of], check=True, cwd="/")
    done.write_text(wanted)


if __name__ == "__main__":
    main(*sys.argv[1:])
