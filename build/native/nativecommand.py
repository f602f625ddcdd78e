"""The command ``pycni``: the words that are no plugin's and no program's name."""

import _signal  # type: ignore[import-not-found]  # `signal` imports enum
import fcntl
import os
import sys
from collections.abc import Callable

import _pycni  # type: ignore[import-not-found]  # the launcher's own module

import cni
from cni.identity import build_of
from cni.versions import CURRENT, RELEASE

# netavark takes every file in a folder as a driver of that name, so the driver has a folder of its own, beside FOLDER.
DRIVER, DRIVER_PLACE = "netavark-cni", "netavark/cni"
ENDING = (_signal.SIGTERM, _signal.SIGINT)
SYMBOLIC, NETAVARK, SERVE, WAIT = "--symbolic", "--netavark", "--forkserver", "--wait"
USAGE = f"""\
usage: pycni NAME [ARGUMENT…]        run a plugin or a program
       pycni forkserver [ARGUMENT…]
       pycni install [OPTION…] FOLDER
       pycni uninstall FOLDER
       pycni list
       pycni --version

A link to this file with the name of a plugin is that plugin. `pycni install` copies the file and makes the links,
`pycni uninstall` removes both, and `pycni list` prints the names. The options of `pycni install`:

{SYMBOLIC}    make symbolic links
{NETAVARK}    also install the driver of netavark, in ../{os.path.dirname(DRIVER_PLACE)}
{SERVE}  then run the fork server: cni-forkserver --foreground
{WAIT}        then wait for SIGTERM or SIGINT
"""


def _place(make: Callable[[str], object], target: str) -> None:
    """Make a file under another name, and rename it: a pod that starts meanwhile gets the old one or the new one."""
    folder, name = os.path.split(target)
    temporary = f"{folder}/.{name}.new"
    try:
        _remove(temporary)  # of an installation that was killed
        make(temporary)
        os.rename(temporary, target)
    finally:
        _remove(temporary)


def _remove(path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)


def _lock(folder: str) -> None:
    """Wait for other installations into the folder. In containers they may all have the same process id."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
    except OSError as error:
        sys.stderr.write(f"pycni: {folder} cannot be locked: {error.strerror}; no other installation may run\n")


def _driver_of(folder: str) -> str:
    return f"{os.path.dirname(folder)}/{DRIVER_PLACE}"


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
    driver = _driver_of(folder)
    os.makedirs(folder, exist_ok=True)
    _lock(folder)
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


def uninstall(folder: str) -> None:
    """Remove this project's files of either kind. Others with the same names stay."""
    folder = os.path.abspath(folder)
    _lock(folder)
    places = [f"{folder}/{name}" for name in ("pycni", *_pycni.names) if name != DRIVER]
    # All are looked at first: some may be symbolic links to another.
    for path in [path for path in (*places, _driver_of(folder)) if os.path.isfile(path) and build_of(path)]:
        os.unlink(path)
        print(f"removed {path}")


def _installed(words: list[str]) -> int:
    """``pycni install``: the exit status. With ``--forkserver``, the process becomes the server."""
    options = {word for word in words if word.startswith("-")}
    folders = [word for word in words if word not in options]
    if unknown := options - {SYMBOLIC, NETAVARK, SERVE, WAIT}:
        return _refuse(f"install has no option {min(unknown)}")
    if len(folders) != 1:
        return _refuse("install takes one folder")
    install(folders[0], options)
    if SERVE in options:
        os.execv(sys.argv[0], ["pycni", "forkserver", "--foreground"])
    if WAIT in options:
        _signal.pthread_sigmask(_signal.SIG_BLOCK, ENDING)
        _signal.sigwait(ENDING)
    return 0


def _refuse(why: str) -> int:
    sys.stderr.write(f"pycni: {why}; `pycni --help` explains the use\n")
    return 2


def _no_plugin() -> int:
    """Print the use. A runtime that takes this file for a plugin gets an error object."""
    if "CNI_COMMAND" not in os.environ:
        sys.stderr.write(USAGE)
        return 2
    from cni import wire

    text = f"no plugin has the name of this file, {os.path.basename(sys.argv[0])}"
    details = "make a link with the plugin's name to it; `pycni list` prints the names"
    print(wire.encode({"cniVersion": CURRENT, "code": 999, "msg": text, "details": details}))
    return 1


def _done(words: list[str]) -> int:
    if words in (["--help"], ["-h"], ["help"]):
        sys.stdout.write(USAGE)
    elif words == ["--version"]:
        print(f"pycni {RELEASE}, build {cni.build}, with Python {sys.version.split()[0]}")
    elif words == ["list"]:
        print("\n".join(_pycni.names))
    elif words[0] == "install":
        return _installed(words[1:])
    elif words[0] == "uninstall" and len(words) == 2:
        uninstall(words[1])
    elif words[0] in ("uninstall", "list", "--version"):
        return _refuse(f"{words[0]} takes {'one folder' if words[0] == 'uninstall' else 'no argument'}")
    else:
        return _refuse(f"there is no plugin, program or command {words[0]}, and `pycni list` prints the names")
    return 0


def main(argv: list[str]) -> int:
    """Do what the words say, and return the exit status."""
    words = [*_pycni.words, *argv]
    if not words:
        return _no_plugin()
    try:
        return _done(words)
    except OSError as error:
        sys.stderr.write(f"pycni: {error}\n")
        return 1
