"""Modules of a single file come from it through our own finder, once each, and zipimport stands behind it."""

import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from build.surroundings import DIST, PYTHON

pytestmark = pytest.mark.skipif(not (DIST / "loopback").exists(), reason="dist/ is not there: make dist makes it")

# Imports through the finder, and tells who loaded what, how often the file was read, and what a traceback would show.
PROBE = """
import sys
path = sys.argv[1]
sys.path.insert(0, path)
import archivefinder, marshal, posix
archivefinder.install(path)
reads, loads = [], []
pread, load = posix.pread, marshal.loads
posix.pread = lambda fd, size, at: reads.append(at) or pread(fd, size, at)
class Marshal:
    loads = staticmethod(lambda data: loads.append(1) or load(data))
archivefinder.marshal = Marshal
import cni.skel, cni_loopback.wanted
from cni.kernel import pyroute
pyroute.load("pyroute2.netlink.rtnl.ifaddrmsg")
ours = [name for name in sys.modules if name.partition(".")[0] in ("cni", "cni_loopback")]
told = {
    "loaders": sorted({type(sys.modules[name].__spec__.loader).__name__ for name in ours}),
    "archives": sorted({sys.modules[name].__loader__.archive for name in ours}),
    "loads": len(loads) - len(ours), "repeated": len(reads) - len(set(reads)),
}
import linecache, json
code = sys.modules["cni.skel"].answer.__code__
linecache.lazycache(code.co_filename, vars(sys.modules["cni.skel"]))
told["line"] = linecache.getline(code.co_filename, code.co_firstlineno, vars(sys.modules["cni.skel"]))
told["package"] = list(sys.modules["cni"].__path__)
print(json.dumps(told))
"""


def probed(path: Path) -> Any:
    done = subprocess.run([PYTHON, "-I", "-S", "-c", PROBE, str(path)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_every_module_is_read_and_unmarshalled_once() -> None:
    told = probed(DIST / "loopback")
    assert told["loaders"] == ["ArchiveFinder"]
    assert told["archives"] == [str(DIST / "loopback")]
    assert told["repeated"] == 0
    assert 0 < told["loads"] < 20  # the library's modules, beside ours
    assert told["package"] == [f"{DIST}/loopback/cni"]


@pytest.mark.parametrize("plugin", ["chain", "loopback"])
def test_a_file_is_served_through_it(plugin: str) -> None:
    """The front door installs it before our own modules are imported: Python says who imported what (-v)."""
    with open(DIST / plugin, "rb") as whole:
        python, word = whole.readline().decode().removeprefix("#!").rstrip("\n").split(" ", 1)
    environ = {"CNI_COMMAND": "VERSION", "CNI_FORKSERVER": ""}
    command = [python, "-v", word, str(DIST / plugin)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    lines = [line for line in done.stderr.splitlines() if line.startswith("import 'cni")]
    assert {line.split()[1].strip("'") for line in lines} >= {"cni", "cni.skel", f"cni_{plugin}.plugin"}
    assert all("archivefinder.ArchiveFinder" in line for line in lines)


def test_a_traceback_has_its_source() -> None:
    """CNI_DEBUG's tracebacks show lines: the finder hands out the source that lies beside the bytecode."""
    assert probed(DIST / "loopback")["line"] == "def answer(\n"


@pytest.mark.parametrize("fault", ["compressed", "of another Python", "without bytecode"])
def test_what_it_cannot_read_is_left_to_zipimport(tmp_path: Path, fault: str) -> None:
    """A file that somebody repacked works all the same, module by module."""
    changed = tmp_path / "loopback"
    with zipfile.ZipFile(DIST / "loopback") as archive, zipfile.ZipFile(changed, "w") as other:
        for info in archive.infolist():
            data = archive.read(info)
            if info.filename.startswith("cni/errors.py"):
                if fault == "compressed":
                    info.compress_type = zipfile.ZIP_DEFLATED
                elif info.filename.endswith("c"):
                    if fault == "without bytecode":
                        continue
                    data = b"\0\0\r\n" + data[4:]
            other.writestr(info, data)
    shutil.copymode(DIST / "loopback", changed)
    told = probed(changed)
    assert told["loaders"] == ["ArchiveFinder", "zipimporter"]
    assert told["archives"] == [str(changed)]
