"""The front door in C: what it answers without Python. The suites in tests/forkserver run with it as well."""

import os
import subprocess
from pathlib import Path

import pytest

from native.compiled import STRICT, callers
from node.plugin import DIST, LIMIT

pytestmark = pytest.mark.real
if not Path(DIST, "bridge").exists():
    pytest.skip("dist/ is not there: make dist makes it", allow_module_level=True)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a caller for each plugin."""
    return callers(tmp_path_factory.mktemp("callers"))


def answered(program: Path | str, environ: dict[str, str], before: str = "") -> tuple[int, str, str, int]:
    """Exit status, both streams, and how much of standard input was read."""
    stdin = os.memfd_create("stdin")
    os.write(stdin, b'{"cniVersion": "1.0.0"}')
    os.lseek(stdin, 0, os.SEEK_SET)
    command = ["/bin/sh", "-c", f'exec "$0" {before}', str(program)]
    done = subprocess.run(command, stdin=stdin, env=environ, capture_output=True, text=True, timeout=LIMIT)
    read = os.lseek(stdin, 0, os.SEEK_CUR)
    os.close(stdin)
    return done.returncode, done.stdout, done.stderr, read


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"CNI_COMMAND": ""},
        {"CNI_COMMAND": "VERSION"},
        {"CNI_COMMAND": "VERSION", "CNI_DEBUG": "1", "CNI_CONTAINERID": "../x", "CNI_IFNAME": "a/b"},
        {"CNI_COMMAND": "VERSION", "CNI_FORKSERVER": "/dev/null"},
    ],
)
def test_version_and_the_introduction_are_those_of_the_single_files(programs: Path, environ: dict[str, str]) -> None:
    """The same documents and lines, and standard input is left alone."""
    for plugin in ("bridge", "host-local"):
        ours = answered(programs / plugin, environ)
        assert ours == answered(f"{DIST}/{plugin}", environ)
        assert ours[0] == 0 and ours[3] == 0


@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&-", "> /dev/full"])
def test_python_answers_where_a_stream_cannot_be_used(programs: Path, streams: str) -> None:
    """VERSION without a stream, or with one that cannot be written to."""
    environ = {"CNI_COMMAND": "VERSION"}
    assert answered(programs / "bridge", environ, streams) == answered(f"{DIST}/bridge", environ, streams)


def test_the_door_is_small_and_the_analyzer_finds_nothing(tmp_path: Path) -> None:
    """At most 400 lines, and one allocation, of a fixed size."""
    sources = [ROOT / "build/native" / name for name in ("door.c", "door.h")]
    text = "".join(source.read_text() for source in sources)
    assert text.count("\n") <= 400
    assert [name for name in ("malloc", "realloc", "alloca", "strdup", "mmap") if f"{name}(" in text] == []
    assert text.count("calloc(") == text.count("calloc(1, sizeof *call)") == 1
    command = ["gcc", *STRICT, "-fanalyzer", "-c", str(sources[0]), "-o", str(tmp_path / "door.o")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
