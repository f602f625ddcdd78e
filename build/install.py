#!/usr/bin/python3
"""Install single files, and uninstall them.

    install.py install|uninstall DIST BIN_DIR CONF_DIR [UNIT_DIR [PROGRAM_DIR]]
    install.py units DIST BIN_DIR CONF_DIR UNIT_DIR [PROGRAM_DIR]

It needs only the node's Python, and compiles the files for it. Files are renamed into place, so that a plugin that is
running keeps the old file. Existing configuration is not changed. If UNIT_DIR is given, the units of the fork server and
of the DHCP daemon are installed there. They start programs in PROGRAM_DIR, the path of BIN_DIR on the node.
"""

import os
import sys
from pathlib import Path

import archive

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
EXAMPLE = DEPLOY / "10-mynet.conflist"
UNITS = (
    *("cni-forkserver.socket", "cni-forkserver.service"),
    *("cni-dhcp.socket", "cni-dhcp.service"),
    *("netavark-cni-gc.service", "netavark-cni-gc.timer"),
)
# netavark takes every file in a folder as a driver of that name, so the driver has a folder of its own, beside BIN_DIR.
DRIVER, DRIVER_PLACE = "netavark-cni", ("netavark", "cni")
CONFIGURATION = (".conf", ".conflist", ".json")


def place(data: bytes, target: Path, mode: int) -> None:
    """Write a new file to the disk, and rename it to the target."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.rename(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def install(dist: Path, binaries: Path, configuration: Path) -> None:
    """Install every single file in ``dist``, and the example configuration if there is no configuration."""
    binaries.mkdir(parents=True, exist_ok=True)
    for file in sorted(dist.iterdir()):
        if file.name.startswith(".") or not file.is_file():
            continue
        data = file.read_bytes()
        if not archive.is_ours(data):
            continue
        target = driver(binaries) if file.name == DRIVER else binaries / file.name
        target.parent.mkdir(exist_ok=True)
        place(archive.recompiled(data), target, 0o755)
        print(f"installed {target}")
        if file.name == DRIVER:
            print(f'for podman 5, in containers.conf under [network]: netavark_plugin_dirs = ["{target.parent}"]')
    configuration.mkdir(parents=True, exist_ok=True)
    existing = sorted(path.name for path in configuration.iterdir() if path.suffix in CONFIGURATION)
    if existing:
        print(f"left {configuration} as it is: {', '.join(existing)}")
    else:
        place(EXAMPLE.read_bytes(), configuration / EXAMPLE.name, 0o644)
        print(f"installed {configuration / EXAMPLE.name}")


def driver(binaries: Path) -> Path:
    """Where the driver of netavark is installed."""
    return binaries.parent.joinpath(*DRIVER_PLACE)


def units(program_dir: str) -> dict[str, bytes]:
    """The contents of the units, by name."""
    if any(letter.isspace() or letter in "%$\"'\\" for letter in program_dir) or not program_dir.startswith("/"):
        sys.exit(f"install.py: the path {program_dir} cannot stand in a unit")
    texts = {name: (DEPLOY / "systemd" / name).read_text() for name in UNITS}
    places = {"/opt/cni/bin/": f"{program_dir}/", "/opt/cni/netavark/": f"{driver(Path(program_dir)).parent}/"}
    for usual, place_here in places.items():
        texts = {name: text.replace(usual, place_here) for name, text in texts.items()}
    return {name: text.encode() for name, text in texts.items()}


def install_units(folder: Path, program_dir: str) -> None:
    """Install the units of the sockets and the services. They are not enabled."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in units(program_dir).items():
        place(data, folder / name, 0o644)
        print(f"installed {folder / name}")
    print("then: systemctl daemon-reload && systemctl enable --now cni-forkserver.socket")
    print("and for the plugin dhcp: systemctl enable --now cni-dhcp.socket cni-dhcp.service")
    print("and for podman 5: systemctl enable --now netavark-cni-gc.timer")


def uninstall_units(folder: Path, program_dir: str) -> None:
    """Remove the units that were not edited."""
    for name, data in units(program_dir).items():
        if (folder / name).is_file() and (folder / name).read_bytes() == data:
            (folder / name).unlink()
            print(f"removed {folder / name}")


def uninstall(binaries: Path, configuration: Path) -> None:
    """Remove our files, which have a mark, and the example configuration if it was not edited."""
    files = [*(sorted(binaries.iterdir()) if binaries.is_dir() else ()), driver(binaries)]
    # The native file's names may be symbolic links to one of them.
    for file in [file for file in files if file.is_file() and archive.is_ours(file.read_bytes())]:
        file.unlink()
        print(f"removed {file}")
    example = configuration / EXAMPLE.name
    if example.is_file() and example.read_bytes() == EXAMPLE.read_bytes():
        example.unlink()
        print(f"removed {example}")


def main(
    action: str, dist: str, binaries: str, configuration: str, unit_dir: str = "", program_dir: str = "/opt/cni/bin"
) -> None:
    """Install or uninstall. The parameters are the words of the command line."""
    if action == "install":
        install(Path(dist), Path(binaries), Path(configuration))
        if unit_dir:
            install_units(Path(unit_dir), program_dir)
    elif action == "units" and unit_dir:
        install_units(Path(unit_dir), program_dir)
    elif action == "uninstall":
        uninstall(Path(binaries), Path(configuration))
        if unit_dir:
            uninstall_units(Path(unit_dir), program_dir)
    else:
        sys.exit(f"install.py: {action} is neither install, units nor uninstall")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"install.py: {error}")
