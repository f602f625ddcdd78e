"""The first module of a single file. It makes the file's path absolute, and starts the plugin or program.

The file's first line imports it from the archive, in an isolated interpreter (-I -S). Any Python must be able to compile
it, so that it can report a Python that is too old.
"""

import posix
import sys

# The socket of a fork server, and the variable that names another one. If it is set and empty, no server is used.
SOCKET = b"/run/cni-forkserver/socket"
VARIABLE = b"CNI_FORKSERVER"
# The package of the plugin whose file is a daemon too, and the module of the daemon.
DAEMON = ("cni_dhcp", "cni_dhcp_daemon.command")


def too_old() -> str:
    """An error if this Python is too old, else an empty text."""
    if sys.version_info >= (3, 11):
        return ""
    return "this needs Python 3.11 or later, and /usr/bin/python3 is %d.%d" % sys.version_info[:2]


def absolute() -> None:
    """Make the file's path absolute in sys.path and sys.argv[0], because the working directory may change."""
    path = sys.argv[1]
    sys.path_importer_cache.pop(path, None)
    sys.path.remove(path)
    if not path.startswith("/"):
        path = posix.getcwd() + "/" + path
    sys.path.insert(0, path)
    sys.argv[:] = [path] + sys.argv[2:]  # noqa: RUF005


def handed_over(package: str, build: str) -> "int | None":
    """The exit status if a fork server has served the call. None if this process must serve it."""
    path = posix.environ.get(VARIABLE, SOCKET)
    # VERSION takes less time than a call to the server.
    if not path or posix.environ.get(b"CNI_COMMAND", b"VERSION") == b"VERSION":
        return None
    try:
        posix.stat(path)
        for stream in (0, 1, 2):
            posix.fstat(stream)
    except (OSError, ValueError):
        return None
    import handover

    return handover.serve(path, package, build)


def serve(package: str, build: str) -> int:
    """Serve one call of the package's plugin, and return the exit status."""
    text = too_old()
    if text:
        posix.write(1, ('{"cniVersion": "1.1.0", "code": 999, "msg": "%s"}' % text).encode())
        return 1
    absolute()
    if sys.argv[1:2] == ["daemon"] and package == DAEMON[0]:
        return daemon(build)
    status = handed_over(package, build)
    return serve_here(package, build) if status is None else status


def serve_here(package: str, build: str) -> int:
    """Serve one call in this process, and return the exit status."""
    import gc

    import archivefinder

    gc.disable()  # a collection would take time and free little
    archivefinder.install(sys.path[0])
    import cni
    from cni import skel

    cni.build = build
    __import__(package + ".plugin")
    return skel.main(sys.modules[package + ".plugin"].PLUGIN)


def daemon(build: str) -> int:
    """Run the daemon, and return the exit status."""
    import cni

    cni.build = build
    __import__(DAEMON[1])
    return int(sys.modules[DAEMON[1]].main(sys.argv[2:]))


def plugin(package: str, build: str) -> None:
    """Serve a call, and exit without the interpreter's clean-up, which takes two milliseconds."""
    posix._exit(serve(package, build))


def native(package: str, build: str) -> None:
    """As ``plugin``, for the native file: it has this Python, and its launcher has asked the fork server."""
    absolute()
    posix._exit(serve_here(package, build))


def program(module: str, build: str) -> None:
    """Run a module's ``main`` with the arguments of the command line. It returns the exit status."""
    text = too_old()
    if text:
        sys.exit(text)
    absolute()
    import cni

    cni.build = build
    __import__(module)
    sys.exit(sys.modules[module].main(sys.argv[1:]))
