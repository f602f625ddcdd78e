#!/usr/bin/python3
"""Put single files in place, and take them away again: ``install.py install|uninstall DIST BIN_DIR CONF_DIR``.

Runs with the node's Python and nothing else, so that the files get its bytecode. A file that is running stays whole:
the new one gets the name by rename. Existing configuration is left alone.
"""

import os
import sys
from pathlib import Path

import archive

EXAMPLE = Path(__file__).resolve().parent.parent / "deploy/10-mynet.conflist"
CONFIGURATION = (".conf", ".conflist", ".json")


def place(data: bytes, target: Path, mode: int) -> None:
    """Write beside the target, to the disk, and rename onto it."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    temporary.rename(target)
    folder = os.open(target.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def install(dist: Path, binaries: Path, configuration: Path) -> None:
    """Every single file of ``dist``, and the example configuration where there is none at all."""
    binaries.mkdir(parents=True, exist_ok=True)
    for file in sorted(dist.iterdir()):
        data = file.read_bytes()
        if file.name.startswith(".") or not archive.is_ours(data):
            continue
        place(archive.recompiled(data), binaries / file.name, 0o755)
        print(f"installed {binaries / file.name}")
    configuration.mkdir(parents=True, exist_ok=True)
    there = sorted(path.name for path in configuration.iterdir() if path.suffix in CONFIGURATION)
    if there:
        print(f"left {configuration} as it is: {', '.join(there)}")
    else:
        place(EXAMPLE.read_bytes(), configuration / EXAMPLE.name, 0o644)
        print(f"installed {configuration / EXAMPLE.name}")


def uninstall(binaries: Path, configuration: Path) -> None:
    """Our files, known by their own mark, and the example configuration if nobody changed it."""
    for file in sorted(binaries.iterdir()) if binaries.is_dir() else ():
        if file.is_file() and archive.is_ours(file.read_bytes()):
            file.unlink()
            print(f"removed {file}")
    example = configuration / EXAMPLE.name
    if example.is_file() and example.read_bytes() == EXAMPLE.read_bytes():
        example.unlink()
        print(f"removed {example}")


def main(deed: str, dist: str, binaries: str, configuration: str) -> None:
    """Do the deed."""
    if deed == "install":
        install(Path(dist), Path(binaries), Path(configuration))
    elif deed == "uninstall":
        uninstall(Path(binaries), Path(configuration))
    else:
        sys.exit(f"install.py: {deed} is neither install nor uninstall")


if __name__ == "__main__":
    main(*sys.argv[1:])
