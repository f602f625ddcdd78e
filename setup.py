"""Find the packages of a checkout by their folders. Everything else is in pyproject.toml.

``pip install -e`` installs all packages. A wheel contains only libcni (build/packing.py).
"""

import sys
from pathlib import Path

from setuptools import setup

sys.path.insert(0, str(Path(__file__).resolve().parent / "build"))
from roots import ROOT, packages

FOUND = packages()
setup(
    packages=list(FOUND),
    package_dir={name: at.relative_to(ROOT).as_posix() for name, at in FOUND.items() if "." not in name},
)
