"""Programs of the front door in C, compiled by the tests: a caller for each plugin, and others for the door alone."""

import os
import subprocess
from functools import cache
from pathlib import Path

from cni import skel, versions, wire
from node.plugin import DIST, PLUGINS

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
STRICT = [
    "-std=c11",
    "-D_GNU_SOURCE",
    "-O2",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wconversion",
    "-Wshadow",
    "-Wpedantic",
    "-Wformat=2",
    "-Wundef",
    "-Wstrict-prototypes",
    "-Wmissing-prototypes",
]
SANITIZED = ["-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
# The sanitizer of addresses needs more memory than some tests allow a caller; a static program needs no library.
CALLING = ["-static", "-g", "-fsanitize=undefined", "-fno-sanitize-recover=all"]
MARK = b"pycni-build:"


@cache
def build() -> str:
    """The build of dist/."""
    return Path(DIST, "bridge").read_bytes().rpartition(MARK)[2].decode()


def facts() -> dict[str, str]:
    """What the build writes into a native file, by the macro's name."""
    known = {"cniVersion": versions.CURRENT, "supportedVersions": list(versions.KNOWN)}
    return {
        "BUILD": build(),
        "VERSION": wire.encode(known),
        "RELEASE": f"{skel.REFERENCE}+pycni.{skel.VERSION}",
        "VERSIONS": ", ".join(versions.KNOWN),
        "DIST": DIST,
    }


def compiled(target: Path, source: str, *flags: str, **macros: str) -> Path:
    """The program of a source beside this one, and of the door. A warning is an error."""
    defined = ['-D{}="{}"'.format(name, text.replace('"', '\\"')) for name, text in macros.items()]
    command = [
        "gcc",
        *STRICT,
        *flags,
        *defined,
        f"-I{ROOT}/build/native",
        str(ROOT / "build/native/door.c"),
        str(HERE / source),
    ]
    done = subprocess.run([*command, "-o", str(target)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return target


def callers(folder: Path) -> Path:
    """A folder with a caller under each plugin's name. It belongs to the build, as the files in dist/ do."""
    program = compiled(folder / ".caller", "caller.c", *CALLING, **facts())
    with program.open("ab") as file:
        file.write(MARK + build().encode())
    for name in PLUGINS:
        os.link(program, folder / name)
    return folder
