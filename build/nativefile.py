#!/usr/bin/env python3
"""Build dist/native: ``build/nativefile.py [ARCHITECTURE…]``: one file with all plugins, all programs and Python.

Debian's own libpython is linked statically with a launcher (build/native). The modules of pycni, of the libraries and of
Python's library follow as an archive, compiled. The same commit and the same packages always give the same bytes.
"""

import io
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import archive
import dist
from frontdoor import DAEMON
from install import DRIVER, DRIVER_PLACE
from roots import ROOT, package_of, plugins, source_roots

NATIVE = ROOT / "build/native"
FLAGS = (
    "-std=gnu11",
    "-O2",
    "-fno-plt",
    "-fstack-protector-strong",
    "-D_FORTIFY_SOURCE=2",
    "-D_GNU_SOURCE",
    "-DNDEBUG",
)
STRICT = ("-Wall", "-Wextra", "-Werror")
# The C library is static too. The linker warns of functions that would read its configuration, such as getaddrinfo.
STATIC = "in statically linked applications requires at runtime"
LINKED = (
    "-static",
    "-no-pie",
    "-Wl,--build-id=none",
    "-Wl,-z,relro,-z,now",
    "-Wl,--wrap=localtime_r",
    "-Wl,--no-warnings",
)
LIBRARIES = ("-lz", "-lm")
# Modules of Python's library that only other systems use, or only functions that no program of ours calls.
UNUSED = (
    "_strptime", "asyncio.windows_events", "asyncio.windows_utils", "bdb", "bz2", "cmd", "code",
    "concurrent.futures.process", "ctypes", "curses", "distutils", "doctest", "email", "encodings.idna",
    "encodings.mbcs", "fractions", "ftplib", "getpass", "gzip", "http", "importlib.metadata", "importlib.resources",
    "lzma", "mimetypes", "msvcrt", "multiprocessing", "netrc", "nt", "ntpath", "nturl2path", "pdb", "plistlib",
    "pty", "pydoc", "readline", "sqlite3", "ssl", "statistics", "stringprep", "tarfile", "test", "tkinter", "tty",
    "unicodedata", "unittest", "urllib.request", "webbrowser", "winreg", "xml", "zipfile",
)  # fmt: skip
# Modules of libpython that the interpreter itself imports, whose function has another name or none.
CORE = ("_abc", "_codecs", "_collections", "_functools", "_io", "_locale", "_operator", "_signal", "_sre", "_stat", "_string",
        "_symtable", "_thread", "_tracemalloc", "_weakref", "atexit", "errno", "faulthandler", "gc", "itertools", "posix", "pwd",
        "time", "_ast", "_imp", "_tokenize")  # fmt: skip
NAMED = {"marshal": "PyMarshal_Init", "_warnings": "_PyWarnings_Init", "builtins": "NULL", "sys": "NULL"}
# Modules of libpython that since 3.12 need a library that Debian does not ship (sha512.c has what we use of them).
OF_HACL = ("_blake2", "_md5", "_sha1", "_sha2", "_sha3")
# The licences of what is linked, by Debian's package.
LICENCES = {
    "licenses/python/copyright": "lib{python}-stdlib",
    "licenses/libc/copyright": "libc6-dev",
    "licenses/zlib/copyright": "zlib1g-dev",
}
# Modules that no statement names: codecs.
IMPLIED = ("encodings.ascii", "encodings.latin_1", "encodings.utf_16_le", "encodings.utf_8")


# The names of machines, by Debian's names of architectures.
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


class Python(NamedTuple):
    """The Python that is linked."""

    library: Path
    """libpython's archive."""
    headers: tuple[str, ...]
    """Options of the compiler."""
    tools: str = ""
    """What the names of the compiler and of nm begin with."""


def own_architecture() -> str:
    """Debian's name of this machine's architecture."""
    return next(name for name, machine in MACHINES.items() if machine == os.uname().machine)


def python_for(architecture: str) -> Python:
    """Debian's Python of this machine, or of another one (build/foreign.py has unpacked it)."""
    root, tools = Path("/"), ""
    if architecture != own_architecture():
        root = ROOT / f".venv/{architecture}/root"
        tools = f"{MACHINES[architecture]}-linux-gnu-"
    library = root / f"usr/lib/{VERSION}/config-{VERSION[6:]}-{MACHINES[architecture]}-linux-gnu/lib{VERSION}.a"
    return Python(library, (f"--sysroot={root}", f"-I{root / 'usr/include' / VERSION}"), tools)


class Used(NamedTuple):
    """The modules that sources import, directly or not."""

    library: dict[str, bytes]
    """Those of Python's library, by path."""
    names: set[str]
    """All, whether they exist or not."""


def used_by(found: Mapping[str, bytes]) -> Used:
    """The modules that these sources import."""
    import modulefinder

    standard = Path(os.__file__).parent
    with tempfile.TemporaryDirectory() as temporary:
        for name, data in found.items():
            target = Path(temporary, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        finder = modulefinder.ModuleFinder([temporary, str(standard)], excludes=list(UNUSED))
        for name in (*(module_name(at) for at in sorted(found) if at.endswith(".py")), *IMPLIED):
            finder.import_hook(name)
    picked = {}
    for module in finder.modules.values():
        file: str = vars(module)["__file__"] or ""
        if Path(file).is_relative_to(standard):
            picked[Path(file).relative_to(standard).as_posix()] = Path(file).read_bytes()
    return Used({at: picked[at] for at in sorted(picked)}, {*finder.modules, *finder.badmodules} - set(UNUSED))


def module_name(path: str) -> str:
    """The name of a module by its path in the archive."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def built_in(python: Python, names: set[str]) -> str:
    """The table of the modules in libpython that are imported. Those that are not in the table are not linked."""
    command = [f"{python.tools}nm", "-g", "--defined-only", str(python.library)]
    symbols = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    unusable = OF_HACL if sys.version_info >= (3, 12) else ()
    there = {word.removeprefix("PyInit_") for word in symbols.split() if word.startswith("PyInit_")}
    rows = NAMED | {name: f"PyInit_{name}" for name in (there & {*names, *CORE}) - {*unusable}}
    declared = [f"PyObject *{function}(void);" for function in rows.values() if function != "NULL"]
    table = [f'    {{"{name}", {rows[name]}}},' for name in sorted(rows)]
    return (
        "\n".join([*sorted(declared), "struct _inittab _PyImport_Inittab[] = {", *table, "    {NULL, NULL},", "};"])
        + "\n"
    )


def is_frozen(path: str) -> bool:
    """Whether libpython itself contains the module."""
    import _imp

    return _imp.is_frozen(module_name(path))


def archived(sources: Mapping[str, bytes], build: str) -> bytes:
    """The archive: each source compiled, without the source itself, and the licences."""
    out = io.BytesIO()
    entries = {f"{at}c": archive.compiled(at, data) for at, data in sources.items() if at.endswith(".py")}
    entries |= {at: data for at, data in sources.items() if not at.endswith(".py")}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as whole:
        whole.comment = f"{archive.MARK}{build}".encode()
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, archive.TIME)
            info.external_attr, info.create_system = 0o100644 << 16, 3
            whole.writestr(info, entries[name])
    return out.getvalue()


def quoted(text: str) -> str:
    """A string of C."""
    assert text.isascii()  # noqa: S101
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def written(build: str) -> str:
    """The header with what the launcher knows: names, and what a plugin answers without reading anything."""
    sys.path[:0] = [str(at) for at in source_roots()]
    from cni import skel, versions

    version = skel.answer(skel.Plugin("", ""), {"CNI_COMMAND": "VERSION"}, b"", sys.stderr).output.decode()
    facts = [build, version, f"{skel.REFERENCE}+pycni.{skel.VERSION}", ", ".join(versions.KNOWN)]
    rows = [(name, "PLUGIN", package_of(name)) for name in plugins()]
    rows += [(name, "PROGRAM", program.module) for name, program in dist.PROGRAMS.items()]
    short = [
        (name.removeprefix("cni-"), "PROGRAM", program.module)
        for name, program in dist.PROGRAMS.items()
        if name.startswith("cni-")
    ]
    commands = [("pycni", "COMMAND", "nativecommand"), *short]
    commands.append((DRIVER_PLACE[-1], "PROGRAM", dist.PROGRAMS[DRIVER].module))
    lines = [
        f"#define BUILD {quoted(build)}",
        f"#define DAEMON_PACKAGE {quoted(DAEMON[0])}",
        f"#define DAEMON_MODULE {quoted(DAEMON[1])}",
        f"static const struct facts FACTS = {{{', '.join(map(quoted, facts))}}};",
        *("static const struct program PROGRAMS[] = {", *map(row, sorted(rows)), "};"),
        *("static const struct program COMMANDS[] = {", *map(row, commands), "};"),
    ]
    return "\n".join(lines) + "\n"


def row(entry: tuple[str, str, str]) -> str:
    """A row of a table of programs in C."""
    return f"    {{{quoted(entry[0])}, {entry[1]}, {quoted(entry[2])}}},"


def linked(python: Python, header: str, imported: set[str]) -> bytes:
    """The program without its archive."""
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary, "written.h").write_text(header)
        Path(temporary, "modules.h").write_text(built_in(python, imported))
        made = Path(temporary, "pycni")
        names = sorted(at.name for at in NATIVE.glob("*.c"))
        compiler = [f"{python.tools}gcc", *FLAGS, *STRICT, f"-I{temporary}", *python.headers]
        command = [*compiler, *names, *LINKED, "-s", "-o", str(made), str(python.library), *LIBRARIES]
        done = subprocess.run(
            command, cwd=NATIVE, env={**os.environ, "LC_ALL": "C"}, stderr=subprocess.PIPE, text=True, check=False
        )
        lines = [line for line in done.stderr.splitlines() if STATIC not in line and "in function" not in line]
        if done.returncode or lines:
            sys.exit(f"build: {' '.join(command)}\n{done.stderr}")
        return made.read_bytes()


def sources() -> tuple[dict[str, bytes], str, set[str]]:
    """Every module by its path, the identity of the build, which is that of the single files, and all names imported."""
    everything = dist.parts().everything()
    build = archive.identity(everything)
    own = {name: data for name, data in everything.items() if name != "archivefinder.py"}
    for module, file in (("archivefinder", "nativefinder"), ("nativecommand", "nativecommand")):
        own[f"{module}.py"] = (NATIVE / f"{file}.py").read_bytes()
    if sys.version_info >= (3, 12):
        own["hashlib.py"] = b"from _sha2 import sha256, sha512\n"
    used = used_by(own)
    standard = {name: data for name, data in used.library.items() if not is_frozen(name)}
    for name, package in LICENCES.items():
        licence = Path("/usr/share/doc", package.format(python=VERSION), "copyright")
        if licence.exists():  # a minimal system may be without any documents; build/release.py needs them
            own[name] = licence.read_bytes()
    return {**standard, **own}, build, used.names


def place(data: bytes, folder: Path, names: Iterable[str]) -> None:
    """Write the file, and a link to it for each name. Each is renamed into place."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".pycni.new"
    temporary.write_bytes(data)
    temporary.chmod(0o755)
    for name in names:
        link = folder / f".{name}.new"
        link.unlink(missing_ok=True)
        link.hardlink_to(temporary)
        link.rename(folder / name)
    temporary.rename(folder / "pycni")


def main(architectures: list[str]) -> None:
    """Write dist/native for this machine, and dist/native-ARCHITECTURE for others."""
    found, build, imported = sources()
    archive_data, header = archived(found, build), written(build)
    for architecture in architectures or [own_architecture()]:
        own = architecture == own_architecture()
        data = linked(python_for(architecture), header, imported) + archive_data
        folder = ROOT / ("dist/native" if own else f"dist/native-{architecture}")
        place(data, folder, [*plugins(), *dist.PROGRAMS])
        print(f"{folder.relative_to(ROOT)}/pycni: {len(data)} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
