"""What calls write to is copied before the next call: tried in a process with the modules of the server."""

import subprocess
from pathlib import Path

import pytest

from cni_forkserver.warming import _runs
from forkserver.server import PROGRAM
from node.plugin import LIMIT

pytestmark = pytest.mark.real
single_file = pytest.mark.skipif(PROGRAM.read_bytes()[:2] != b"#!", reason="the modules are not in a single file")
PYTHON = "/usr/bin/python3"

# Each child writes to a part of the memory, and prints how many pages were copied meanwhile.
CHILDREN = """
import os, sys
sys.argv[:] = [sys.argv[1]]
sys.path.insert(0, sys.argv[0])
from cni_forkserver import warming
import resource
size = resource.getpagesize()
memory = bytearray(2000 * size)
for at in range(0, len(memory), size):
    memory[at] = 1
pages = warming.Pages()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def serve(first, last):
    before = faults()
    for at in range(first * size, last * size, size):
        memory[at] += 1
    print(faults() - before, flush=True)
    pages.note()
    os._exit(0)
def call(copying, first, last):
    if not os.fork():
        if copying:
            pages.copy()
        serve(first, last)
    os.wait()
for words in [(True, 100, 900), (True, 100, 900), (True, 100, 910), (True, 950, 1800), (True, 100, 1800), (False, 100, 1800)]:
    call(*words)
"""


@single_file
def test_a_page_is_copied_in_advance_once_a_call_has_written_to_it() -> None:
    """The first call copies its pages, later ones only those that no call has written to."""
    done = subprocess.run([PYTHON, "-ISc", CHILDREN, PROGRAM], env={}, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done
    copied = [int(line) for line in done.stdout.split()]
    assert [count // 100 for count in copied] == [8, 0, 0, 8, 0, 17], copied


@single_file
def test_a_server_without_pagemap_serves(tmp_path: Path) -> None:
    """If the kernel does not list the pages, calls are served without notes, and no message is printed."""
    code = CHILDREN.replace("pages = warming.Pages()", "pages = warming.Pages(); os.chroot(folder)")
    code = code.replace("sys.argv[:] = [sys.argv[1]]", "folder = sys.argv.pop()\nsys.argv[:] = [sys.argv[1]]")
    command = [PYTHON, "-ISc", code, PROGRAM, tmp_path]
    done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done
    assert [int(line) // 100 for line in done.stdout.split()] == [8, 8, 8, 8, 17, 17], done.stdout


# The same with a spare child that was forked in haste, for callers that come at once and after a while.
SPARE = (
    CHILDREN.partition("for words")[0]
    + """
import socket, time
from cni_forkserver import child
from pathlib import Path
def copied(pid):
    return any(str(each.readlink()).endswith("pagemap") for each in Path(f"/proc/{pid}/fd").iterdir())
call(True, 100, 900)
for idle in (600.0, 0.001):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f"\\0{os.getpid()} {idle}")
    listener.listen()
    lifeline, mine = os.pipe()
    spare = os.fork()
    if not spare:
        listener.setblocking(False)
        child._accept(listener, lifeline, pages, idle)
        serve(100, 900)
    while idle < 1 and not copied(spare):
        time.sleep(0.001)  # until it has: nothing tells; the whole program has a time limit
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(listener.getsockname())
    os.waitpid(spare, 0)
"""
)


@single_file
def test_a_child_that_was_forked_in_haste_copies_pages_while_nobody_calls() -> None:
    done = subprocess.run([PYTHON, "-ISc", SPARE, PROGRAM], env={}, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done
    assert [int(line) // 100 for line in done.stdout.split()] == [8, 8, 0], done


def test_runs_of_pages() -> None:
    """From the first page of a run to the first page after it."""
    assert list(_runs(b"")) == list(_runs(b"\0\0")) == []
    assert list(_runs(b"\1")) == [(0, 1)]
    assert list(_runs(b"\0\1\1\0\1\0\0\1\1")) == [(1, 3), (4, 5), (7, 9)]
