"""Import everything that a call may import, and then prevent imports.

A call may be served in the caller's mount namespace, where the path of a module may be any file. So the process that
serves it must not import anything. The imports in the functions of all modules are found in their bytecode, and imported
here. As in a plugin's own process, ``cni.lean`` loads the libraries, and they come first, so that they get the same
placeholders.
"""

import gc
import os
import sys

from archivefinder import entries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType
    from typing import Any, NoReturn

    from cni.skel import Plugin

# These are not imported. hashlib loads OpenSSL, which is 4 MB, and each CPython that can run this has the digest without
# it. No plugin uses ipaddress.
_SKIPPED = frozenset({"hashlib", "ipaddress"})
# Modules that no function names: codecs of text that is not UTF-8.
_IMPLIED = ("encodings.ascii", "encodings.latin_1", "encodings.utf_16_le")
# A code object of a function, not of a module or class (CO_OPTIMIZED).
_OF_FUNCTION = 0x1
_MADV_POPULATE_WRITE = 23
_PAGE = os.sysconf("SC_PAGE_SIZE")
# The last byte of a page's entry in pagemap (proc_pid_pagemap(5)): it is present, and in this process only. The table maps
# such a byte to 1, and each other one to 0.
_OWN = 0x81
_WRITTEN = bytes(byte & _OWN == _OWN for byte in range(256))


def modules(archive: str) -> list[str]:
    """The names of our modules in a file: those of ``cni``, of the server and of each plugin, not of other programs."""
    found = []
    names = [entry.rpartition(".") for entry in entries(archive) if entry.endswith((".py", ".pyc"))]
    plugins = {name.partition("/")[0] for name, _, _ in names if name.endswith("/plugin")}
    for name, _, _ in names:
        if name.partition("/")[0] in {"cni", "cni_forkserver", *plugins}:
            found.append(name.removesuffix("/__init__").replace("/", "."))
    return list(dict.fromkeys(found))  # a single file has both kinds


def import_everything(archive: str) -> "dict[str, Plugin]":
    """Import everything, and return the plugins by package."""
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
            if name not in _SKIPPED:
                __import__(name)
        except ImportError:
            pass  # this Python does not have the module, and the function does without it
    return {name.removesuffix(".plugin"): sys.modules[name].PLUGIN for name in own if name.endswith(".plugin")}


def _functions(code: "CodeType") -> "Iterator[CodeType]":
    """The code of every function in a module, including nested ones."""
    if code.co_flags & _OF_FUNCTION:
        yield code
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            yield from _functions(constant)


def _loaded_by(code: "CodeType") -> "Iterator[tuple[str, str]]":
    """The library and the module of each ``load("library.module")``."""
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


def freeze() -> None:
    """Exclude all objects from garbage collection, so that children share their memory for longer."""
    gc.collect()
    gc.freeze()


def writable_memory() -> list[tuple[int, int]]:
    """The start and length of each private writable mapping of this process (proc_pid_maps(5))."""
    found = []
    with open("/proc/self/maps") as file:
        for line in file:
            place, rights = line.split()[:2]
            if rights.startswith("rw") and rights.endswith("p"):
                start, end = (int(number, 16) for number in place.split("-"))
                found.append((start, end - start))
    return found


def _madvise() -> "Callable[[int, int, int], object]":
    """The system call madvise(2)."""
    try:
        from _pycni import madvise  # type: ignore[import-not-found]  # in the native file

        return madvise  # type: ignore[no-any-return]
    except ImportError:
        import _ctypes

    class Word(_ctypes._SimpleCData):  # type: ignore[type-arg]
        """An address or a size. A Python integer would be passed as an int of 32 bits."""

        _type_ = "P"

    function = _ctypes.dlsym(_ctypes.dlopen(None, 2), "madvise")  # type: ignore[arg-type]  # None is the program itself
    return lambda start, length, advice: _ctypes.call_function(function, (Word(start), Word(length), advice))


class Pages:
    """The pages of the server's memory that calls write to, because they count references.

    After a fork, such a page is copied when it is written to. Spare children copy these pages in advance, all at once
    (madvise(2), Linux 5.14), which takes less time and delays no call. After a call, a child notes its pages in a file in
    memory, which all children share. A wrong note costs time or memory, and has no other effect.
    """

    def __init__(self) -> None:
        self._places = writable_memory()
        self._madvise = _madvise()
        self._notes = os.memfd_create("pages")
        self._map = -1

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The file descriptors that a child keeps."""
        return tuple(fd for fd in (self._notes, self._map) if fd >= 0)

    def copy(self) -> None:
        """Copy the noted pages. If the kernel has no pagemap, there are no notes."""
        try:
            self._map = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        notes, first = os.pread(self._notes, sum(length // _PAGE for _, length in self._places), 0), 0
        for start, length in self._places:
            for at, end in _runs(notes[first : first + length // _PAGE]):
                self._madvise(start + at * _PAGE, (end - at) * _PAGE, _MADV_POPULATE_WRITE)
            first += length // _PAGE

    def note(self) -> None:
        """Note the pages that are now copied."""
        if self._map < 0:
            return
        found = b""
        for start, length in self._places:
            found += os.pread(self._map, length // _PAGE * 8, start // _PAGE * 8)[7::8].ljust(length // _PAGE, b"\0")
        notes = int.from_bytes(os.pread(self._notes, len(found), 0), "little")
        more = notes | int.from_bytes(found.translate(_WRITTEN), "little")
        if more != notes:
            os.pwrite(self._notes, more.to_bytes(len(found), "little"), 0)


def _runs(notes: bytes) -> "Iterator[tuple[int, int]]":
    """The begin and end of each run of pages that are noted."""
    end = 0
    while (at := notes.find(1, end)) >= 0:
        end = notes.find(0, at)
        if end < 0:
            end = len(notes)
        yield at, end


class _NoImports:
    """The only finder in a process that serves a call. It raises an error for each import."""

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "NoReturn":  # noqa: ARG002
        raise ModuleNotFoundError(f"{name} was not imported before the call", name=name)


def prevent_imports() -> None:
    """Prevent imports of modules that are not imported yet."""
    sys.path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
    sys.meta_path[:] = [_NoImports()]
