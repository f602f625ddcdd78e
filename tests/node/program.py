"""Programs that a test writes to have them executed."""

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes an executable file: a Python program by its body, or a shell one (see ``shell``)."""

    def write(body: str, name: str = "fake", folder: str = "bin", interpreter: str = sys.executable) -> Path:
        path = tmp_path / folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!{interpreter}\n{textwrap.dedent(body)}")
        path.chmod(0o755)
        return path

    return write


def shell(body: str) -> dict[str, str]:
    """The arguments of ``program`` for a script of the shell."""
    return {"body": body, "interpreter": "/bin/sh"}
