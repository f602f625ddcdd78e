"""The format of a single file: a first line, then an archive with each module as source and compiled.

The same modules always give the same bytes: entries are sorted and not compressed, and have one time and one mode. The
archive's comment names the build, so that plugins of the same build recognise each other.
"""

import _imp
import hashlib
import importlib.util
import io
import marshal
import zipfile
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader

MARK = "pycni-build:"
# The kernel reads 255 bytes of the line (Linux 5.1), and passes everything after the program as one word: -I, -S, -c and
# the code. `env -S` could split it, but would be one more program to start.
FIRST_LINE = "#!/usr/bin/python3 -ISc{code}\n"
_CODE = "import sys;p=sys.argv[1];sys.path.insert(0,p);import frontdoor;frontdoor.{kind}({module!r},{build!r})"
# For ``python3 dist/bridge``: it executes the first line's code in an isolated interpreter (-I -S).
_MAIN = """\
import os
import sys

code = {code!r}
python = sys.executable or "/usr/bin/python3"
os.execv(python, [python, "-I", "-S", "-c", code, os.path.dirname(os.path.abspath(__file__)), *sys.argv[1:]])
"""
TIME = (1980, 1, 1, 0, 0, 0)


def compiled(name: str, source: bytes) -> bytes:
    """The module's pyc for this interpreter, without docstrings. It is never checked against its source (PEP 552)."""
    code = SourceFileLoader("", name).source_to_code(source, name, _optimize=2)
    # The bytes depend on which strings this process has interned. Loading and dumping the code makes them independent.
    code = marshal.loads(marshal.dumps(code))  # noqa: S302
    data = bytearray(importlib.util.MAGIC_NUMBER)
    data += (0b01).to_bytes(4, "little")
    data += _imp.source_hash(int.from_bytes(importlib.util.MAGIC_NUMBER, "little"), source)
    data += marshal.dumps(code)
    return bytes(data)


def identity(modules: Mapping[str, bytes]) -> str:
    """The name of a build: a hash of the names and contents of its modules."""
    digest = hashlib.sha256()
    for name in sorted(modules):
        digest.update(f"{name}\0{len(modules[name])}\0".encode() + modules[name])
    return digest.hexdigest()


def plugin(package: str, modules: Mapping[str, bytes], build: str) -> bytes:
    """The single file of a plugin's package. ``modules`` are sources and other texts by their path in the archive."""
    return _single_file(_CODE.format(kind="plugin", module=package, build=build), modules, build)


def program(module: str, modules: Mapping[str, bytes], build: str) -> bytes:
    """The single file of a program: ``main(argv: list[str]) -> int`` of a module."""
    return _single_file(_CODE.format(kind="program", module=module, build=build), modules, build)


def _single_file(code: str, modules: Mapping[str, bytes], build: str) -> bytes:
    entries = {**modules, "__main__.py": _MAIN.format(code=code).encode()}
    return with_compiled(FIRST_LINE.format(code=code).encode(), entries, build)


def with_compiled(first_line: bytes, entries: Mapping[str, bytes], build: str) -> bytes:
    """The first line and the archive. Each source is compiled for this interpreter."""
    if len(first_line) > 255:
        raise ValueError(f"the kernel reads 255 bytes of a first line, this one has {len(first_line)}")
    everything = {name: data for name, data in entries.items() if not name.endswith(".pyc")}
    for name, source in list(everything.items()):
        if name.endswith(".py"):
            everything[f"{name}c"] = compiled(name, source)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = f"{MARK}{build}".encode()
        for name in sorted(everything):
            info = zipfile.ZipInfo(name, TIME)
            info.external_attr = 0o100644 << 16
            info.create_system = 3
            archive.writestr(info, everything[name])
    return _shifted(first_line, out.getvalue())


def _shifted(first_line: bytes, data: bytes) -> bytes:
    """An archive after a first line. Readers find its directory from the end, so its offsets need not change."""
    return first_line + data


def is_ours(data: bytes) -> bool:
    """Whether a file is a single file or a native file of this project."""
    return data.startswith((b"#!", b"\x7fELF")) and MARK.encode() in data[-200:]


def recompiled(data: bytes) -> bytes:
    """The single file, compiled for this interpreter."""
    line = data.split(b"\n", 1)[0] + b"\n"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
        build = archive.comment.decode().removeprefix(MARK)
    magic = importlib.util.MAGIC_NUMBER
    if all(content.startswith(magic) for name, content in entries.items() if name.endswith(".pyc")):
        return data
    return with_compiled(line, entries, build)
