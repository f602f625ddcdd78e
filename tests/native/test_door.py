"""The front door in C: what it answers without Python. The suites in tests/forkserver run with it as well."""

import fcntl
import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from native.compiled import SANITIZED, STRICT, build, callers, compiled
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


@pytest.mark.parametrize("environ", [{}, {"CNI_COMMAND": "VERSION"}])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_is_gone_is_no_signal(programs: Path, environ: dict[str, str], stream: str) -> None:
    """The same exit status and text as that of the single file."""
    seen = []
    for folder in (programs, Path(DIST)):
        read, written = os.pipe()
        os.close(read)
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: written}
        done = subprocess.Popen([folder / "bridge"], env=environ, stdin=subprocess.DEVNULL, **streams)
        os.close(written)
        seen.append((*done.communicate(timeout=LIMIT), done.returncode))
    assert seen[0] == seen[1] and seen[0][2] >= 0


# Execute a program by a relative path, with several variables that are unusual, and another name.
ODD = """
import ctypes, os, sys
os.umask(0o137)
name, path = sys.argv[1].encode(), sys.argv[2].encode()
words = [b"an odd name", b"", b"two words", b"\\xff=", None]
variables = [b"A=1", b"B=x=\\n", b"nothing", b"A=2", b"=C:", b"\\xe9=", b"CNI_COMMAND=STATUS", b"LC_ALL=C.UTF-8"]
variables += [b"CNI_COMMAND=VERSION", b"CNI_FORKSERVER=" + path, b"CNI_DEBUG=", None]
arrays = [(ctypes.c_char_p * len(texts))(*texts) for texts in (words, variables)]
ctypes.CDLL(None).execve(name, *arrays)
"""


def test_both_doors_send_the_same_call(programs: Path, tmp_path: Path) -> None:
    """The words, the variables as Python has them, the umask, and the descriptors in their order."""
    sent = []
    for number, folder in enumerate((Path(DIST), programs)):
        path = f"{tmp_path}/{number}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(path)
            listener.listen(1)
            listener.settimeout(LIMIT)
            command = [sys.executable, "-c", ODD, "../loopback", path]
            (folder / "inside").mkdir(exist_ok=True)
            with subprocess.Popen(
                command, cwd=folder / "inside", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
            ) as process:
                connection, _ = listener.accept()
                connection.send(build().encode())
                packet, descriptors, _, _ = socket.recv_fds(connection, 1 << 18, 20)
                found = [(os.fstat(fd).st_dev, os.fstat(fd).st_ino) for fd in descriptors]
                flags = [fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_PATH) for fd in descriptors]
                assert found[3] == (os.stat(folder / "inside").st_dev, os.stat(folder / "inside").st_ino)
                for fd in descriptors:  # standard output is one of them
                    os.close(fd)
                connection.send(b"O{}")
                connection.send(b"S\x07")
                assert process.stdout is not None
                assert (process.stdout.read(), process.wait(LIMIT)) == (b"{}", 7)
                connection.close()
            (folder / "inside").rmdir()
        fields = packet.replace(str(folder).encode(), b"FOLDER").replace(path.encode(), b"SOCKET").split(b"\0")
        sent.append((fields, found[4:], flags, len(descriptors)))
    assert sent[0] == sent[1]
    fields = sent[0][0]
    assert fields[1:8] == [b"cni_loopback", b"95", b"4", b"FOLDER/inside/../loopback", b"", b"two words", b"\xff="]
    assert b"A=1" in fields and b"A=2" not in fields and b"nothing" not in fields and b"=C:" in fields


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


def test_a_server_that_says_anything_is_no_danger(tmp_path: Path) -> None:
    """Any packets, words and variables, with the sanitizers: the door does what it should, and leaves nothing behind.

    The server that should greet late does so within 20 ms here. With PYCNI_EXPLORE=1 the packets are others each time.
    """
    times = ["-DGREETING_TIME=20", "-DCALL_TIME=115000"]
    program = compiled(tmp_path / "hostile", "hostile.c", *SANITIZED, *times)
    seed, rounds = (random.getrandbits(60), 5000) if "PYCNI_EXPLORE" in os.environ else (14, 400)
    command = [program, tmp_path, str(seed), str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20 * LIMIT, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), f"seed {seed}"
