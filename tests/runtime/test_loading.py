"""Configurations from folders: the order of the Go library, and files that are bad."""

import os
import subprocess
from pathlib import Path

import pytest

from libcni import (
    ConfigError,
    NoConfigsFound,
    NotFound,
    conf_files,
    load_conf,
    load_default_network,
    load_network_conf,
    load_networks,
    network_conf_from_file,
    network_plugin_confs_from_files,
)
from libcni._lastgood import LastGood
from node.deadline import interrupted

from .conftest import network


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    at = tmp_path / "net.d"
    at.mkdir()
    return at


def _list(folder: Path, file: str, name: str, kind: str = "x", extra: str = "") -> None:
    (folder / file).write_text(f'{{"cniVersion":"1.0.0","name":"{name}","plugins":[{{"type":"{kind}"}}]{extra}}}')


def _single(folder: Path, file: str, name: str, kind: str = "x") -> None:
    (folder / file).write_text(f'{{"cniVersion":"1.0.0","name":"{name}","type":"{kind}"}}')


def test_files_by_name_and_suffix(folder: Path) -> None:
    for name in ("b.conf", "a.conf.json", "a.CONF", ".conf", "c.conflist", "noext", "Z.conf"):
        (folder / name).touch()
    (folder / "d.conf").mkdir()
    (folder / "l.conf").symlink_to("b.conf")
    (folder / "m.conf").symlink_to("d.conf")
    names = [os.path.basename(file) for file in conf_files(str(folder), (".conf", ".json"))]
    assert names == [".conf", "Z.conf", "a.conf.json", "b.conf", "l.conf", "m.conf"]
    assert conf_files(str(folder / "none"), (".conf",)) == []


def test_a_list_wins_over_a_single_file_of_the_same_name(folder: Path) -> None:
    _single(folder, "00.conf", "n", "single")
    _list(folder, "99.conflist", "n", "listed")
    assert load_network_conf(str(folder), "n").plugins[0].network.type == "listed"


def test_a_single_file_is_found_beside_lists_of_other_names(folder: Path) -> None:
    _list(folder, "10.conflist", "other")
    _single(folder, "20.json", "n", "single")
    net = load_network_conf(str(folder), "n")
    assert (net.name, net.plugins[0].network.type) == ("n", "single")


def test_of_duplicate_names_the_first_file_wins(folder: Path) -> None:
    _list(folder, "20.conflist", "n", "second")
    _list(folder, "10.conflist", "n", "first")
    assert load_network_conf(str(folder), "n").plugins[0].network.type == "first"


def test_of_several_folders_the_first_wins(folder: Path, tmp_path: Path) -> None:
    late = tmp_path / "late"
    late.mkdir()
    _list(folder, "20.conflist", "n", "first")
    _list(late, "10.conflist", "n", "second")
    _list(late, "11.conflist", "m", "only")
    both = [str(folder), str(late)]
    assert load_network_conf(both, "n").plugins[0].network.type == "first"
    assert load_network_conf(both, "m").plugins[0].network.type == "only"


def test_a_bad_file_before_the_wanted_one_ends_the_search_and_is_named(folder: Path) -> None:
    (folder / "10.conflist").write_text('{"name": "a",\n "plugins": 1}')
    _list(folder, "20.conflist", "n")
    with pytest.raises(ConfigError) as caught:
        load_network_conf(str(folder), "n")
    assert str(caught.value) == (
        "error parsing configuration list: invalid 'plugins' type float64 "
        f'({folder}/10.conflist, line 2, column 13, key "plugins")'
    )


@pytest.mark.parametrize("content", ["", "{", '{"name": "n", "plugi', "[]", '{"name":"n","plugins":[{}]}', None])
def test_a_bad_file_is_skipped_where_that_is_asked(folder: Path, content: str | None) -> None:
    """Without content: an editor's lock file, which is a link to nothing."""
    for suffix in ("conflist", "conf"):
        if content is None:
            (folder / f".#10.{suffix}").symlink_to("root@node.1234:1700000000")
        else:
            (folder / f"10.{suffix}").write_text(content)
    _list(folder, "20.conflist", "listed")
    _single(folder, "20.conf", "single")
    for name in ("listed", "single"):
        with pytest.raises(ConfigError, match=r"10\.conflist"):
            load_network_conf(str(folder), name)
        bad: list[ConfigError] = []
        assert load_network_conf(str(folder), name, skipped=bad.append).name == name
        assert bad and all("10.conf" in str(error) for error in bad)
    single: list[ConfigError] = []
    assert load_conf(str(folder), "single", skipped=single.append).network.name == "single"
    assert len(single) == 1


@pytest.mark.parametrize(
    ("file", "content", "start", "hint"),
    [
        (
            "n.conf",
            '{"name":"n","plugins":[{"type":"x"}]}',
            "error parsing configuration: missing 'type': ",
            ".conflist",
        ),
        (
            "n.json",
            '{"name":"n","plugins":[{"type":"x"}]}',
            "error parsing configuration: missing 'type': ",
            ".conflist",
        ),
        ("n.conflist", '{"name":"n","type":"x"}', "no plugin configs found: ", ".conf"),
        ("n.conflist", '{"type":"x"}', "error parsing configuration list: no name: ", ".conf"),
        (
            "n.conflist",
            '{"name":"n","loadOnlyInlinedPlugins":true,"Type":"x"}',
            "error parsing configuration list: ",
            ".conf",
        ),
    ],
)
def test_a_list_and_a_plugin_in_the_others_file(folder: Path, file: str, content: str, start: str, hint: str) -> None:
    """The text is Go's, and then which suffix the file wants."""
    (folder / file).write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_network_conf(str(folder), "n")
    assert str(caught.value).startswith(start)
    assert f" ends in {hint} ({folder / file}" in str(caught.value)


def test_a_bad_file_after_it_is_not_read(folder: Path) -> None:
    _list(folder, "10.conflist", "n")
    (folder / "20.conflist").write_text("{")
    assert load_network_conf(str(folder), "n").name == "n"


def test_nothing_and_nothing_of_that_name_are_two_errors(folder: Path) -> None:
    with pytest.raises(NoConfigsFound) as none:
        load_network_conf(str(folder), "n")
    assert str(none.value) == f"no net configurations found in {folder}"
    with pytest.raises(NoConfigsFound):
        load_conf(str(folder / "missing"), "n")
    _list(folder, "10.conflist", "other")
    with pytest.raises(NotFound) as missing:
        load_network_conf(str(folder), "n")
    assert str(missing.value) == f'no net configuration with name "n" in {folder}'


def test_plugins_of_the_folder_come_after_the_inlined_ones(folder: Path) -> None:
    _list(folder, "10.conflist", "n", "inlined")
    inner = folder / "n"
    inner.mkdir()
    for number in (2, 1):
        (inner / f"{number}.conf").write_text(f'{{"type":"folder{number}"}}')
    (inner / "3.json").write_text('{"type":"not me"}')
    net = network_conf_from_file(str(folder / "10.conflist"))
    assert [plugin.network.type for plugin in net.plugins] == ["inlined", "folder1", "folder2"]
    assert net.bytes == (folder / "10.conflist").read_bytes()
    (inner / "0.conf").write_text('{"type":}')
    with pytest.raises(ConfigError, match=r"0\.conf, line 1"):
        network_conf_from_file(str(folder / "10.conflist"))
    _list(folder, "10.conflist", "n", "inlined", ',"loadOnlyInlinedPlugins":true')
    assert len(network_conf_from_file(str(folder / "10.conflist")).plugins) == 1


def test_a_list_without_any_plugin(folder: Path) -> None:
    (folder / "10.conflist").write_text('{"name":"n"}')
    with pytest.raises(ConfigError, match="no plugin configs found"):
        network_conf_from_file(str(folder / "10.conflist"))


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b"])
def test_a_name_does_not_lead_out_of_the_folder(folder: Path, name: str) -> None:
    (folder / "a.conf").write_text('{"type":"x"}')
    (folder.parent / "b.conf").write_text('{"type":"x"}')
    assert network_plugin_confs_from_files(str(folder), name) == []


def test_files_that_may_not_be_read(folder: Path) -> None:
    _list(folder, "10.conflist", "n")
    (folder / "10.conflist").chmod(0)
    code = f"import libcni; libcni.load_network_conf({str(folder)!r}, 'n')"
    environ = {**os.environ, "PYTHONPATH": "common:runtime"}
    for parent in (folder, *folder.parents):
        if str(parent).startswith(str(folder.parents[2])):
            parent.chmod(parent.stat().st_mode | 0o055)
    # root may read everything: without its capabilities it may not
    command = [] if os.geteuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    command += ["python3", "-c", code]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert (
        f"ConfigError: error reading {folder}/10.conflist: open {folder}/10.conflist: permission denied" in done.stderr
    )


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        network_conf_from_file("/none/x.conflist")
    assert str(caught.value) == "error reading /none/x.conflist: open /none/x.conflist: no such file or directory"


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("pipe", "not a regular file"),
        ("endless", "not a regular file"),
        ("folder", "is a directory"),
        ("long", "file of more than 16777216 bytes"),
    ],
)
def test_what_is_no_file_or_too_long_is_named_and_not_waited_for(folder: Path, kind: str, said: str) -> None:
    """A link to a file is one."""
    _list(folder, "30.conflist", "n")
    (folder / "20.conflist").symlink_to("30.conflist")
    at = folder / "10.conflist"
    if kind == "pipe":
        os.mkfifo(at)
    elif kind == "long":
        at.write_bytes(b" " * ((16 << 20) + 1))
    else:
        at.symlink_to("/dev/zero" if kind == "endless" else folder)
    with interrupted(10), pytest.raises(ConfigError) as refused:
        load_network_conf(str(folder), "n")
    assert str(refused.value) == f"error reading {at}: open {at}: {said}"
    at.unlink()
    assert load_network_conf(str(folder), "n").name == "n"


def test_all_networks_of_a_folder(folder: Path) -> None:
    """By file name; of two with one name the one that is loaded by this name."""
    assert load_networks(str(folder)) == load_networks("/none") == []
    (folder / "10.conf").write_text('{"cniVersion":"1.0.0","name":"b","type":"single"}')
    (folder / "20.json").write_text('{"cniVersion":"1.0.0","name":"c","type":"single"}')
    _list(folder, "05.conflist", "z")
    _list(folder, "30.conflist", "b", "list")
    more = folder.parent / "more"
    more.mkdir()
    _list(more, "00.conflist", "d")
    _list(more, "01.conflist", "z", "later")
    both = [f"{folder}/", str(more)]
    found = [(net.name, net.plugins[0].network.type) for net in load_networks(both)]
    assert found == [("z", "x"), ("c", "single"), ("b", "list"), ("d", "x")]
    assert load_networks(both) == [load_network_conf(both, name) for name, _ in found]
    (more / "99.conflist").write_text("{")
    with pytest.raises(ConfigError, match=r"99\.conflist"):
        load_networks(both)
    bad: list[ConfigError] = []
    assert len(load_networks(both, skipped=bad.append)) == 4 and len(bad) == 1


def test_the_default_network(folder: Path) -> None:
    """The first file's, as the runtimes take it, or the one of that name; files behind the first are not read."""
    for names in ((), ("a",)):
        with pytest.raises(NoConfigsFound):
            load_default_network(str(folder), *names)
    _list(folder, "20.conflist", "list")
    (folder / "10.conf").write_text('{"cniVersion":"1.0.0","name":"single","type":"x"}')
    (folder / "30.conf").write_text("{")
    assert load_default_network(str(folder)).name == "single"
    assert load_default_network(str(folder), "list").name == "list"
    (folder / "05.conf").write_text("{")
    bad: list[ConfigError] = []
    assert load_default_network(str(folder), skipped=bad.append).name == "single" and len(bad) == 1
    (folder / "05.conf").unlink()
    with pytest.raises(ConfigError):
        load_default_network(str(folder), "none")
    (folder / "30.conf").unlink()
    with pytest.raises(NotFound):
        load_default_network(str(folder), "none")


def test_another_thread_reads_a_file_while_removed_ones_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watcher's load and one of the program's own."""
    good = LastGood()
    for number in range(3):
        good.read(f"/x/{number}.conflist", lambda _: network("one"))
    dirname = os.path.dirname

    def meanwhile(path: str) -> str:
        good.read(f"/y{path}", lambda _: network("one"))
        return dirname(path)

    with monkeypatch.context() as patched:
        patched.setattr(os.path, "dirname", meanwhile)
        good.forget_others(["/x"], ["/x/1.conflist"])
    assert sorted(file for file in good._good if file.startswith("/x")) == ["/x/1.conflist"]
