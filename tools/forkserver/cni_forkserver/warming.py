"""Everything that a call may import, imported before the first; and afterwards no import at all.

A call may be served in the caller's mount namespace, where a file may lie under the path of any module. So the process
that serves it can import nothing: what our functions import when they need it is found in their code and imported
here, by the means of the cold path (``cni.lean``): the libraries first, so that their placeholders are the same.
"""

import _ctypes
import gc
import sys
import zipimport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType
    from typing import Any, NoReturn

    from cni.skel import Plugin

# OpenSSL behind hashlib is 4 MB, and every CPython that can run this has the digest without it; no plugin asks for
# the standard library's addresses.
_DEAR = frozenset({"hashlib", "ipaddress"})
# What no function of ours names: codecs of text that is not UTF-8.
_IMPLIED = ("encodings.ascii", "encodings.latin_1", "encodings.utf_16_le")
# A code object of a function, not of a module or class (CO_OPTIMIZED).
_OF_FUNCTION = 0x1
_MADV_POPULATE_WRITE = 23


def modules(archive: str) -> list[str]:
    """The names of our modules in a single file: of ``cni`` and of every plugin."""
    found = []
    for entry in sorted(zipimport._zip_directory_cache[archive]):  # type: ignore[attr-defined]  # as pkgutil does
        if entry.endswith(".py") and entry.startswith(("cni/", "cni_")):
            found.append(entry.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    return found


def everything(archive: str) -> "dict[str, Plugin]":
    """Import all: the plugins by their packages."""
    from cni import lean

    own = modules(archive)
    codes: list[CodeType] = []
    for name in own:
        __import__(name)
        codes += _functions(sys.modules[name].__loader__.get_code(name))  # type: ignore[union-attr]
    for code in codes:
        for package, name in _loaded_by(code):
            if package in lean.LIBRARIES:
                lean.LIBRARIES[package].load(name)
    for name in dict.fromkeys([*(name for code in codes for name in _imported_by(code)), *_IMPLIED]):
        try:
            if name not in _DEAR:
                __import__(name)
        except ImportError:
            pass  # a module of another Python: the function that names it has another way
    return {name.removesuffix(".plugin"): sys.modules[name].PLUGIN for name in own if name.endswith(".plugin")}


def _functions(code: "CodeType") -> "Iterator[CodeType]":
    """The code of every function in a module, however deep."""
    if code.co_flags & _OF_FUNCTION:
        yield code
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            yield from _functions(constant)


def _loaded_by(code: "CodeType") -> "Iterator[tuple[str, str]]":
    """Library and module of each ``load("library.module")``."""
    if "load" in code.co_names:
        for constant in code.co_consts:
            if isinstance(constant, str) and constant.replace(".", "").isidentifier() and "." in constant:
                yield constant.partition(".")[0], constant


def _imported_by(code: "CodeType") -> "Iterator[str]":
    """The names in a function's import statements."""
    from opcode import EXTENDED_ARG, opmap

    extended = 0
    for at in range(0, len(code.co_code), 2):
        operation, argument = code.co_code[at], code.co_code[at + 1] | extended
        extended = argument << 8 if operation == EXTENDED_ARG else 0
        if operation == opmap["IMPORT_NAME"]:
            yield code.co_names[argument]


def settle() -> None:
    """After this, what is imported is shared with the children as long as it can be: the collector leaves it alone."""
    gc.collect()
    gc.freeze()


def written_to() -> list[tuple[int, int]]:
    """Where this process's own memory is: starts and lengths of what may be written to (proc_pid_maps(5))."""
    found = []
    with open("/proc/self/maps") as file:
        for line in file:
            place, rights = line.split()[:2]
            if rights.startswith("rw") and rights.endswith("p"):
                start, end = (int(number, 16) for number in place.split("-"))
                found.append((start, end - start))
    return found


class _Word(_ctypes._SimpleCData):  # type: ignore[type-arg]
    """An address or a size: a plain number would be handed over as an int of 32 bits."""

    _type_ = "P"


def populate(places: list[tuple[int, int]]) -> None:
    """Have memory that is shared with the server since the fork copied at once (madvise(2), Linux 5.14).

    A call writes to most of it, if only by counting references: page by page that costs more, and while somebody waits.
    """
    madvise = _ctypes.dlsym(_ctypes.dlopen(None, 2), "madvise")  # type: ignore[arg-type]  # None is the program itself
    for start, length in places:
        _ctypes.call_function(madvise, (_Word(start), _Word(length), _MADV_POPULATE_WRITE))


class _Sealed:
    """The only finder in a process that serves a call."""

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "NoReturn":  # noqa: ARG002
        raise ModuleNotFoundError(f"{name} was not imported before the call", name=name)


def seal() -> None:
    """From here on nothing can be imported that is not imported already."""
    sys.path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
    sys.meta_path[:] = [_Sealed()]
