"""The first module of a single file: makes the file's path absolute, and starts the plugin or program in it.

It is imported by the file's first line, in an interpreter without site and without environment (-I -S), from the
archive itself. Written so that any Python can read it, to say so where it is too old.
"""

import posix
import sys

# Where a fork server listens, and the variable that names another place; set and empty it means: nowhere.
SOCKET = b"/run/cni-forkserver/socket"
VARIABLE = b"CNI_FORKSERVER"


def too_old() -> str:
    """What to say if this Python is too old; empty if it will do."""
    if sys.version_info >= (3, 11):
        return ""
    return "this needs Python 3.11 or later, and /usr/bin/python3 is %d.%d" % sys.version_info[:2]


def absolute() -> None:
    """Make the file's path absolute, in sys.path and as sys.argv[0]: it must survive a change of namespace or folder."""
    path = sys.argv[1]
    sys.path_importer_cache.pop(path, None)
    sys.path.remove(path)
    if not path.startswith("/"):
        path = posix.getcwd() + "/" + path
    sys.path.insert(0, path)
    sys.argv[:] = [path] + sys.argv[2:]  # noqa: RUF005


def handed_over(package: str, build: str) -> "int | None":
    """The exit status if a fork server has served the call; None if it is still to be served, here."""
    path = posix.environ.get(VARIABLE, SOCKET)
    # VERSION is served sooner than it is handed over
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
    """One call of the package's plugin; the exit status."""
    text = too_old()
    if text:
        posix.write(1, ('{"cniVersion": "1.1.0", "code": 999, "msg": "%s"}' % text).encode())
        return 1
    absolute()
    status = handed_over(package, build)
    if status is not None:
        return status
    import gc

    import archivefinder

    gc.disable()  # what a call leaves to be collected is less than looking for it costs
    archivefinder.install(sys.path[0])
    import cni
    from cni import skel

    cni.build = build
    __import__(package + ".plugin")
    return skel.main(sys.modules[package + ".plugin"].PLUGIN)


def plugin(package: str, build: str) -> None:
    """Serve a call, and end without the interpreter's own tidying, which takes two milliseconds and changes nothing."""
    posix._exit(serve(package, build))


def program(module: str, build: str) -> None:
    """Run a module's ``main`` on the words of the command line; what it returns is the exit status."""
    text = too_old()
    if text:
        sys.exit(text)
    absolute()
    import cni

    cni.build = build
    __import__(module)
    sys.exit(sys.modules[module].main(sys.argv[1:]))
