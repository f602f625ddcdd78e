"""Take over the caller's surroundings, so that the call runs as if the caller had started the process.

The control group, the parent and file descriptors above 2 are not taken over (docs/forkserver.md).
"""

import _signal  # type: ignore[import-not-found]  # as in `serving`
import os
import resource
import sys

from cni.kernel.namespace import setns
from cni_forkserver.peer import Caller, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_CLONE_NEWNET, _CLONE_NEWNS = 0x40000000, 0x00020000
# The C library reserves some signals; they are not among these.
_SIGNALS = _signal.valid_signals()
_LIMITS = tuple(
    value for name, value in vars(resource).items() if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"
)
# A child of the server uses more memory than a plugin's own process, so a low limit might be too low for it.
_OF_MEMORY, _MEMORY = (resource.RLIMIT_AS, resource.RLIMIT_DATA), 256 << 20


class Request:
    """A call as ``handover`` sends it: build, package, umask, words, environment, separated by zero bytes."""

    __slots__ = ("argv", "build", "environ", "package", "umask")

    def __init__(self, packet: bytes) -> None:
        """Parse the packet. Raises ``ValueError``."""
        build, package, umask, count, *rest = packet.split(b"\0")
        words = int(count)
        self.build = build.decode()
        self.package = package.decode()
        self.umask = int(umask)
        self.argv = [os.fsdecode(word) for word in rest[:words]]
        self.environ = dict(entry.split(b"=", 1) for entry in rest[words:])


def _is_same_file(fd: int, path: str) -> bool:
    opened, named = os.fstat(fd), os.stat(path)
    return (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)


def enter(cwd: int, root: int, net: int, mount: int) -> None:
    """Take over the namespaces, root and working directory. Raises ``OSError``.

    After this, paths are those of the caller, and nothing may be imported.
    """
    if not _is_same_file(mount, "/proc/self/ns/mnt"):
        setns(mount, _CLONE_NEWNS)
    # Always change the root: even in the same mount namespace it may be another one, and a bind mount of "/" hides that.
    os.fchdir(root)
    os.chroot(".")
    os.fchdir(cwd)
    if not _is_same_file(net, "/proc/self/ns/net"):
        setns(net, _CLONE_NEWNET)


def limits(caller: Caller) -> None:
    """Take over resource limits, priority, CPU affinity and the OOM score adjustment. Raises ``OSError``, ``Refused``."""
    pid = caller.pid
    wanted = [(kind, resource.prlimit(pid, kind)) for kind in _LIMITS]
    if any(kind in _OF_MEMORY and 0 <= soft < _MEMORY for kind, (soft, _) in wanted):
        raise Refused(f"a limit of less than {_MEMORY >> 20} MiB on the caller's memory")
    nice, cpus = os.getpriority(os.PRIO_PROCESS, pid), os.sched_getaffinity(pid)
    with open(f"/proc/{pid}/oom_score_adj", "rb") as file:
        score = file.read()
    caller.must_be_alive()
    for kind, pair in wanted:
        if resource.getrlimit(kind) != pair:
            resource.setrlimit(kind, pair)
    if os.getpriority(os.PRIO_PROCESS, 0) != nice:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    if os.sched_getaffinity(0) != cpus:
        os.sched_setaffinity(0, cpus)
    with open("/proc/self/oom_score_adj", "r+b", buffering=0) as file:
        if file.read() != score:
            file.write(score)


def signals(caller: Caller) -> None:
    """Take over which signals are ignored. Raises ``OSError``, ``ValueError``."""
    for number in _SIGNALS:
        ignored = bool(caller.ignored >> number - 1 & 1)
        if ignored != (_signal.getsignal(number) == _signal.SIG_IGN):
            _signal.signal(number, _signal.SIG_IGN if ignored else _signal.SIG_DFL)
    if _signal.getsignal(_signal.SIGINT) == _signal.SIG_DFL:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)  # as Python does when it starts


def process(request: Request, streams: "Sequence[int]") -> None:
    """Take over standard streams, umask, arguments and environment."""
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    os.umask(request.umask)
    sys.argv[:] = request.argv
    os.environb.clear()
    os.environb.update(request.environ)
