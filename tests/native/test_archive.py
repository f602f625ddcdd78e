"""The reader of the archive in C, under sanitizers: files with any fault are refused or read within their bounds."""

import io
import random
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MARK = "pycni-build:" + "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reader, compiled. A warning is an error."""
    target = tmp_path_factory.mktemp("reader") / "reader"
    flags = ["-O1", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    sources = [str(ROOT / "build/native/archive.c"), str(ROOT / "tests/native/archive_reader.c")]
    subprocess.run(["gcc", *flags, "-D_GNU_SOURCE", f"-I{ROOT}/build/native", *sources, "-o", str(target)], check=True)
    return target


def whole(names: list[str], before: bytes = b"\x7fELF and so on") -> bytes:
    """A file with an archive, as the build makes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.comment = MARK.encode()
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), f"the content of {name}")
    return before + out.getvalue()


def read(reader: Path, folder: Path, files: list[bytes]) -> list[str]:
    """What the reader says of each file."""
    paths = []
    for number, data in enumerate(files):
        paths.append(folder / str(number))
        paths[-1].write_bytes(data)
    stdin = "".join(f"{path}\n" for path in paths)
    env = {"ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run([str(reader), MARK], input=stdin, env=env, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-3000:]
    return done.stdout.splitlines()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_entries_are_found_by_name(reader: Path, tmp_path: Path) -> None:
    """Every entry; an archive that is not sorted, is compressed or has another mark is refused."""
    good = whole(["a.pyc", "a/__init__.pyc", "a/b.pyc", "ab.pyc"])
    said = read(
        reader, tmp_path, [good, whole([]), whole(["b", "a"]), whole(["a", "a"]), good + b" ", good[:-1] + b"0", b""]
    )
    assert said[0].startswith("4 ") and said[1] == "0 0"
    assert said[2:] == ["refused"] * 5


def test_no_fault_leads_out_of_the_file(reader: Path, tmp_path: Path) -> None:
    """Bytes of the directory are changed, and the end is cut off: the sanitizers see every access."""
    chance = random.Random(14)
    good = whole([f"module{number:02}.pyc" for number in range(20)])
    files = []
    for _ in range(400):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data) - len(MARK) - 1)] = chance.choice(
                [0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)]
            )
        files.append(bytes(data[chance.randrange(len(data)) :] if chance.random() < 0.3 else data))
    said = read(reader, tmp_path, files)
    assert len(said) == len(files)
    assert 50 < said.count("refused") < len(files) - 50
