"""SHA-512 and SHA-256 of the native file for Python 3.12 and later, compiled as a module of this Python, beside hashlib's."""

import hashlib
import importlib.util
import subprocess
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INCLUDE = sysconfig.get_path("include")


@pytest.mark.skipif(
    not Path(INCLUDE, "Python.h").exists(), reason="Python.h is not there: make dist-native installs it"
)
def test_it_is_that_of_hashlib(tmp_path: Path) -> None:
    """For each length around the blocks' ends, and for a long text."""
    target = tmp_path / "_sha2.so"
    flags = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", f"-I{INCLUDE}"]
    subprocess.run(["gcc", *flags, str(ROOT / "build/native/sha512.c"), "-o", str(target)], check=True)
    spec = importlib.util.spec_from_file_location("_sha2", target)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for data in (*(bytes(range(length)) for length in range(256)), b"a" * 1_000_000):
        assert module.sha512(data).digest() == hashlib.sha512(data).digest(), len(data)
        assert module.sha256(data).digest() == hashlib.sha256(data).digest(), len(data)
    assert module.sha256(b"").hexdigest() == hashlib.sha256(b"").hexdigest()
    with pytest.raises(TypeError):
        module.sha512("text")
