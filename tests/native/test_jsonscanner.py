"""The JSON scanner of the native file, compiled as a module of this Python with sanitizers, beside CPython's own."""

import random
import subprocess
import sysconfig
from pathlib import Path

import pytest

from cni import wire
from cni.errors import CNIError

ROOT = Path(__file__).parents[2]
INCLUDE = sysconfig.get_path("include")
if not Path(INCLUDE, "Python.h").exists():
    pytest.skip(f"{INCLUDE}/Python.h is not there: make dist-native installs it", allow_module_level=True)
# It must not know CPython's scanner, as in the native file; a fault of the sanitizer ends the process.
PROGRAM = """
import sys, json
sys.modules["_json"] = None
sys.path[:0] = {folders!r}
import importlib.util
spec = importlib.util.spec_from_file_location("_jsonscanner", {module!r})
sys.modules["_jsonscanner"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["_jsonscanner"])
from cni import wire
from cni.errors import CNIError
for line in sys.stdin:
    try:
        print(repr(wire.decode(bytes.fromhex(line))))
    except CNIError as error:
        print(error.code, error.msg, error.details)
"""


def here(document: bytes) -> str:
    """What cni.wire makes of it with CPython's scanner."""
    try:
        return repr(wire.decode(document))
    except CNIError as error:
        return f"{error.code} {error.msg} {error.details}"


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scanner as a shared object. A warning is an error."""
    target = tmp_path_factory.mktemp("scanner") / "_jsonscanner.so"
    command = ["gcc", "-shared", "-fPIC", "-O1", "-g", "-Wall", "-Wextra", "-Werror", f"-I{INCLUDE}", "-D_GNU_SOURCE"]
    command += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", str(ROOT / "build/native/jsonscanner.c")]
    subprocess.run([*command, "-o", str(target)], check=True)
    return target


def scanned(module: Path, documents: list[bytes]) -> list[str]:
    """What cni.wire makes of the documents with the scanner of the native file."""
    program = PROGRAM.format(module=str(module), folders=[str(ROOT / "common")])
    library = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    env = {
        "LD_PRELOAD": library.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONMALLOC": "malloc",
        "LC_ALL": "C.UTF-8",
    }
    stdin = "".join(document.hex() + "\n" for document in documents)
    done = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", program], input=stdin, env=env, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-3000:]
    return done.stdout.splitlines()


CORNERS = [
    *(b"", b" ", b"nul", b"null", b"nulls", b"true", b"false", b"tru", b"NaN", b"Infinity", b"-Infinity", b"-", b"--1"),
    *(b"0", b"-0", b"00", b"01", b"1.", b"1.5", b".5", b"1e5", b"1E+5", b"1e", b"1e+", b"-1.5e-3", b"1e999", b"9" * 21),
    *(b"18446744073709551615", b"18446744073709551616", b"-9223372036854775808", b"-9223372036854775809", b"1 2"),
    *(b'"', b'"\\', b'"\\"', b'"\\u', b'"\\u12"', b'"\\u12g4"', b'"\\x"', b'"a\nb"', b'"a\0b"', b'"\\u0000"', b'"\x7f"'),
    *(b'"\\ud83d\\ude00"', b'"\\ud83d"', b'"\\ude00"', b'"\\ud83d\\u0041"', b'"\\ud83d\\u00"', b'"\\ud83d\\x"'),
    *(b'"\\/\\b\\f\\n\\r\\t"',),
    *('"é"'.encode(), '"\U0001f600\\n"'.encode(), b'"\xff"', '{"\u00e9": "\\u00e9"}'.encode(), b"\xef\xbb\xbf{}"),
    *(b"[]", b"[ ]", b"[1,]", b"[,1]", b"[1 2]", b"[1,2", b"[", b"]", b"[[]", b"[\x0b1]", b"[1]]"),
    *(b"{}", b"{ }", b'{"a"}', b'{"a":}', b'{"a":1,}', b"{a:1}", b'{"a":1 "b":2}',),
    *(b'{"a":1,"a":null,"a":2}', b'{"a" : 1 }', b"{1:2}"),
    *(b"[" * 190 + b"]" * 190, b"[" * 300 + b"]" * 300, b"[" * 5000, b'{"a":' * 5000, b"[" * 100_000),
]  # fmt: skip


def broken(document: bytes, chance: random.Random) -> bytes:
    """The document with a few bytes changed, removed or added."""
    data = bytearray(document)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(data) + 1)
        letters = bytes(
            chance.choice(b'{}[]",:\\u0123456789abcdefntrEe+-. \n\x00\xff') for _ in range(chance.randrange(3))
        )
        data[at : at + chance.randrange(3)] = letters
    return bytes(data)


def test_it_reads_what_cpythons_scanner_reads(module: Path) -> None:
    """Values, refusals and their texts are the same: for every corner, for example configurations, and for broken ones."""
    chance = random.Random(14)
    whole = [at.read_bytes() for at in sorted(ROOT.glob("plugins/*/example.conflist"))]
    # How many levels fit depends on what is on the stack already.
    base = whole + [document for document in CORNERS if len(document) < 1000]
    documents = CORNERS + whole + [broken(chance.choice(base), chance) for _ in range(3000)]
    ours = scanned(module, documents)
    assert len(ours) == len(documents)
    for document, read in zip(documents, ours, strict=True):
        assert read == here(document), document
