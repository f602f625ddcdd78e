"""The ways to call a single file, and a folder and variables that lead astray what does not isolate itself."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from node import plugin

DIST = Path(plugin.DIST)
PYTHON = "/usr/bin/python3"


def alone(name: str, folder: Path, called: str = "") -> Path:
    """A copy of the file in a folder that has nothing else."""
    folder.mkdir()
    return Path(shutil.copy2(DIST / name, folder / (called or name)))


def absolute(name: str, at: Path) -> tuple[list[Any], Path]:
    return [alone(name, at / "bin")], at


def relative(name: str, at: Path) -> tuple[list[Any], Path]:
    alone(name, at / "bin")
    return [f"./{name}"], at / "bin"


def relative_below(name: str, at: Path) -> tuple[list[Any], Path]:
    alone(name, at / "bin")
    return [f"bin/../bin/{name}"], at


def symbolic(name: str, at: Path) -> tuple[list[Any], Path]:
    file = alone(name, at / "bin")
    (at / "other").mkdir()
    (at / "other" / "link").symlink_to(file)
    return [at / "other" / "link"], at


def relative_link(name: str, at: Path) -> tuple[list[Any], Path]:
    alone(name, at / "bin")
    (at / "link").symlink_to(f"bin/{name}")
    return ["./link"], at


def hostile_path(name: str, at: Path) -> tuple[list[Any], Path]:
    return [alone(name, at / "a folder\nof 'two' \"lines\" $HOME %s ; -c", "a name\n.zip")], at


def relative_hostile(name: str, at: Path) -> tuple[list[Any], Path]:
    alone(name, at / "a folder\nof two lines")
    return [f"./{name}"], at / "a folder\nof two lines"


def undecodable_path(name: str, at: Path) -> tuple[list[Any], Path]:
    return [alone(name, at / os.fsdecode(b"b\xffn"))], at


def by_python(name: str, at: Path) -> tuple[list[Any], Path]:
    return [PYTHON, alone(name, at / "bin")], at


def by_python_relative(name: str, at: Path) -> tuple[list[Any], Path]:
    alone(name, at / "bin")
    return [PYTHON, f"bin/{name}"], at


def by_python_link(name: str, at: Path) -> tuple[list[Any], Path]:
    alone(name, at / "bin")
    (at / "link").symlink_to(f"bin/{name}")
    return [PYTHON, "link"], at


Way = Callable[[str, Path], tuple[list[Any], Path]]
WAYS: list[Way] = [
    relative,
    absolute,
    relative_below,
    symbolic,
    relative_link,
    hostile_path,
    relative_hostile,
    undecodable_path,
    by_python,
    by_python_relative,
    by_python_link,
]

POISON = """
import os
os.write(2, b"POISONED by " + __file__.encode())
os._exit(77)
"""
# Whatever Python or our own code imports by name, and a package of each kind.
POISONED = (
    *("json", "os", "sys", "cni", "frontdoor", "handover", "posixpath", "zipimport", "codecs"),
    *(
        "sitecustomize",
        "usercustomize",
        "encodings",
        "struct",
        "_socket",
        "pyroute2",
        "netaddr",
        "cni_bridge",
        "libcni",
        "argparse",
        "dataclasses",
        "asyncio",
        "typing",
    ),
    *("cni_host_local", "cni_loopback", "errno", "logging", "traceback", "runpy", "importlib", "subprocess", "stat"),
)


def poisoned(folder: Path) -> Path:
    """A folder full of modules that end the process."""
    folder.mkdir(exist_ok=True)
    for name in POISONED:
        (folder / f"{name}.py").write_text(POISON)
    (folder / "path.pth").write_text("import os; os._exit(77)\n")
    return folder


def variables(folder: Path) -> dict[str, str]:
    """Every variable by which Python can be led astray."""
    return {
        "PYTHONPATH": str(folder),
        "PYTHONHOME": str(folder),
        "PYTHONSTARTUP": str(folder / "json.py"),
        "PYTHONUSERBASE": str(folder),
        "PYTHONPLATLIBDIR": str(folder),
        "PYTHONINSPECT": "1",
        "PYTHONVERBOSE": "1",
        "PYTHONWARNINGS": "error",
        "PYTHONBREAKPOINT": "json.x",
        "PYTHONDEVMODE": "1",
        "PYTHONIOENCODING": "utf-16",
        "PYTHONPYCACHEPREFIX": str(folder),
        "PYTHONOPTIMIZE": "x",
        "PYTHONPROFILEIMPORTTIME": "1",
        "PYTHONDUMPREFS": "1",
        "PATH": str(folder),
        "HOME": str(folder),
        "LC_ALL": "tr_TR.ISO8859-9",
        "LANG": "nonsense",
        "TMPDIR": str(folder / "nowhere"),
        "SHIV_ROOT": str(folder / "shiv"),
        "SHIV_INTERPRETER": "1",
        "SHIV_ENTRY_POINT": "json:x",
    }
