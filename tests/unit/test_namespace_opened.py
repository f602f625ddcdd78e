"""CNI_NETNS that cannot be opened now is not one that is gone: DEL says so, and removes nothing."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from cni import plan
from cni.errors import InvalidNetns, NetnsGone, NoNetns
from cni.kernel.namespace import Namespace
from contract import subject
from node.served import plugin, serve

NOT_NOW = [errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EPERM, errno.ENOMEM, errno.EIO, errno.ESTALE]
NEVER = [errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.ENAMETOOLONG]
NETNS = "/run/netns/pycni-cannot-be-opened"
SUBJECTS = {subject.type: subject for subject in subject.SUBJECTS if plugin(subject.type).namespace != "unused"}
PREVIOUS = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "eth0", "sandbox": NETNS}],
    "ips": [{"interface": 0, "address": "10.1.0.5/24"}],
}


def refusing(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """``open`` of the namespace fails so."""
    opens = os.open

    def refuse(path: Any, *rest: Any, **more: Any) -> int:
        if path == NETNS:
            raise OSError(number, os.strerror(number), path)
        return opens(path, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)


def planned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The deeds that come to the executor, which does none of them."""
    deeds: list[str] = []
    for deed in ("make", "compare", "remove"):
        monkeypatch.setattr(plan, deed, lambda *_, deed=deed: deeds.append(deed))
    return deeds


def called(verb: str, kind: str) -> Any:
    found = SUBJECTS[kind]
    keys = {key: value for key, value in found.keys.items() if key not in found.delegated} | found.working
    conf = {"cniVersion": "1.0.0", "name": "net1", "type": kind, **keys, "prevResult": PREVIOUS}
    conf = {key: value for key, value in conf.items() if value is not None}
    return serve(plugin(kind), verb, conf, netns=NETNS)


@pytest.mark.parametrize("number", NOT_NOW)
@pytest.mark.parametrize("verb", ["ADD", "DEL"])
@pytest.mark.parametrize("kind", SUBJECTS)
def test_one_that_cannot_be_opened_now_is_an_error(
    monkeypatch: pytest.MonkeyPatch, kind: str, verb: str, number: int
) -> None:
    refusing(monkeypatch, number)
    deeds = planned(monkeypatch)
    error = called(verb, kind).error
    assert (error["code"], deeds) == (8, [])
    assert error["msg"] == f"failed to open netns \"{NETNS}\": [Errno {number}] {os.strerror(number)}: '{NETNS}'"


@pytest.mark.parametrize("number", [errno.ENOENT, *NEVER])
@pytest.mark.parametrize("kind", SUBJECTS)
def test_one_that_cannot_be_is_gone_for_del(monkeypatch: pytest.MonkeyPatch, kind: str, number: int) -> None:
    """What is on the node is removed."""
    refusing(monkeypatch, number)
    deeds = planned(monkeypatch)
    assert called("DEL", kind).ok
    assert deeds == ["remove"]


def test_what_a_path_leads_to(tmp_path: Path) -> None:
    """By the kernel's own answers: nothing there; no namespace; and one that may be there."""
    file, pipe, circle = (tmp_path / name for name in ("file", "pipe", "circle"))
    file.touch()
    os.mkfifo(pipe)
    circle.symlink_to(circle)
    with pytest.raises(NetnsGone):
        Namespace(f"{tmp_path}/nothing")
    none = (file, tmp_path, pipe, circle, file / "below", "a\0b", tmp_path / ("x" * 300), "/proc/self/ns/uts")
    for path in none:
        with pytest.raises(NoNetns):
            Namespace(str(path))
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(InvalidNetns) as refused:
            Namespace("/proc/self/ns/net")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert type(refused.value) is InvalidNetns and "Too many open files" in refused.value.msg
