"""Another plugin as the specification has it: how it is found, what it is given, and what is made of its answer."""

import io
import json
import os
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni import delegate, ipam
from cni.errors import CNIError
from cni.identity import build_of
from cni.kernel import process
from cni.plan import make
from cni.skel import Call
from node.configuration import bridge, host_local
from node.plugin import SUBJECT
from node.program import shell
from node.topology import Node

Object = dict[str, Any]
CONF = {
    "cniVersion": "1.0.0",
    "name": "net1",
    "ipam": {"type": "fake"},
    "runtimeConfig": {"x": [1, 2]},
    "odd  key": "é",
}
STDIN = json.dumps(CONF, indent=3, ensure_ascii=False).encode() + b"\n \n"
ADDRESS = {"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.2/24"}]}


def call_of(*folders: Path, environ: dict[str, str] | None = None, stdin: bytes = STDIN) -> tuple[Call, io.StringIO]:
    """A call with these folders in CNI_PATH, and its standard error."""
    log = io.StringIO()
    variables = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": "/x",
        "CNI_ARGS": "A=1",
        "CNI_PATH": ":".join(map(str, folders)),
        **(environ or {}),
    }
    return Call(variables, stdin, log), log


# finding


@pytest.mark.parametrize(
    ("name", "msg"),
    [
        ("", "no plugin name provided"),
        ("../fake", "invalid plugin name: ../fake"),
        ("/bin/true", "invalid plugin name: /bin/true"),
        ("bin/fake", "invalid plugin name: bin/fake"),
        (".", "invalid plugin name: ."),
        ("..", "invalid plugin name: .."),
        ("fa\0ke", "invalid plugin name: fa\0ke"),
    ],
)
def test_a_name_is_a_files_name_and_no_path(tmp_path: Path, name: str, msg: str) -> None:
    with pytest.raises(CNIError) as caught:
        delegate.find(name, [str(tmp_path)])
    assert (caught.value.code, caught.value.msg) == (999, msg)


def test_without_folders_there_is_none() -> None:
    with pytest.raises(CNIError, match="^no paths provided"):
        delegate.find("fake", [])


def test_what_is_in_no_folder_is_told_with_all_of_them(tmp_path: Path) -> None:
    folders = [str(tmp_path / "a"), str(tmp_path / "b")]
    with pytest.raises(CNIError) as caught:
        delegate.find("fake", folders)
    assert caught.value.msg == f'failed to find plugin "fake" in path [{folders[0]} {folders[1]}]'
    assert "CNI_PATH" in caught.value.details


def test_the_first_regular_file_is_it(tmp_path: Path, program: Callable[..., Path]) -> None:
    """Folders are passed over, links are followed, ends of links that are gone are passed over."""
    wanted = program("", folder="c")
    for folder in "abde":
        (tmp_path / folder).mkdir()
    (tmp_path / "a" / "fake").mkdir()
    (tmp_path / "b" / "fake").symlink_to(tmp_path / "nowhere")
    (tmp_path / "d" / "fake").symlink_to(wanted)
    os.mkfifo(tmp_path / "e" / "fake")
    paths = {folder: str(tmp_path / folder) for folder in "abcde"}
    assert delegate.find("fake", list(paths.values())) == str(wanted)
    assert delegate.find("fake", [paths["a"], paths["b"], paths["e"], paths["d"]]) == f"{paths['d']}/fake"


def test_an_empty_element_of_cni_path_is_not_the_current_folder(
    tmp_path: Path, program: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Go finds the file there and then executes a name from PATH."""
    program("", folder="here")
    monkeypatch.chdir(tmp_path / "here")
    call, _ = call_of(environ={"CNI_PATH": "::"})
    with pytest.raises(CNIError, match="no paths provided"):
        delegate.run(call, "fake", "ADD")


def test_a_file_that_cannot_be_executed_hides_a_later_one_and_is_named(
    tmp_path: Path, program: Callable[..., Path]
) -> None:
    first, second = program("", folder="a"), program(f"print({json.dumps(ADDRESS)!r})", folder="b")
    first.chmod(0o644)
    call, _ = call_of(first.parent, second.parent)
    with pytest.raises(CNIError) as caught:
        delegate.run(call, "fake", "ADD")
    assert caught.value.code == 0
    assert str(first) in caught.value.msg and "permission denied" in caught.value.msg
    first.chmod(0o755)
    first.write_text("rubbish\n")
    with pytest.raises(CNIError) as caught:
        delegate.run(call, "fake", "ADD")
    assert caught.value.code == 0 and str(first) in caught.value.msg


def test_a_relative_folder_is_relative_to_the_process(
    tmp_path: Path, program: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    program(f"print({json.dumps(ADDRESS)!r})")
    monkeypatch.chdir(tmp_path)
    assert delegate.run(call_of(Path("bin"))[0], "fake", "ADD") == ADDRESS


# what it is given


def inherited() -> set[int]:
    """The descriptors that whoever started the tests lets every program have."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.get_inheritable(int(name)):
                found.add(int(name))
        except OSError:
            pass  # the listing itself
    return found


@pytest.mark.parametrize("verb", ["ADD", "CHECK", "DEL", "STATUS", "GC"])
def test_it_gets_the_callers_bytes_and_environment_with_another_verb(
    program: Callable[..., Path], tmp_path: Path, verb: str
) -> None:
    """The bytes as they came; every variable; three streams and no more."""
    file = program(
        f"""
        import json, os, sys
        data = sys.stdin.buffer.read()
        seen = {{
            "stdin": data.hex(),
            "environ": dict(os.environ),
            "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
            "arguments": sys.argv,
            "cwd": os.getcwd(),
        }}
        open({str(tmp_path / "seen")!r}, "w").write(json.dumps(seen))
        print({json.dumps(ADDRESS)!r})
        """
    )
    environ = {"ODD": "v a l\nue", "CNI_EXTRA": "x", "LANG": "C.UTF-8"}
    call, _ = call_of(file.parent, environ=environ)
    before = dict(call.environ)
    delegate.run(call, "fake", verb)
    seen = json.loads((tmp_path / "seen").read_text())
    assert bytes.fromhex(seen["stdin"]) == STDIN
    assert seen["environ"] == {**before, "CNI_COMMAND": verb}
    assert dict(call.environ) == before
    assert set(seen["fds"]) <= inherited() | {0, 1, 2, 3}, "3 is the listing of the folder itself"
    assert seen["arguments"] == [str(file)] and seen["cwd"] == os.getcwd()


def test_a_delegate_does_not_ignore_the_signals_that_python_ignores(program: Callable[..., Path]) -> None:
    """Python itself ignores SIGPIPE at its start: so a shell tells."""
    file = program(**shell('grep SigIgn /proc/self/status | { read name mask; echo "{\\"mask\\": \\"$mask\\"}"; }'))
    found = delegate.run(call_of(file.parent)[0], "fake", "ADD")
    ignored = int(found["mask"], 16)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        assert not ignored >> (number - 1) & 1


@pytest.mark.parametrize(
    "body", [f"print({json.dumps(ADDRESS)!r})", "raise SystemExit(1)", "import os; os.closerange(1, 3)"]
)
def test_an_exit_status_that_nobody_kept_is_no_success(program: Callable[..., Path], body: str) -> None:
    """In a program that runs plugins in its own process and ignores SIGCHLD."""
    file = program(body)
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(CNIError, match="its exit status is unknown"):
            delegate.run(call_of(file.parent)[0], "fake", "ADD")
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_large_standard_input_is_given_whole(program: Callable[..., Path]) -> None:
    """More than a pipe holds, also to one that does not read it."""
    stdin = json.dumps({**CONF, "large": "x" * 3_000_000}).encode()
    file = program("import sys, json; print(json.dumps({'length': len(sys.stdin.buffer.read())}))")
    assert delegate.run(call_of(file.parent, stdin=stdin)[0], "fake", "ADD") == {"length": len(stdin)}
    file = program(**shell("echo '{}'"))
    assert delegate.run(call_of(file.parent, stdin=stdin)[0], "fake", "ADD") == {}


# what is made of its answer


@pytest.mark.parametrize(
    ("printed", "document"),
    [
        (json.dumps(ADDRESS), ADDRESS),
        ("", ...),
        (" \n{}\n ", {}),
        ("null", {}),
    ],
)
def test_a_success_of_add_is_a_document(program: Callable[..., Path], printed: str, document: Any) -> None:
    file = program(f"print({printed!r})")
    call, _ = call_of(file.parent)
    if document is ...:
        with pytest.raises(CNIError, match="^failed to unmarshal raw result: unexpected end of JSON input"):
            delegate.run(call, "fake", "ADD")
    else:
        assert delegate.run(call, "fake", "ADD") == document


@pytest.mark.parametrize("printed", ["x", "[]", '"text"', "5", "true", "{} {}", '{"ips":', "\ufeff{}"])
def test_a_success_that_is_no_document_is_an_error_that_quotes_it(program: Callable[..., Path], printed: str) -> None:
    file = program(f"import sys; sys.stdout.buffer.write({printed.encode()!r})")
    with pytest.raises(CNIError, match="^failed to unmarshal raw result: ") as caught:
        delegate.run(call_of(file.parent)[0], "fake", "ADD")
    assert caught.value.code == 999 and f'printed "{printed}"' in caught.value.details


@pytest.mark.parametrize("verb", ["CHECK", "DEL", "STATUS", "GC"])
def test_what_other_verbs_print_with_success_is_ignored(program: Callable[..., Path], verb: str) -> None:
    file = program("print('rubbish', end='')")
    assert delegate.run(call_of(file.parent)[0], "fake", verb) is None


def test_status_without_a_plugin_that_answers_is_code_50(program: Callable[..., Path], tmp_path: Path) -> None:
    """None of that name, one that cannot be executed, one that dies: ADD would fail. Its own error passes."""
    broken = tmp_path / "bin"
    program("", name="broken").chmod(0o644)
    for name, folder in (("none", tmp_path), ("", tmp_path), ("broken", broken)):
        with pytest.raises(CNIError) as caught:
            delegate.ready(call_of(folder)[0], name)
        assert caught.value.code == 50, name
    for body, code in (("raise SystemExit(3)", 50), ('print(\'{"code": 11, "msg": "x"}\'); raise SystemExit(1)', 11)):
        with pytest.raises(CNIError) as caught:
            delegate.ready(call_of(program(body).parent)[0], "fake")
        assert caught.value.code == code


def test_standard_error_of_a_success_is_handed_on(program: Callable[..., Path]) -> None:
    file = program("import sys; sys.stderr.write('careful\\nnow\\n'); print('{}')")
    call, log = call_of(file.parent)
    delegate.run(call, "fake", "ADD")
    assert log.getvalue() == "careful\nnow\n"


@pytest.mark.parametrize("verb", ["ADD", "CHECK", "DEL", "STATUS", "GC"])
@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"code": 11, "msg": "busy", "details": "wait"}, (11, "busy", "wait")),
        ({"cniVersion": "1.0.0", "code": 100, "msg": ""}, (100, "", "")),
        ({"Code": 7, "MSG": "m"}, (7, "m", "")),
        ({"code": None, "msg": None}, (0, "", "")),
        # a result with a failure
        (ADDRESS, (0, "", "")),
        (None, (0, "", "")),
    ],
)
def test_its_error_object_passes_as_it_is(
    program: Callable[..., Path], verb: str, document: Any, expected: Any
) -> None:
    """Code, message and details; its standard error is lost then."""
    file = program(f"import sys; sys.stderr.write('noise'); print({json.dumps(document)!r}); sys.exit(1)")
    call, log = call_of(file.parent)
    with pytest.raises(CNIError) as caught:
        delegate.run(call, "fake", verb)
    assert (caught.value.code, caught.value.msg, caught.value.details) == expected
    assert log.getvalue() == ""


@pytest.mark.parametrize(
    ("body", "msg"),
    [
        ("exit 3", "netplugin failed with no error message: exit status 3"),
        ("echo; exit 1", "netplugin failed with no error message: exit status 1"),
        ("echo trouble >&2; exit 2", 'netplugin failed: "trouble\n": exit status 2'),
        ("kill -9 $$", "netplugin failed with no error message: signal: 9"),
        ("echo dying >&2; kill -15 $$", 'netplugin failed: "dying\n": signal: 15'),
        ("echo rubbish; exit 1", 'netplugin failed but error parsing its diagnostic message "rubbish\n": '),
        ("echo '[]'; exit 1", 'netplugin failed but error parsing its diagnostic message "[]\n": '),
        ("echo '{} {}'; exit 1", 'netplugin failed but error parsing its diagnostic message "{} {}\n": '),
        ("""echo '{"code": "7"}'; exit 1""", "netplugin failed but error parsing its diagnostic message"),
        ("""echo '{"code": -1}'; exit 1""", "netplugin failed but error parsing its diagnostic message"),
        ("""echo '{"code": true}'; exit 1""", "netplugin failed but error parsing its diagnostic message"),
        ("""echo '{"code": 1.0}'; exit 1""", "netplugin failed but error parsing its diagnostic message"),
        ("""echo '{"msg": 5}'; exit 1""", "netplugin failed but error parsing its diagnostic message"),
        ("""echo '{"code": ""}'; exit 1""", "netplugin failed but error parsing its diagnostic message"),
        ("""echo '{"code": false}'; exit 1""", "netplugin failed but error parsing its diagnostic message"),
        ("""echo '{"details": []}'; exit 1""", "netplugin failed but error parsing its diagnostic message"),
    ],
)
def test_a_failure_without_an_error_object_is_code_0(program: Callable[..., Path], body: str, msg: str) -> None:
    file = program(**shell(body))
    with pytest.raises(CNIError) as caught:
        delegate.run(call_of(file.parent)[0], "fake", "ADD")
    assert caught.value.code == 0
    assert caught.value.msg.startswith(msg)


def test_a_long_output_is_quoted_in_part(program: Callable[..., Path]) -> None:
    file = program("import sys; sys.stderr.write('x' * 100000); sys.exit(1)")
    with pytest.raises(CNIError) as caught:
        delegate.run(call_of(file.parent)[0], "fake", "ADD")
    assert len(caught.value.msg) < 1000 and "…" in caught.value.msg


@given(st.binary(max_size=40))
def test_whatever_a_failure_prints_there_is_one_error(output: bytes) -> None:
    error = delegate._failure("exit status 1", output, b"")
    assert error.code >= 0
    json.dumps(error.document())


# bounds


def test_a_slow_one_after_a_slow_one_gets_what_is_left_of_the_calls_time(
    program: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that ADD and the DEL after it stay below kubelet's patience; but never less than a few seconds."""
    file = program("print('{}')")
    given_times: list[float] = []
    real = process.execute

    def execute(path: str, environ: Any, stdin: bytes, timeout: float) -> Any:
        given_times.append(timeout)
        return real(path, environ, stdin, timeout)

    monkeypatch.setattr(process, "execute", execute)
    call, _ = call_of(file.parent)
    for passed in (0.0, 60.0, 99.0):
        monkeypatch.setattr(Call, "elapsed", passed)
        delegate.run(call, "fake", "ADD")
    assert given_times == [delegate.TIMEOUT, delegate.CALL_TIME - 60, delegate.TIMEOUT_MIN]


# as an effect


def test_addresses_are_the_delegates_and_taken_back_when_a_later_effect_fails(
    program: Callable[..., Path], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    file = program(
        f"""
        import os
        open({str(log)!r}, "a").write(os.environ["CNI_COMMAND"] + "\\n")
        if os.environ["CNI_COMMAND"] == "ADD":
            print({json.dumps(ADDRESS)!r})
        """
    )
    call, _ = call_of(file.parent)

    def wanted() -> Any:
        result = yield from ipam.Addresses(call, "fake")
        assert [str(ip.address) for ip in result.ips] == ["10.1.0.2/24"]
        raise CNIError("later")

    with pytest.raises(CNIError, match="later"):
        make(wanted, list)
    assert log.read_text().split() == ["ADD", "DEL"]


def test_a_failed_add_of_the_delegate_is_followed_by_its_del(program: Callable[..., Path], tmp_path: Path) -> None:
    """As the specification asks; Go leaves that out."""
    log = tmp_path / "log"
    file = program(**shell(f'echo "$CNI_COMMAND" >> {log}; [ "$CNI_COMMAND" = DEL ]'))
    call, _ = call_of(file.parent)
    with pytest.raises(CNIError, match="netplugin failed"):
        make(lambda: iter(ipam.Addresses(call, "fake")), list)  # type: ignore[arg-type]
    assert log.read_text().split() == ["ADD", "DEL"]


@pytest.mark.parametrize("printed", [{"code": 7, "msg": "x"}, {"cniVersion": "1.0.0"}, {"cniVersion": "0.2.0"}])
def test_an_answer_without_addresses_is_an_error(program: Callable[..., Path], printed: Object) -> None:
    """So is an error object with a success: it counts as a result without any."""
    file = program(f"print({json.dumps(printed)!r})")
    with pytest.raises(CNIError, match="^IPAM plugin returned missing IP config"):
        ipam.Addresses(call_of(file.parent)[0], "fake").make()


def test_a_delegate_that_does_not_know_gc_is_passed_over_and_said(program: Callable[..., Path]) -> None:
    file = program("""import sys; print('{"code": 4, "msg": "unknown CNI_COMMAND: GC"}'); sys.exit(1)""")
    call, log = call_of(file.parent)
    assert ipam.Addresses(call, "fake").collect("net1", []) == []
    assert "fake does not know GC" in log.getvalue()
    program("""import sys; print('{"code": 11, "msg": "busy"}'); sys.exit(1)""")
    with pytest.raises(CNIError, match="busy"):
        ipam.Addresses(call, "fake").collect("net1", [])


# of the same build

needs_dist = pytest.mark.skipif(
    not build_of(f"{SUBJECT}/bridge"), reason="make dist has not been run, or the subject is another make's"
)


def _another_build(source: Path, target: Path) -> None:
    """A single file whose archive says that it is of another build."""
    shutil.copy2(source, target)
    with zipfile.ZipFile(target, "a") as archive:
        archive.comment = archive.comment[:-4] + b"ffff"


@needs_dist
@pytest.mark.real
def test_a_file_of_the_same_build_is_not_executed(node: Node, tmp_path: Path) -> None:
    """It runs in the same process: so it may do without the permission, which a file of another build needs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bridge", "host-local"):
        shutil.copy2(Path(SUBJECT, name), folder / name)
    (folder / "host-local").chmod(0o644)
    conf = bridge(host_local(node.data_dir, "10.1.0.0/24"))
    made = node.attach(conf, binaries=str(folder))
    assert made.address == "10.1.0.2"
    assert made.check(binaries=str(folder)).ok
    assert made.delete(binaries=str(folder)).ok
    assert node.leases() == {}
    os.unlink(folder / "host-local")
    _another_build(Path(SUBJECT, "host-local"), folder / "host-local")
    (folder / "host-local").chmod(0o644)
    outcome = node.cni("bridge", "ADD", conf, container="c2", netns=node.pod().path, binaries=str(folder))
    assert (outcome.code, outcome.error["msg"].endswith("permission denied")) == (0, True)
    (folder / "host-local").chmod(0o755)
    assert node.attach(conf, binaries=str(folder)).address == "10.1.0.3"


@needs_dist
@pytest.mark.real
def test_a_renamed_file_of_the_same_build_is_executed(node: Node, tmp_path: Path) -> None:
    """No module of that name is in it; another plugin's name would run another plugin."""
    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.copy2(Path(SUBJECT, "bridge"), folder / "bridge")
    shutil.copy2(Path(SUBJECT, "host-local"), folder / "my-ipam")
    ipam_section = {**host_local(node.data_dir, "10.1.0.0/24"), "type": "my-ipam"}
    made = node.attach(bridge(ipam_section), binaries=str(folder))
    assert made.address == "10.1.0.2"
    (folder / "my-ipam").chmod(0o644)
    assert made.check(binaries=str(folder)).error["msg"].endswith("permission denied")


@needs_dist
@pytest.mark.real
@pytest.mark.parametrize("same", [True, False], ids=["same build", "another build"])
def test_the_delegates_own_error_passes_either_way(node: Node, tmp_path: Path, same: bool) -> None:
    """Code, message and details are those of host-local, whoever runs it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.copy2(Path(SUBJECT, "bridge"), folder / "bridge")
    (shutil.copy2 if same else _another_build)(Path(SUBJECT, "host-local"), folder / "host-local")
    conf = bridge(host_local(node.data_dir, "10.1.0.1/24"))
    direct = node.cni("host-local", "ADD", conf, container="c", netns="/x", binaries=str(folder)).error
    through = node.cni("bridge", "ADD", conf, container="c", netns=node.pod().path, binaries=str(folder)).error
    assert through == direct and direct["code"] == 7
    assert "Network has host bits set" in direct["msg"]
