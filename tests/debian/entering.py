"""Run a command on the root of another Debian: ``run`` returns its exit status.

The command is in mount, process and network namespaces of its own: what it writes outside of the checkout stays in
memory, what it leaves running ends with it, and no interface but lo is there. The checkout is at its usual path, with a
.venv and a dist of this root.
"""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from debian import mounts, root

CHECKOUT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
# Of the caller's environment; and of pip, which finds wheels that were loaded outside.
KEPT = ("TERM", "CI", "COLUMNS")


def belongings(release: str) -> Path:
    """The folder of the checkout with what is built for, and on, the root of a release."""
    return CHECKOUT / ".venv/roots" / release


def run(release: str, command: Sequence[str]) -> int:
    """Run a command on a release's root, in the checkout, and wait for it. 128 and the signal's number if that ended it."""
    with root.in_use(release) as at:
        (at / "layer").mkdir(exist_ok=True)
        mounts.unshare(mounts.CLONE_NEWPID)
        first = os.fork()
        if not first:
            try:
                mounts.end_with_parent()
                _enter(at, release)
                os._exit(_serve(command))
            except OSError as error:
                print(f"{command[0]} on the root of {release}: {error}", file=sys.stderr)
            finally:
                os._exit(125)
        # ^C is for the command, which has a report to write
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return _status(os.waitpid(first, 0)[1])


def _status(status: int) -> int:
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _enter(at: Path, release: str) -> None:
    """Put this process, the first of its namespace, on the root."""
    layer = at / "layer"
    new = layer / "new"
    mounts.own_namespace()
    mounts.unshare(mounts.CLONE_NEWNET)
    mounts.mount("tmpfs", layer, "tmpfs", data="mode=755")
    for part in ("upper", "work"):
        (layer / part).mkdir()
    layers = f"lowerdir={at}/root,upperdir={layer}/upper,workdir={layer}/work"
    mounts.mount("overlay", new, "overlay", data=layers)
    mounts.mount("proc", new / "proc", "proc")
    mounts.mount("sysfs", new / "sys", "sysfs")
    for of_machine in (Path("/sys/fs/cgroup"), Path("/dev"), Path("/lib/modules")):
        if of_machine.is_dir():
            mounts.bind(of_machine, new / of_machine.relative_to("/"))
    mounts.mount("tmpfs", new / "run", "tmpfs", data="mode=755")
    # real ones, for whom an overlay is not good enough: storage of containers, and tests that make an overlay
    for folder, mode in (
        ("tmp", "1777"),
        ("var/tmp", "1777"),
        ("var/lib/containers", "755"),
        ("var/lib/containerd", "755"),
    ):
        mounts.mount("tmpfs", new / folder, "tmpfs", data=f"mode={mode}")
    _bind_checkout(new, release)
    (new / "run/lock").mkdir(mode=0o1777)
    mounts.change_root(new)


def _bind_checkout(new: Path, release: str) -> None:
    """The checkout, with what was built for this root in the place of what was built for the machine."""
    inside = new / CHECKOUT.relative_to("/")
    mounts.bind(CHECKOUT, inside)
    for name, folder in ((".venv", "venv"), ("dist", "dist"), ("reports", "reports")):
        (belongings(release) / folder).mkdir(parents=True, exist_ok=True)
        mounts.bind(belongings(release) / folder, inside / name)
    wheels = belongings(release) / "wheels"
    if wheels.is_dir():
        mounts.bind(wheels, new / "srv/wheels")
    pointer = CHECKOUT / ".git"
    if pointer.is_file():  # a work tree of git: its repository is elsewhere
        repository = Path(pointer.read_text().removeprefix("gitdir: ").strip()).parents[1]
        mounts.bind(repository, new / repository.relative_to("/"), writable=False)


def _serve(command: Sequence[str]) -> int:
    """Be the first process: start the command, and reap whatever ends until it does. Its exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/srv/wheels", "PIP_ROOT_USER_ACTION": "ignore"}
    kept = {name: value for name, value in os.environ.items() if name in KEPT or name.startswith("PYCNI_")}
    child = os.fork()
    if not child:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.chdir(CHECKOUT)
        environ = {**ENVIRONMENT, **pip, **kept}
        os.environ["PATH"] = environ["PATH"]
        try:
            os.execvpe(command[0], list(command), environ)
        except OSError as error:
            print(f"{command[0]}: {error.strerror}", file=sys.stderr)
            os._exit(127)
    os.spawnve(os.P_WAIT, "/usr/sbin/ip", ["ip", "link", "set", "lo", "up"], ENVIRONMENT)
    while True:
        ended, status = os.wait()
        if ended == child:
            return _status(status)
