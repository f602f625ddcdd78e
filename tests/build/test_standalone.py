"""A single file alone: however it is called, whatever surrounds it, with streams open, closed or full."""

import ast
import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from build.surroundings import DIST, PYTHON, WAYS, Way, alone, poisoned, variables
from contract.subject import SUBJECTS, lacking, of
from contract.trial import Trial, kinds
from node.plugin import LIMIT, PLUGINS, Object
from node.topology import Node, Pod

pytestmark = pytest.mark.real
if not (DIST / "bridge").exists():
    pytest.skip("dist/ is not there: make dist makes it", allow_module_level=True)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One pretended node for all, which has what stands for the node; every test has pods of its own."""
    made = Node(tmp_path_factory.mktemp("leases"))
    for subject in SUBJECTS:
        if not lacking(subject.kind):
            first = Trial(made, subject, subject.alone(made.data_dir))
            assert first.serve("ADD").ok and first.serve("DEL").ok
    yield made
    made.close()


class Call:
    """An ADD that a file can serve alone, as its Subject says: layer 2 for bridge, a port for portmap, and so on."""

    def __init__(self, node: Node, plugin: str) -> None:
        self.node, self.plugin, self.subject = node, plugin, of(plugin)
        if lacking(self.subject.kind):
            pytest.skip(f"the kernel has no {self.subject.kind}: make test-guest")
        self.trial = Trial(node, self.subject, self.subject.alone(node.data_dir))
        self.pod = self.trial.pod
        self.conf = self.trial.keys("ADD")

    def environ(self, verb: str) -> dict[str, str]:
        """The protocol's variables and nothing else: neither PATH nor HOME."""
        return {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": self.pod.container,
            "CNI_IFNAME": "eth0",
            "CNI_NETNS": self.pod.path,
            "CNI_PATH": self.subject.path,
        }

    def run(self, command: list[Any], verb: str, cwd: Path | str = "/", **environ: str) -> str:
        """Serve a verb by this command line: the standard output of a success on which nothing was said."""
        with self.node.inside():
            done = subprocess.run(
                command,
                input=json.dumps(self.conf),
                env=self.environ(verb) | environ,
                cwd=cwd,
                capture_output=True,
                text=True,
                timeout=LIMIT,
            )
        assert (done.returncode, done.stderr) == (0, ""), f"{command}: {done}"
        return done.stdout

    def left(self) -> set[str]:
        """The kinds of things that node and pod have more than before."""
        return kinds(self.trial.before, self.trial.state())

    def add_and_delete(self, command: list[Any], cwd: Path | str = "/", **environ: str) -> None:
        """ADD makes it and tells it in one document, DEL takes it away and prints nothing."""
        result = json.loads(self.run(command, "ADD", cwd, **environ))
        assert result["cniVersion"] == "1.0.0"
        assert result.get("ips") or result["interfaces"][-1]["name"] == "eth0"
        assert self.left() == self.trial.network.leaves
        assert self.run(command, "DEL", cwd, **environ) == ""
        assert self.left() == set()


# All files begin with the same code: every case with two of them, one of which has members, and the first with each.
ALL = ("bridge", "chain")


def each_file(cases: Sequence[Any]) -> list[tuple[str, Any]]:
    """Every case with two plugins, the first with each."""
    return [(plugin, case) for plugin in PLUGINS for case in (cases if plugin in ALL else cases[:1])]


@pytest.mark.parametrize(("plugin", "way"), each_file(WAYS), ids=lambda value: getattr(value, "__name__", value))
def test_a_file_works_alone_by_any_path_without_an_environment(
    node: Node, plugin: str, way: Way, tmp_path: Path
) -> None:
    """A relative path must survive that the plugin enters another network namespace."""
    command, cwd = way(plugin, tmp_path)
    Call(node, plugin).add_and_delete(command, cwd)


def test_a_folder_that_is_gone_is_no_fault(node: Node, tmp_path: Path) -> None:
    """A runtime's working directory may have been removed."""
    file = alone("bridge", tmp_path / "bin")
    (tmp_path / "gone").mkdir()
    call = Call(node, "bridge")
    script = f'cd "{tmp_path}/gone" && rmdir "{tmp_path}/gone" && exec "{file}"'
    assert call.run(["/bin/sh", "-c", script], "ADD")
    assert call.left() == call.trial.network.leaves
    assert call.run([file], "DEL") == ""


@pytest.mark.parametrize("plugin", PLUGINS)
def test_nothing_around_a_file_reaches_it(node: Node, plugin: str, tmp_path: Path) -> None:
    """Modules beside it, in the working directory, in PYTHONPATH and HOME; variables of Python and of shiv."""
    folder = poisoned(tmp_path / "poison")
    shutil.copy2(DIST / plugin, folder / plugin)
    call = Call(node, plugin)
    before = sorted(folder.iterdir())
    for command in ([folder / plugin], [f"./{plugin}"]):
        call.add_and_delete(command, folder, **variables(folder))
    assert sorted(folder.iterdir()) == before


def test_the_poison_works(tmp_path: Path) -> None:
    """The test above can fail: a Python that isolates itself less does run what lies there."""
    folder = poisoned(tmp_path / "poison")
    for environ in ({"PYTHONPATH": str(folder)}, {}):
        done = subprocess.run(
            [PYTHON, "-c", "import json"], env=environ, cwd=folder, capture_output=True, timeout=LIMIT
        )
        assert b"POISONED" in done.stderr or done.returncode == 77


@pytest.mark.parametrize("plugin", PLUGINS)
def test_started_by_python_a_file_isolates_itself_first(node: Node, plugin: str, tmp_path: Path) -> None:
    """As ``python3 FILE`` what lies beside it and in the working directory is not imported, and variables end there."""
    folder = poisoned(tmp_path / "poison")
    shutil.copy2(DIST / plugin, folder / plugin)
    call = Call(node, plugin)
    given = {"PYTHONINSPECT": "1", "PYTHONSTARTUP": str(folder / "json.py"), "PYTHONUSERBASE": str(folder)}
    call.add_and_delete([PYTHON, plugin], folder, **given)
    call.add_and_delete([PYTHON, folder / plugin], "/", **given)


def test_unknown_words_on_the_command_line_change_nothing(node: Node, tmp_path: Path) -> None:
    """A runtime gives none; Go's plugins ignore them."""
    call = Call(node, "loopback")
    call.add_and_delete([DIST / "loopback", "-c", "import this", "--help"])


# streams


def redirected(
    node: Node, plugin: str, verb: str, streams: str, pod: Pod | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run a verb through a shell that redirects as ``streams`` says; what is not redirected is told."""
    call = Call(node, plugin)
    if pod is not None:
        call.pod = pod
    with node.inside():
        return subprocess.run(
            ["/bin/sh", "-c", f'exec "$0" {streams}', str(DIST / plugin)],
            input=json.dumps(call.conf),
            env=call.environ(verb) | environ,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )


@pytest.mark.parametrize("plugin", PLUGINS)
def test_without_a_standard_input_there_is_an_error_object(node: Node, plugin: str) -> None:
    """Closed or empty: one document, nothing else said; VERSION needs none."""
    for streams, code in (("<&-", 5), ("</dev/null", 6)):
        done = redirected(node, plugin, "ADD", streams)
        assert (done.returncode, done.stderr) == (1, "")
        assert json.loads(done.stdout)["code"] == code
    assert json.loads(redirected(node, plugin, "VERSION", "<&-").stdout)["supportedVersions"]


@pytest.mark.parametrize(
    ("plugin", "streams"),
    each_file([">/dev/full", ">&-", ">&- 2>&-", ">/dev/full 2>/dev/full", ">&- 2>/dev/full"]),
)
def test_a_result_that_cannot_be_written_is_a_failure(node: Node, plugin: str, streams: str) -> None:
    """A runtime that was told nothing must not take the attachment for made; its DEL clears it away."""
    pod = node.pod()
    done = redirected(node, plugin, "ADD", streams, pod)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Traceback" not in done.stderr
    assert ("cannot write the result" in done.stderr) == ("2>" not in streams)
    assert redirected(node, plugin, "DEL", "", pod).returncode == 0


@pytest.mark.parametrize(("plugin", "streams"), each_file(["2>&-", "2>/dev/full"]))
def test_standard_error_may_be_lost(node: Node, plugin: str, streams: str) -> None:
    """What is said for people, here the times that CNI_DEBUG asks for, is no part of the answer."""
    done = redirected(node, plugin, "ADD", streams, CNI_DEBUG="1")
    assert done.returncode == 0
    assert json.loads(done.stdout)["cniVersion"] == "1.0.0"


def test_a_reader_that_went_away_is_a_failure(node: Node) -> None:
    """The pipe is closed before the result comes: no signal, exit 1."""
    call = Call(node, "loopback")
    reading, writing = os.pipe()
    os.close(reading)
    with node.inside():
        done = subprocess.run(
            [DIST / "loopback"],
            input=json.dumps(call.conf).encode(),
            env=call.environ("ADD"),
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=LIMIT,
        )
    os.close(writing)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"cannot write" in done.stderr


# what it writes


WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND|O_TMPFILE")
# File calls that change something whatever their arguments; "open" is told by its flags.
CHANGES = re.compile(
    r"mkdir|rename|unlink|link|symlink|truncate|chmod|chown|mknod|utime|setxattr|mount|umount|creat|rmdir|pivot_root"
)
LINE = re.compile(r"(\w+)\((.*)\) += +(-?\d+)")


def touched(trace: str) -> set[str]:
    """The paths that a process wrote to, made or removed, by strace's record of its file calls."""
    found = set()
    for line in trace.splitlines():
        match = LINE.match(line)
        if match is None or match[3].startswith("-"):
            continue
        name, arguments = match[1], match[2]
        opened = name in ("open", "openat", "openat2") and WRITING.search(arguments)
        if opened or (CHANGES.search(name) and "readlink" not in name):
            paths = re.findall(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"([^"]*)"', arguments)
            found |= {path if path.startswith("/") else f"{folder}/{path}" for folder, path in paths}
    return found


def test_the_reader_of_traces_sees_each_kind_of_change() -> None:
    """Relative paths are those of the folder that the call names; what only reads, or failed, is left out."""
    trace = """execve("/x/bridge", ["/x/bridge"], 0x7ffd /* 3 vars */) = 0
openat(AT_FDCWD</tmp>, "rel", O_WRONLY|O_CREAT|O_CLOEXEC, 0666) = 3</tmp/rel>
openat(AT_FDCWD</>, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3</etc/ld.so.cache>
openat(AT_FDCWD</>, "/no", O_RDWR) = -1 EROFS (Read-only file system)
openat(5</run/s>, ".", O_RDWR|O_TMPFILE, 0600) = 6</run/s/#1 (deleted)>
linkat(AT_FDCWD</>, "/proc/self/fd/6", 5</run/s>, "a", AT_SYMLINK_FOLLOW) = 0
readlink("/proc/self/exe", "/usr/bin/python3.11", 4096) = 19
rename("/a", "/b") = 0
mkdir("/home/x", 0777) = 0
"""
    expected = {"/tmp/rel", "/run/s/.", "/proc/self/fd/6", "/run/s/a", "/a", "/b", "/home/x"}
    assert touched(trace) == expected


@pytest.fixture
def store() -> Iterator[Path]:
    """A store below /run, where a plugin may write."""
    folder = Path(f"/run/pycni-test-{os.getpid()}")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def allowed(path: str) -> bool:
    """/run and /var, the kernel's settings, and what is no file."""
    if path.startswith(("/run/", "/var/", "/proc/sys/net/")):
        return True
    return path == "/dev/null" or re.fullmatch(r"/proc/(self|thread-self)/fd/\d+", path) is not None


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
def test_nothing_is_written_outside_run_and_var(node: Node, store: Path, tmp_path: Path, backend: str) -> None:
    """No bytecode, nothing unpacked, nothing in HOME or beside the file: ADD, CHECK, GC and DEL of bridge, traced."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for plugin in PLUGINS:
        shutil.copy2(DIST / plugin, binaries / plugin)
    pod = node.pod()
    ipam = {
        "type": "host-local",
        "dataDir": str(store),
        "ranges": [[{"subnet": "10.8.0.0/24"}], [{"subnet": "fd08::/64"}]],
    }
    conf: Object = {"cniVersion": "1.1.0", "name": "net8", "type": "bridge", "bridge": "br8", "ipam": ipam}
    conf |= {"isDefaultGateway": True, "ipMasq": True, "ipMasqBackend": backend, "macspoofchk": True}
    env = {
        "CNI_CONTAINERID": pod.container,
        "CNI_NETNS": pod.path,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(binaries),
        "HOME": str(tmp_path),
    }
    seen: set[str] = set()
    for verb in ("ADD", "CHECK", "GC", "DEL"):
        record = tmp_path / f"trace-{verb}"
        command = [
            "strace",
            "-ff",
            "-y",
            "-s",
            "4096",
            "-o",
            str(record),
            "-e",
            "trace=%file",
            str(binaries / "bridge"),
        ]
        asked = conf | ({"cni.dev/valid-attachments": []} if verb == "GC" else {})
        with node.inside():
            done = subprocess.run(
                command,
                input=json.dumps(asked),
                env={**env, "CNI_COMMAND": verb},
                capture_output=True,
                text=True,
                timeout=LIMIT,
            )
        assert done.returncode == 0, done
        if verb == "ADD":
            conf["prevResult"] = json.loads(done.stdout)
        trace = "".join(at.read_text() for at in sorted(tmp_path.glob(f"{record.name}.*")))
        assert f'execve("{binaries}/bridge"' in trace
        seen |= touched(trace)
    ours = {path for path in seen if not path.startswith(("/run/xtables.lock",))}
    assert {path for path in ours if not allowed(path)} == set()
    assert any(path.startswith(f"{store}/net8") for path in seen), "the trace sees what is written"
    assert any(path.startswith("/proc/sys/net/ipv6/conf/") for path in seen)
    assert sorted(binaries.iterdir()) == sorted(binaries / plugin for plugin in PLUGINS)
    assert not list(tmp_path.rglob("*.pyc"))


READ_ONLY = r"""
set -e
mount --make-rprivate /
mount -o remount,ro,bind / /
for at in /run /var; do mount -t tmpfs tmpfs $at; done
mount --rbind /tmp /tmp
mount -o remount,ro,bind /tmp
ip netns add pod
if touch /x /tmp/x 2>/dev/null; then echo "the root can be written"; exit 9; fi
export CNI_CONTAINERID=c1 CNI_NETNS=/run/netns/pod CNI_IFNAME=eth0 CNI_PATH="${BRIDGE%/*}"
for verb in ADD DEL; do
  echo "== $verb"
  printf %s "$CONF" | env -u PATH -u HOME -u CONF CNI_COMMAND=$verb "$BRIDGE"
  printf '\n== after %s\n' $verb
  find /var /run -type f
  ip -n pod -o -4 addr show dev eth0 || true
done
"""


def test_a_read_only_root_is_enough() -> None:
    """With /run and /var as tmpfs, both empty, ADD and DEL work; the store is made where it is by default."""
    conf: Object = {"cniVersion": "1.0.0", "name": "net1", "type": "bridge", "bridge": "br0", "ipMasq": True}
    conf |= {"isDefaultGateway": True, "ipam": {"type": "host-local", "subnet": "10.1.0.0/24"}}
    environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "CONF": json.dumps(conf), "BRIDGE": str(DIST / "bridge")}
    done = subprocess.run(
        ["unshare", "--mount", "--net", "/bin/sh", "-c", READ_ONLY],
        env=environ,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 0, done
    said = dict(re.findall(r"^== ([^\n]*)\n(.*?)(?=^==|\Z)", done.stdout, re.MULTILINE | re.DOTALL))
    assert json.loads(said["ADD"])["ips"][0]["address"] == "10.1.0.2/24"
    assert "/var/lib/cni/networks/net1/10.1.0.2\n" in said["after ADD"]
    assert "inet 10.1.0.2/24" in said["after ADD"]
    assert said["DEL"].strip() == ""
    assert "/var/lib/cni/networks/net1/10.1.0.2\n" not in said["after DEL"]
    assert "inet" not in said["after DEL"]


# another Python


def _entries(plugin: str) -> dict[str, bytes]:
    with zipfile.ZipFile(DIST / plugin) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_python_that_is_too_old_can_read_the_front_door(plugin: str) -> None:
    """Nothing newer than Python 3.4 in what is executed before the version is looked at."""
    entries = _entries(plugin)
    for name in ("frontdoor.py", "handover.py", "__main__.py"):
        ast.parse(entries[name].decode(), feature_version=(3, 4))
    with pytest.raises(SyntaxError):
        ast.parse("x: int = 1\nf'{x}'\nmatch x:\n    case 1: pass\n", feature_version=(3, 4))


@pytest.mark.parametrize("version", ["3, 4, 2", "3, 10, 12"])
def test_a_python_that_is_too_old_says_so_as_an_error_object(version: str) -> None:
    """The first line of the file is executed by a Python that takes itself for an older one."""
    line = (DIST / "bridge").read_bytes().split(b"\n", 1)[0].decode()
    code = line.split(" -ISc", 1)[1]
    code = f"import sys;sys.version_info=({version});{code}"
    done = subprocess.run(
        [PYTHON, "-ISc", code, DIST / "bridge"], env={}, capture_output=True, text=True, timeout=LIMIT
    )
    assert (done.returncode, done.stderr) == (1, "")
    error = json.loads(done.stdout)
    assert error["code"] == 999
    assert "3.11" in error["msg"]
    assert ".".join(version.split(", ")[:2]) in error["msg"]


def test_bytecode_of_another_python_is_passed_over(node: Node, tmp_path: Path) -> None:
    """The sources serve then: slower, with the same answer."""
    whole = (DIST / "bridge").read_bytes()
    other = tmp_path / "bridge"
    with zipfile.ZipFile(DIST / "bridge") as archive, zipfile.ZipFile(tmp_path / "zip", "w") as changed:
        changed.comment = archive.comment
        for name in archive.namelist():
            data = archive.read(name)
            changed.writestr(name, b"\x01\x02\r\n" + b"rubbish" if name.endswith(".pyc") else data)
    other.write_bytes(whole.split(b"\n", 1)[0] + b"\n" + (tmp_path / "zip").read_bytes())
    other.chmod(0o755)
    Call(node, "bridge").add_and_delete([other])
