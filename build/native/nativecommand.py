"""The command ``pycni``: the words that are no plugin's and no program's name."""

import os
import sys
from collections.abc import Callable

import _pycni  # type: ignore[import-not-found]  # the launcher's own module

# netavark takes every file in a folder as a driver of that name, so the driver has a folder of its own, beside FOLDER.
DRIVER, DRIVER_PLACE = "netavark-cni", "netavark/cni"
USAGE = """\
usage: pycni NAME [ARGUMENT…]      run a plugin or a program
       pycni forkserver [ARGUMENT…]
       pycni install [--symbolic] FOLDER
       pycni list

A link to this file with the name of a plugin is that plugin. `pycni install` makes the links, and `pycni list` prints
the names.
"""


def _place(make: Callable[[str], object], target: str) -> None:
    """Make a file under another name, and rename it: a pod that starts meanwhile gets the old one or the new one."""
    folder, name = os.path.split(target)
    temporary = f"{folder}/.{name}.{os.getpid()}"
    if os.path.lexists(temporary):
        os.unlink(temporary)
    make(temporary)
    os.rename(temporary, target)


def _copy(source: str, target: str) -> None:
    with open(source, "rb") as read, open(target, "xb") as written:
        while data := read.read(1 << 20):
            written.write(data)
        os.fchmod(written.fileno(), 0o755)
        written.flush()
        os.fsync(written.fileno())


def _linker(file: str, target: str) -> Callable[[str], object]:
    """A function that makes a link to ``file``: a symbolic one that is right at ``target``, or a hard one."""
    if not target:
        return lambda at: os.link(file, at)
    pointer = os.path.relpath(file, os.path.dirname(target))
    return lambda at: os.symlink(pointer, at)


def install(folder: str, symbolic: bool) -> None:
    """Copy this file to ``folder/pycni``, and make a link to it for each plugin and program."""
    folder = os.path.abspath(folder)
    os.makedirs(folder, exist_ok=True)
    whole = f"{folder}/pycni"
    _place(lambda at: _copy("/proc/self/exe", at), whole)
    print(f"installed {whole}")
    for name in _pycni.names:
        target = f"{os.path.dirname(folder)}/{DRIVER_PLACE}" if name == DRIVER else f"{folder}/{name}"
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _place(_linker(whole, target if symbolic else ""), target)
        print(f"installed {target}")
        if name == DRIVER:
            print(
                f'for podman 5, in containers.conf under [network]: netavark_plugin_dirs = ["{os.path.dirname(target)}"]'
            )
    for changed in (folder, f"{os.path.dirname(folder)}/{os.path.dirname(DRIVER_PLACE)}"):
        opened = os.open(changed, os.O_RDONLY)
        os.fsync(opened)
        os.close(opened)


def main(argv: list[str]) -> int:
    """Do what the words say, and return the exit status."""
    words = [*_pycni.words, *argv]
    if words == ["list"]:
        print("\n".join(_pycni.names))
        return 0
    symbolic = "--symbolic" in words
    folders = [word for word in words[1:] if word != "--symbolic"]
    if words[:1] == ["install"] and len(folders) == 1 and not folders[0].startswith("-"):
        try:
            install(folders[0], symbolic)
        except OSError as error:
            print(f"pycni: {error}", file=sys.stderr)
            return 1
        return 0
    asked = words in (["--help"], ["-h"])
    print(USAGE, end="", file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2
