"""The frame's answers: one document on standard output or none, the exit status, and what goes to standard error."""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cni import skel, versions
from cni.address import Prefix
from cni.errors import CheckFailed, CNIError, TryAgainLater
from cni.result import IPConfig, Result
from node.served import probe, serve

VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
CONF = {"cniVersion": "1.1.0", "name": "net1", "type": "probe"}
FUNCTIONS = {"ADD": "add", "DEL": "delete", "CHECK": "check", "GC": "gc", "STATUS": "status"}
OWN = "/proc/thread-self/ns/net"


def never() -> bytes:
    raise AssertionError("standard input was read")


def result(call: skel.Call) -> Result:
    return Result((), [IPConfig(Prefix.parse("10.1.0.2/24"))])


def noting(seen: list[skel.Call]) -> Callable[[skel.Call], Result | None]:
    """A verb that notes its call."""

    def verb(call: skel.Call) -> Result | None:
        seen.append(call)
        return result(call) if call.verb == "ADD" else None

    return verb


def failing(error: BaseException) -> Any:
    def verb(call: skel.Call) -> None:
        raise error

    return verb


@pytest.mark.parametrize("environ", [{"CNI_COMMAND": ""}, {"CNI_COMMAND": "", "CNI_CONTAINERID": "../x"}])
def test_without_a_verb_the_plugin_tells_about_itself_and_succeeds(environ: dict[str, str]) -> None:
    """On standard error; standard output stays empty and standard input unread."""
    with probe() as plugin:
        told = serve(plugin, "", never, environ)
    assert (told.exit, told.stdout) == (0, "")
    about, supported = told.stderr.splitlines()
    assert about == f"CNI probe plugin v{skel.REFERENCE}+pycni.{skel.VERSION}"
    assert supported == f"CNI protocol versions supported: {', '.join(VERSIONS)}"


def test_each_version_has_one_source() -> None:
    """Ours is the package's; the reference's is the newest that the page on compatibility is about."""
    root = Path(__file__).parents[2]
    dynamic = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["dynamic"]
    assert dynamic["version"] == {"attr": "cni.versions.RELEASE"} and skel.VERSION == versions.RELEASE
    assert f"1.1.1 as in Debian 12 to {skel.REFERENCE})" in (root / "docs/compatibility/index.md").read_text()


def test_version_is_one_line_and_looks_at_nothing() -> None:
    """libcni's probe sets the variables to "dummy"; whatever they are and whatever stands on standard input."""
    hostile = {"CNI_CONTAINERID": "../x", "CNI_IFNAME": "a/b:c d", "CNI_NETNS": OWN, "CNI_PATH": "", "CNI_ARGS": ";;"}
    with probe() as plugin:
        told = serve(plugin, "VERSION", never, hostile)
    assert (told.exit, told.stderr) == (0, "")
    assert told.stdout.count("\n") == 1 and told.stdout.endswith("}\n") and " " not in told.stdout
    assert told.document == {"cniVersion": "1.1.0", "supportedVersions": VERSIONS}


def test_a_result_is_indented_and_ends_without_a_newline() -> None:
    with probe(add=result) as plugin:
        told = serve(plugin, "ADD", CONF)
    assert told.exit == 0 and told.stderr == ""
    assert told.stdout == json.dumps({"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.2/24"}]}, indent=4)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_result_is_printed_in_the_version_that_was_asked_for(version: str) -> None:
    with probe(add=result) as plugin:
        told = serve(plugin, "ADD", {**CONF, "cniVersion": version})
    assert told.result["cniVersion"] == version
    assert ("ip4" in told.result) == (version in ("0.1.0", "0.2.0"))


@pytest.mark.parametrize("verb", FUNCTIONS)
def test_each_verb_has_its_function_and_gets_the_call(verb: str) -> None:
    """The attachment, the configuration as it came, and the folders of CNI_PATH."""
    seen: list[skel.Call] = []
    with probe(**{FUNCTIONS[verb]: noting(seen)}) as plugin:
        told = serve(plugin, verb, CONF, path=":/a::/b:", ifname="eth7", container="c9", netns="/x")
    assert told.ok and bool(told.stdout) == (verb == "ADD")
    (call,) = seen
    assert (call.verb, call.network, call.version, call.netns) == (verb, "net1", "1.1.0", "/x")
    assert str(call.attachment) == "net1/c9/eth7"
    assert call.config == CONF and json.loads(call.stdin) == CONF
    assert call.path == ["/a", "/b"], "empty elements are skipped"


@pytest.mark.parametrize("verb", ["add", "Add", "ADDITION", "REMOVE", "ADD ", " ADD", "ADD\n", "UPDATE", "é"])
def test_an_unknown_verb_is_code_4_once_the_configuration_is_read(verb: str) -> None:
    """It needs no other variable; the configuration is looked at before it."""
    bare = dict.fromkeys(("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"), "")
    with probe(add=result) as plugin:
        told = serve(plugin, verb, CONF, bare)
        assert (told.code, told.error["msg"]) == (4, f"unknown CNI_COMMAND: {verb}")
        assert serve(plugin, verb, "", bare).code == 6
        assert serve(plugin, verb, {"name": "../x"}, bare).code == 7
        assert serve(plugin, verb, {"name": "net1", "cniVersion": "9"}, bare).code == 4


@pytest.mark.parametrize("verb", FUNCTIONS)
def test_an_error_goes_to_standard_output_with_its_code(verb: str) -> None:
    """Not to standard error; indented, without a newline at the end, labelled with the caller's version."""
    with probe(**{FUNCTIONS[verb]: failing(TryAgainLater("busy <now>", "wait & see"))}) as plugin:
        told = serve(plugin, verb, CONF)
    assert told.stderr == ""
    assert told.error == {"cniVersion": "1.1.0", "code": 11, "msg": "busy <now>", "details": "wait & see"}
    assert told.stdout.startswith('{\n    "cniVersion"') and told.stdout.endswith("\n}")
    assert "\\u003cnow\\u003e" in told.stdout and "\\u0026" in told.stdout


def test_an_error_has_details_only_where_it_has_some_and_a_message_always() -> None:
    with probe(add=failing(CheckFailed(""))) as plugin:
        assert serve(plugin, "ADD", CONF).error == {"cniVersion": "1.1.0", "code": 999, "msg": ""}
    with probe(add=failing(CNIError("m", code=0))) as plugin:
        assert serve(plugin, "ADD", CONF).error == {"cniVersion": "1.1.0", "code": 0, "msg": "m"}


@pytest.mark.parametrize("version", ["0.1.0", "0.4.0", "1.0.0"])
def test_an_error_is_labelled_with_the_version_of_the_call(version: str) -> None:
    with probe(add=failing(CNIError("m"))) as plugin:
        assert serve(plugin, "ADD", {**CONF, "cniVersion": version}).error["cniVersion"] == version


def test_an_error_before_the_version_is_known_is_labelled_with_the_newest() -> None:
    with probe() as plugin:
        assert serve(plugin, "ADD", "{").error["cniVersion"] == "1.1.0"


@pytest.mark.parametrize(
    ("error", "msg"),
    [
        (OSError(28, "No space left on device"), "probe: [Errno 28] No space left on device"),
        (ZeroDivisionError("division by zero"), "probe: ZeroDivisionError: division by zero"),
        (KeyboardInterrupt(), "probe: KeyboardInterrupt: "),
        (RecursionError("too deep"), "probe: RecursionError: too deep"),
        (UnicodeError("\udcff"), "probe: UnicodeError: \ufffd"),
    ],
)
def test_what_nobody_foresaw_is_an_error_object_without_a_traceback(error: BaseException, msg: str) -> None:
    """Code 999, the kind of the exception, and where it was raised."""
    with probe(add=failing(error)) as plugin:
        told = serve(plugin, "ADD", CONF)
    assert (told.code, told.error["msg"], told.stderr) == (999, msg, "")
    if not isinstance(error, OSError):
        assert re.match(r"in verb, line \d+; set CNI_DEBUG=1", told.error["details"])


@pytest.mark.parametrize(("error", "before"), [(OSError(28, "full"), ""), (ValueError("x"), "for the traceback; ")])
def test_notes_of_what_nobody_foresaw_are_told(error: Exception, before: str) -> None:
    """What could not be taken back, for example."""
    error.add_note("one")
    error.add_note("two")
    with probe(add=failing(error)) as plugin:
        details = serve(plugin, "ADD", CONF).error["details"]
    assert details.endswith(f"{before}one; two")
    assert bool(before) or details == "one; two"


def test_a_plugin_whose_module_cannot_be_imported_is_an_error_object() -> None:
    told = serve(skel.Plugin("probe", "cni_nowhere"), "ADD", CONF)
    assert told.code == 999 and "cni_nowhere" in told.error["msg"]


def test_debug_tells_plugin_verb_container_and_the_time_of_each_step() -> None:
    """One line on standard error, after whatever the plugin said; it changes nothing on standard output."""

    def add(call: skel.Call) -> Result:
        call.say("hello")
        call.step("half way")
        return result(call)

    with probe(add=add) as plugin:
        told, plain = serve(plugin, "ADD", CONF, {"CNI_DEBUG": "1"}), serve(plugin, "ADD", CONF)
    assert told.stdout == plain.stdout and plain.stderr == "hello\n"
    said, line = told.stderr.splitlines()
    assert said == "hello"
    number = r"\d+\.\d"
    assert re.fullmatch(rf"probe ADD net1/c1/eth0 {number} ms: frame {number}, half way {number}", line)


def test_debug_traces_what_nobody_foresaw_on_standard_error() -> None:
    with probe(add=failing(ZeroDivisionError("x"))) as plugin:
        told = serve(plugin, "ADD", CONF, {"CNI_DEBUG": "1"})
    assert told.code == 999 and "Traceback" not in told.stdout
    assert "Traceback (most recent call last)" in told.stderr and "ZeroDivisionError" in told.stderr
    assert told.stderr.splitlines()[-1].startswith("probe ADD net1/c1/eth0 ")


def test_debug_does_not_trace_an_error_that_was_meant() -> None:
    with probe(add=failing(CNIError("m"))) as plugin:
        assert "Traceback" not in serve(plugin, "ADD", CONF, {"CNI_DEBUG": "1"}).stderr


def test_the_plugins_own_namespace_is_refused_before_the_deed() -> None:
    """Code 8, one document, and the plugin's function was never called."""
    seen: list[skel.Call] = []
    with probe(add=noting(seen)) as plugin:
        told = serve(plugin, "ADD", CONF, netns=OWN)
        assert (told.code, told.error["msg"]) == (
            8,
            "plugin's netns and netns from CNI_NETNS should not be the same",
        )
        for off in ("", "0", "yes", "false", "tru"):
            assert serve(plugin, "ADD", CONF, {"CNI_NETNS_OVERRIDE": off}, netns=OWN).code == 8
        assert seen == []
        for on in ("1", "true", "True", "TRUE"):
            assert serve(plugin, "ADD", CONF, {"CNI_NETNS_OVERRIDE": on}, netns=OWN).ok
        assert len(seen) == 4


def test_del_takes_the_plugins_own_namespace_for_one_that_is_gone() -> None:
    """The number of a process that ended may be another's by now: what is on the node goes all the same."""
    seen: list[skel.Call] = []
    with probe(delete=noting(seen)) as plugin:
        told = serve(plugin, "DEL", CONF, netns=OWN)
        assert told.ok and "the plugin's own namespace" in told.stderr
        assert serve(plugin, "DEL", CONF, {"CNI_NETNS_OVERRIDE": "1"}, netns=OWN).ok
    assert [(call.netns, call.environ["CNI_NETNS"]) for call in seen] == [("", ""), (OWN, OWN)]


@pytest.mark.parametrize("verb", ["CHECK", "GC", "STATUS"])
def test_other_verbs_do_not_compare_namespaces(verb: str) -> None:
    seen: list[skel.Call] = []
    with probe(**{FUNCTIONS[verb]: noting(seen)}) as plugin:
        assert serve(plugin, verb, CONF, netns=OWN).ok
    assert seen


@pytest.mark.parametrize("path", ["/nowhere/at/all", "/", "/etc/passwd", "a\0b", "x" * 5000])
def test_a_path_that_is_no_namespace_is_the_plugins_to_judge(path: str) -> None:
    """Whatever can be opened is compared, whatever cannot passes, as in Go."""
    seen: list[skel.Call] = []
    with probe(add=noting(seen)) as plugin:
        assert serve(plugin, "ADD", CONF, netns=path).ok
    assert [call.netns for call in seen] == [path]


def test_del_without_a_namespace_is_served() -> None:
    seen: list[skel.Call] = []
    with probe(delete=noting(seen)) as plugin:
        assert serve(plugin, "DEL", CONF, netns="").ok
    assert seen[0].netns == ""


def test_the_namespace_is_compared_after_the_version() -> None:
    with probe(add=result) as plugin:
        assert serve(plugin, "ADD", {**CONF, "cniVersion": "9.9.9"}, netns=OWN).code == 1


def test_an_observer_is_told_each_deed_and_the_steps_are_noted() -> None:
    from cni import plan

    class Lamp(plan.Effect[None]):
        def make(self) -> None:
            pass

    def add(call: skel.Call) -> Result:
        plan.make(lambda: iter(Lamp(call.site)), list, call.observe)  # type: ignore[arg-type]
        return result(call)

    seen: list[tuple[str, str, str]] = []
    with probe(add=add) as plugin:
        told = serve(
            plugin,
            "ADD",
            CONF,
            {"CNI_DEBUG": "1"},
            lambda deed, effect, moment: seen.append((deed, str(effect.identity), moment)),
        )
    assert seen == [("make", "net1/c1/eth0", "before"), ("make", "net1/c1/eth0", "after")]
    assert ", Lamp " in told.stderr


def test_a_result_is_written_to_its_end_however_little_is_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a pipe whose reader is slow, say; standard input may come in parts."""
    parts = [json.dumps(CONF)[:10].encode(), json.dumps(CONF)[10:].encode(), b""]
    written: list[bytes] = []

    def write(fd: int, data: bytes) -> int:
        assert fd == 1
        written.append(data[:7])
        return len(written[-1])

    monkeypatch.setattr(skel.os, "read", lambda fd, size: parts.pop(0))
    monkeypatch.setattr(skel.os, "write", write)
    for name, value in {
        "CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c1", "CNI_NETNS": "/x", "CNI_IFNAME": "eth0", "CNI_PATH": "/x",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with probe(add=result) as plugin:
        status = skel.main(plugin)
    monkeypatch.undo()
    assert status == 0 and len(written) > 5
    assert json.loads(b"".join(written)) == {"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.2/24"}]}
