#!/usr/bin/env python3
"""Unpack Debian's Python of another architecture into a folder: ``build/foreign.py ARCHITECTURE FOLDER``.

apt downloads and verifies the packages, with lists of its own in the folder. Nothing is installed, and dpkg does not learn
of the architecture.
"""

import subprocess
import sys
from pathlib import Path

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PACKAGES = (f"libpython{VERSION}-dev", "zlib1g-dev", "libc6-dev", "linux-libc-dev")


def unpack(architecture: str, folder: Path) -> None:
    """Download the packages, unpack them in ``folder/root``, and note their versions in ``folder/versions``."""
    for name in ("lists/partial", "cache/archives/partial", "packages", "root"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    settings = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "root",
        "Dir::State::Lists": folder / "lists",
        "Dir::State::status": "/dev/null",
        "Dir::Cache": folder / "cache",
    }
    apt = ["apt-get", "-q", *(f"-o{name}={value}" for name, value in settings.items())]
    for old in (folder / "packages").iterdir():
        old.unlink()
    subprocess.run([*apt, "update"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*apt, "download", *PACKAGES], check=True, stdout=subprocess.DEVNULL, cwd=folder / "packages")
    versions = []
    for package in sorted((folder / "packages").glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, folder / "root"], check=True)
        printed = subprocess.run(
            ["dpkg-deb", "-W", "--showformat=${Package} ${Version}\n", package],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        versions.append(printed.stdout)
    (folder / "versions").write_text("".join(versions))


if __name__ == "__main__":
    unpack(sys.argv[1], Path(sys.argv[2]).resolve())
