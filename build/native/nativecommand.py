"""The command ``pycni``: the words that are no plugin's and no program's name."""

import _signal  # type: ignore[import-not-found]  # `signal` imports enum
import os
import sys
from collections.abc import Callable

import _pycni  # type: ignore[import-not-found]  # the launcher's own module

# netavark takes every file in a folder as a driver of that name, so the driver has a folder of its own, beside FOLDER.
DRIVER, DRIVER_PLACE = "netavark-cni", "netavark/cni"
ENDING = (_signal.SIGTERM, _signal.SIGINT)
SYMBOLIC, NETAVARK, SERVE, WAIT = "--symbolic", "--netavark", "--forkserver", "--wait"
USAGE = f"""\
usage: pycni NAME [ARGUMENT…]        run a plugin or a program
       pycni forkserver [ARGUMENT…]
       pycni install [OPTION…] FOLDER
       pycni list

A link to this file with the name of a plugin is that plugin. `pycni install` copies the file and makes the links, and
`pycni list` prints the names.

{SYMBOLIC}    make symbolic links
{NETAVARK}    also install the driver of netavark, in ../{os.path.dirname(DRIVER_PLACE)}
{SERVE}  then run the fork server: cni-forkserver --foreground
{WAIT}        then wait for SIGTERM or SIGINT
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


def install(folder: str, options: set[str]) -> None:
    """Copy this file to ``folder/pycni``, and make a link to it for each plugin and program."""
    folder = os.path.abspath(folder)
    driver = f"{os.path.dirname(folder)}/{DRIVER_PLACE}"
    os.makedirs(folder, exist_ok=True)
    whole = f"{folder}/pycni"
    _place(lambda at: _copy("/proc/self/exe", at), whole)
    targets = {name: f"{folder}/{name}" for name in _pycni.names if name != DRIVER}
    if NETAVARK in options:
        os.makedirs(os.path.dirname(driver), exist_ok=True)
        targets[DRIVER] = driver
    for target in targets.values():
        _place(_linker(whole, target if SYMBOLIC in options else ""), target)
    for changed in {os.path.dirname(target) for target in targets.values()}:
        opened = os.open(changed, os.O_RDONLY)
        os.fsync(opened)
        os.close(opened)
    print(f"installed {whole}", *targets.values(), sep="\ninstalled ", flush=True)
    if NETAVARK in options:
        print(f'for podman 5, in containers.conf under [network]: netavark_plugin_dirs = ["{os.path.dirname(driver)}"]')


def _installed(words: list[str]) -> int:
    """``pycni install``: the exit status. With ``--forkserver``, the process becomes the server."""
    options = {word for word in words if word.startswith("-")}
    folders = [word for word in words if word not in options]
    if len(folders) != 1 or not options <= {SYMBOLIC, NETAVARK, SERVE, WAIT}:
        return _usage(2)
    try:
        install(folders[0], options)
        if SERVE in options:
            os.execv(sys.argv[0], ["pycni", "forkserver", "--foreground"])
    except OSError as error:
        sys.stderr.write(f"pycni: {error}\n")
        return 1
    if WAIT in options:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, ENDING)
        _signal.sigwait(ENDING)
    return 0


def _usage(status: int) -> int:
    (sys.stderr if status else sys.stdout).write(USAGE)
    return status


def main(argv: list[str]) -> int:
    """Do what the words say, and return the exit status."""
    words = [*_pycni.words, *argv]
    if words == ["list"]:
        print("\n".join(_pycni.names))
        return 0
    if words[:1] == ["install"]:
        return _installed(words[1:])
    return _usage(0 if words in (["--help"], ["-h"]) else 2)
