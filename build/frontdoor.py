"""The first module of a single file: makes the file's path absolute, and starts the plugin in it.

It is imported by the file's first line, in an interpreter without site and without environment (-I -S), from the
archive itself. Written so that any Python can read it, to say so where it is too old.
"""

import posix
import sys


def main(package):  # type: ignore[no-untyped-def]  # noqa: D103
    if sys.version_info < (3, 11):
        version = "%d.%d" % sys.version_info[:2]
        text = "this needs Python 3.11 or later, and /usr/bin/python3 is " + version
        posix.write(1, ('{"cniVersion": "1.1.0", "code": 999, "msg": "%s"}' % text).encode())
        return 1
    path = sys.argv[1]
    sys.path_importer_cache.pop(path, None)
    sys.path.remove(path)
    if not path.startswith("/"):
        path = posix.getcwd() + "/" + path
    sys.path.insert(0, path)
    sys.argv[:] = [path, *sys.argv[2:]]
    from cni import skel

    __import__(package + ".plugin")
    return skel.main(sys.modules[package + ".plugin"].PLUGIN)


def start(package):  # type: ignore[no-untyped-def]
    """Run, and end without the interpreter's own tidying, which takes two milliseconds and changes nothing."""
    posix._exit(main(package))
