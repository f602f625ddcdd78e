"""The cache of attachments, with the Go library's file names and JSON, so that either library can remove an attachment.

Each attachment has one file, ``<folder>/results/<network>-<container>-<interface>`` (`libcni/api.go`, `cacheAdd`). A
file is first written in the parent of ``results`` and then renamed, so readers never see half of it.
"""

import binascii
import errno
import os
from dataclasses import dataclass, replace
from typing import Any

from cni import file_content
from cni.wire import fold
from libcni import _gojson, _results
from libcni._errors import CacheDamaged, CacheError, ResultError
from libcni._model import NetworkAttachment, RuntimeConf
from libcni._quoting import quote
from libcni._results import Result

DEFAULT_FOLDER = "/var/lib/cni"
KIND = "cniCacheV1"
# A member of our own, which Go's library ignores: the file was written before ADD, and ADD has not ended.
UNFINISHED = "unfinished"
_RESULTS = "results"
_MAX_SIZE = 16 << 20
# Errors that mean that no file can be written in the parent folder: it is read-only, or another file system.
_CANNOT_WRITE_BESIDE = (errno.EXDEV, errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True, slots=True)
class Entry:
    """The content of a cache file, a field for each of Go's. ``arguments`` is None if the file has none."""

    container_id: str
    network: str
    if_name: str
    config: bytes
    netns: str
    arguments: tuple[tuple[str, str], ...] | None
    capability_args: dict[str, Any]
    result: dict[str, Any]
    unfinished: bool = False


class Cache:
    """The cache folder. If ``folder`` is empty, it is the attachment's ``cache_dir``, or else ``/var/lib/cni``."""

    def __init__(self, folder: str = "", sync: bool = False) -> None:
        """``sync`` writes each file to the disk before ADD returns, so that it survives a power failure."""
        self.folder = folder
        self._sync = sync

    def path(self, network: str, runtime: RuntimeConf) -> str:
        """The file of an attachment. Raises ``CacheError`` if a part of its name is empty or contains a slash.

        (Go follows ``../`` out of the folder here.)
        """
        parts = (network, runtime.container_id, runtime.if_name)
        if not all(parts):
            raise CacheError(
                f"cache file path requires network name ({quote(network)}), container ID "
                f"({quote(runtime.container_id)}), and interface name ({quote(runtime.if_name)})"
            )
        if any("/" in part or "\0" in part for part in parts):
            raise CacheError(f"cache file path must stay in its folder, {quote('-'.join(parts))} does not")
        return os.path.join(self.folder or runtime.cache_dir or DEFAULT_FOLDER, _RESULTS, "-".join(parts))

    def begin(self, network: str, config: bytes, runtime: RuntimeConf) -> None:
        """Write an attachment's file before ADD. Raises ``CacheError`` or ``OSError``."""
        self.add(network, config, None, runtime, unfinished=True)

    def add(
        self, network: str, config: bytes, result: Result | None, runtime: RuntimeConf, unfinished: bool = False
    ) -> None:
        """Write an attachment's file, and replace an existing one. Raises ``CacheError`` or ``OSError``."""
        path = self.path(network, runtime)
        document: dict[str, Any] = {
            "kind": KIND,
            "containerId": runtime.container_id,
            "config": binascii.b2a_base64(config, newline=False).decode() if config else None,
            "ifName": runtime.if_name,
            "networkName": network,
        }
        optional = {
            "netns": runtime.netns,
            "cniArgs": [list(pair) for pair in runtime.args],
            "capabilityArgs": _sorted(dict(runtime.capability_args)),
            "result": {} if result is None else _sorted(result.document()),
            UNFINISHED: unfinished,
        }
        document |= {name: value for name, value in optional.items() if value}
        make_folder(os.path.dirname(path))
        _write(path, _gojson.encode(document, sort=False), self._sync)

    def remove(self, network: str, runtime: RuntimeConf) -> None:
        """Remove an attachment's file, if there is one. Raises ``CacheError`` or ``OSError``."""
        path = self.path(network, runtime)
        data = _read(path)
        if data is not None and _is_of_another_attachment(data, network, runtime):
            return
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass

    def result(self, network: str, version: str, runtime: RuntimeConf) -> Result | None:
        """The cached result, converted to ``version``. None if there is none, or the file cannot be read.

        Very old libraries wrote the result alone into the file; that is read too. Raises ``CacheDamaged`` or
        ``CacheError``.
        """
        path = self.path(network, runtime)
        data = _read(path)
        if data is None or _is_of_another_attachment(data, network, runtime):
            return None
        document = _document(data, path)
        legacy = document is None
        if document is not None and _folded(document).get(UNFINISHED):
            return None
        raw = _legacy(data, path) if document is None else _result_of(document)
        stated = raw.get("cniVersion")
        if stated is not None and not isinstance(stated, str):
            raise CacheDamaged(f"decoding version from network config: cniVersion must be a string ({path})")
        try:
            found = _results.from_document(raw, stated or "0.1.0")
        except ResultError as error:
            raise CacheDamaged(f"{error} ({'legacy ' if legacy else ''}cache file {path})") from None
        try:
            return found.as_version(version)
        except ResultError as error:
            msg = f"failed to convert cached result to config version {quote(version)}: {error} ({path})"
            raise CacheError(msg) from None

    def config(self, network: str, runtime: RuntimeConf) -> tuple[bytes, RuntimeConf] | None:
        """The configuration that ADD used, and ``runtime`` with the arguments that ADD used. None if there is no file.

        Raises ``CacheDamaged`` or ``CacheError``.
        """
        path = self.path(network, runtime)
        data = _read(path)
        if data is None or _is_of_another_attachment(data, network, runtime):
            return None
        try:
            document = _gojson.decode(data)
            if not isinstance(document, dict):
                raise ValueError("it must be an object")
        except ValueError as error:
            raise CacheDamaged(
                f"failed to unmarshal cached network {quote(network)} config: {error} ({path})"
            ) from None
        kind = _folded(document).get("kind")
        if kind != KIND:
            raise CacheDamaged(f"read cached network {quote(network)} config has wrong kind: {kind or ''} ({path})")
        try:
            entry = _entry(document)
        except ValueError as error:
            raise CacheDamaged(
                f"failed to unmarshal cached network {quote(network)} config: {error} ({path})"
            ) from None
        args = runtime.args if entry.arguments is None else entry.arguments
        return entry.config, replace(runtime, args=args, capability_args=entry.capability_args)

    def has_live_attachment(self, network: str, runtime: RuntimeConf) -> bool:
        """Whether the cache has the attachment, and its network namespace exists.

        The namespace is that of ``runtime``, or another path that exists. If it is gone, the attachment is a leftover
        of a container that died. If the file names no namespace or is damaged, the attachment counts as live, because
        nobody may remove the network of a running container.
        """
        try:
            path = self.path(network, runtime)
        except CacheError:
            return False
        data = _read(path)
        if data is None or _is_of_another_attachment(data, network, runtime):
            return False
        entry = _read_entry(path)
        if entry is not None and entry.unfinished:
            return False
        netns = entry.netns if entry is not None else ""
        return not netns or _is_same_namespace(netns, runtime.netns) or not is_gone(netns)

    def attachments(self, container_id: str = "") -> tuple[list[NetworkAttachment], list[str]]:
        """The attachments of a container, or of all if the id is empty, sorted by file name; and the damaged files.

        Raises ``CacheError`` if the folder exists and cannot be read.
        """
        folder = os.path.join(self.folder or DEFAULT_FOLDER, _RESULTS)
        try:
            names = sorted(os.listdir(folder))
        except FileNotFoundError:
            return [], []
        except (OSError, ValueError) as error:
            raise CacheError(f"cannot read the cache folder {folder}: {error}") from error
        found, damaged = [], []
        for name in names:
            if name.startswith(".") or (container_id and f"-{container_id}-" not in name):
                continue
            path = os.path.join(folder, name)
            entry = _read_entry(path)
            if entry is None:
                damaged.append(path)
            elif entry.if_name and entry.network and container_id in ("", entry.container_id):
                found.append(_as_attachment(entry))
        return found, damaged


def is_gone(netns: str) -> bool:
    """Whether a namespace's path does not exist. A path without access, such as /proc/1/ns/net, is not gone."""
    try:
        os.stat(netns)
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError, ValueError):  # ValueError: a zero byte in it
        return True
    except OSError:
        return False
    return False


def _is_same_namespace(netns: str, other: str) -> bool:
    if netns == other:
        return True
    try:
        return os.path.realpath(netns) == os.path.realpath(other)
    except (OSError, ValueError):  # no access to a link; a zero byte in the path
        return False


def _as_attachment(entry: Entry) -> NetworkAttachment:
    return NetworkAttachment(
        container_id=entry.container_id,
        network=entry.network,
        if_name=entry.if_name,
        config=entry.config,
        netns=entry.netns,
        cni_args=entry.arguments or (),
        capability_args=entry.capability_args,
    )


def _read_entry(path: str) -> Entry | None:
    try:
        data = _read(path)
        document = None if data is None else _document(data, path)
        return None if document is None else _entry(document)
    except (CacheError, ValueError):
        return None


def _read(path: str) -> bytes | None:
    try:
        return file_content.read(path, _MAX_SIZE)
    except (OSError, ValueError):
        return None  # as in Go: a file that cannot be read counts as missing


def _is_of_another_attachment(data: bytes, network: str, runtime: RuntimeConf) -> bool:
    """Whether the file belongs to another attachment whose file has the same name.

    The network ``net-a`` with container ``b`` and the network ``net`` with container ``a-b`` share a file name. Go's
    library uses the result of one for the other.
    """
    try:
        found = _folded(_gojson.decode(data))
    except (_gojson.JSONError, AttributeError):
        return False
    own = {"networkname": network, "containerid": runtime.container_id, "ifname": runtime.if_name}
    stated = {name: found.get(name) or own[name] for name in own}
    return found.get("kind") == KIND and any(
        isinstance(stated[name], str) and stated[name] != own[name] for name in own
    )


def _folded(document: dict[str, Any]) -> dict[str, Any]:
    return {fold(name): value for name, value in document.items() if value is not None}


def _document(data: bytes, path: str) -> dict[str, Any] | None:
    """The object in a cache file, or None if the file is of another kind. Raises ``CacheDamaged``."""
    try:
        document = _gojson.decode(data)
    except _gojson.JSONError:
        return None
    if not isinstance(document, dict) or _folded(document).get("kind") != KIND:
        return None
    try:
        _entry(document)
    except ValueError as error:
        raise CacheDamaged(f"cache file {path} is damaged: {error}") from None
    return document


def _legacy(data: bytes, path: str) -> dict[str, Any]:
    try:
        document = _gojson.decode(data)
    except _gojson.JSONError as error:
        raise CacheDamaged(f"decoding version from network config: {error} (cache file {path})") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise CacheDamaged(f"decoding version from network config: it must be an object (cache file {path})")
    return document


def _result_of(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = _folded(document).get("result", {})
    return found


def _entry(document: dict[str, Any]) -> Entry:
    """Read the object of a cache file. Raises ``ValueError`` for a wrong type or bad base64."""
    found = _folded(document)

    def text(name: str) -> str:
        value = found.get(name, "")
        if not isinstance(value, str):
            raise ValueError(f"{name} must be a string")
        return value

    def members(name: str) -> dict[str, Any]:
        value = found.get(name, {})
        if not isinstance(value, dict):
            raise ValueError(f"{name} must be an object")
        return value

    try:
        config = binascii.a2b_base64(text("config"), strict_mode=True)
    except ValueError as error:  # binascii.Error, or a character that is not ASCII
        raise ValueError(f"config is no base64: {error}") from None
    return Entry(
        container_id=text("containerid"),
        network=text("networkname"),
        if_name=text("ifname"),
        config=config,
        netns=text("netns"),
        arguments=_pairs(found.get("cniargs")),
        capability_args=members("capabilityargs"),
        result=members("result"),
        unfinished=bool(found.get(UNFINISHED)),
    )


def _pairs(value: Any) -> tuple[tuple[str, str], ...] | None:
    if value is None:
        return None
    valid = isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair) for pair in value
    )
    if not valid:
        raise ValueError("cniArgs must be a list of pairs of strings")
    return tuple((key, item) for key, item in value)


def _sorted(value: Any) -> Any:
    """The value with the keys of all its objects sorted, as Go writes them. (The file's own keys have a fixed order.)"""
    return _gojson.decode(_gojson.encode(value)) if value else value


def make_folder(folder: str) -> None:
    """Make a folder and its missing parents, with mode 0700 as Go does. Raises ``OSError``."""
    missing = []
    while folder and not _exists(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for path in reversed(missing):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass


def _exists(path: str) -> bool:
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    return True


def _write(path: str, data: bytes, sync: bool) -> None:
    folder = os.path.dirname(path)
    try:
        # Not in the folder itself: Go's library would read the temporary file as a second attachment.
        _write_through(os.path.dirname(folder), path, data, sync)
    except OSError as error:
        if error.errno not in _CANNOT_WRITE_BESIDE:
            raise
        _write_through(folder, path, data, sync)
    if sync:
        _sync_folder(folder)


def _write_through(folder: str, path: str, data: bytes, sync: bool) -> None:
    temporary = os.path.join(folder, f".result-{os.urandom(8).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            _write_all(descriptor, data)
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
