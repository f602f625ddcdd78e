"""A podman of a user: the driver runs as root of podman's user namespace, where /var/lib cannot be written.

podman gives its networks a /run of their own, which lasts as long as their network namespace. So a private mount
namespace with a folder of that /run as /var/lib/cni is all that plugins and libcni need. The two mounts are made by the
programs of util-linux, because Python has no function for them.
"""

import os
import sys

STATE = "/var/lib/cni"
_OWN = "/run/cni/pycni/podman-lib"
_INSIDE = "PYCNI_NETAVARK_MOUNTED"


def is_rootless() -> bool:
    """Whether this process is root of a user namespace only."""
    try:
        with open("/proc/self/uid_map") as file:
            return file.read().split() != ["0", "0", "4294967295"]
    except OSError:
        return False


def with_own_state(argv: list[str]) -> str:
    """Have a writable /var/lib/cni: the first call replaces this process. Returns why that is not possible, or nothing."""
    if os.environ.get(_INSIDE) != str(os.getppid()):
        environ = {**os.environ, _INSIDE: str(os.getppid())}
        command = ["unshare", "--mount", "--propagation", "private", "--", sys.argv[0], *argv]
        try:
            os.execvpe(command[0], command, environ)
        except OSError as error:
            return f"the program unshare cannot be executed ({error}); install util-linux"
    import subprocess

    del os.environ[_INSIDE]
    # without /var/lib/cni there is nothing to mount on, so /var/lib is replaced
    source, target = (f"{_OWN}/cni", STATE) if os.path.isdir(STATE) else (_OWN, os.path.dirname(STATE))
    os.makedirs(f"{_OWN}/cni", 0o755, exist_ok=True)
    done = subprocess.run(["mount", "--bind", source, target], capture_output=True, text=True, check=False)
    return f"cannot mount a writable {STATE} for this user: {done.stderr.strip()}" if done.returncode else ""
