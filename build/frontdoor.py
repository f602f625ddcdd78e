"""The first module of a single file: makes the file's path absolute, and starts the plugin or program in it.

It is imported by the file's first line, in an interpreter without site and without environment (-I -S), from the
archive itself. Written so that any Python can read it, to say so where it is too old.
"""

import posix
import sys


def too_old():  # type: ignore[no-untyped-def]
    """What to say if this Python is too old; empty if it will do."""
    if sys.version_info >= (3, 11):
        return ""
    return "this needs Python 3.11 or later, and /usr/bin/python3 is %d.%d" % sys.version_info[:2]


def absolute():  # type: ignore[no-untyped-def]
    """Make the file's path absolute, in sys.path and as sys.argv[0]: it must survive a change of namespace or folder."""
    path = sys.argv[1]
    sys.path_importer_cache.pop(path, None)
    sys.path.remove(path)
    if not path.startswith("/"):
        path = posix.getcwd() + "/" + path
    sys.path.insert(0, path)
    sys.argv[:] = [path] + sys.argv[2:]  # noqa: RUF005


def serve(package):  # type: ignore[no-untyped-def]
    """One call of the package's plugin; the exit status."""
    text = too_old()
    if text:
        posix.write(1, ('{"cniVersion": "1.1.0", "code": 999, "msg": "%s"}' % text).encode())
        return 1
    absolute()
    from cni import skel

    __import__(package + ".plugin")
    return skel.main(sys.modules[package + ".plugin"].PLUGIN)


def plugin(package):  # type: ignore[no-untyped-def]
    """Serve a call, and end without the interpreter's own tidying, which takes two milliseconds and changes nothing."""
    posix._exit(serve(package))


def program(module):  # type: ignore[no-untyped-def]
    """Run a module's ``main`` on the words of the command line; what it returns is the exit status."""
    text = too_old()
    if text:
        sys.exit(text)
    absolute()
    __import__(module)
    sys.exit(sys.modules[module].main(sys.argv[1:]))
