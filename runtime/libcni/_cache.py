"""The cache of attachments, with the Go library's names and JSON: either side removes what the other one made.

One file an attachment, ``<folder>/results/<network>-<container>-<interface>`` (`libcni/api.go`, `cacheAdd`). A file is
written whole or not at all: beside the folder first, then renamed. What cannot be read is an error that names the file.
"""

import binascii
import errno
import os
from dataclasses import dataclass, replace
from typing import Any

from cni import regular
from cni.wire import fold
from libcni import _gojson, _results
from libcni._errors import CacheDamaged, CacheError, ResultError
from libcni._model import NetworkAttachment, RuntimeConf
from libcni._quoting import quote
from libcni._results import Result

DEFAULT_FOLDER = "/var/lib/cni"
KIND = "cniCacheV1"
_RESULTS = "results"
_MOST = 16 << 20
# Why a file cannot be made beside the folder: that is a mount of its own, or what is above is not for writing.
_NOT_BESIDE = (errno.EXDEV, errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True, slots=True)
class Entry:
    """A cache file's content; ``arguments`` is None where it has none."""

    container_id: str
    network: str
    if_name: str
    config: bytes
    netns: str
    arguments: tuple[tuple[str, str], ...] | None
    capability_args: dict[str, Any]
    result: dict[str, Any]


class Cache:
    """The cache folder; ``folder`` empty means: the attachment's ``cache_dir``, else ``/var/lib/cni``."""

    def __init__(self, folder: str = "", sync: bool = False) -> None:
        """``sync`` has each file and its folder on the disk before ADD returns, so that it outlives a power loss."""
        self.folder = folder
        self._sync = sync

    def path(self, network: str, runtime: RuntimeConf) -> str:
        """The file of an attachment; raises ``CacheError`` when a part of its name is empty or has a slash in it.

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

    def add(self, network: str, config: bytes, result: Result | None, runtime: RuntimeConf) -> None:
        """Write an attachment's file over what is there; raises ``CacheError`` or ``OSError``."""
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
        }
        document |= {name: value for name, value in optional.items() if value}
        make_folder(os.path.dirname(path))
        _write(path, _gojson.encode(document, sort=False), self._sync)

    def remove(self, network: str, runtime: RuntimeConf) -> None:
        """Remove an attachment's file; that there is none is success. Raises ``CacheError`` or ``OSError``."""
        path = self.path(network, runtime)
        data = _read(path)
        if data is not None and _is_anothers(data, network, runtime):
            return
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass

    def result(self, network: str, version: str, runtime: RuntimeConf) -> Result | None:
        """The cached result as ``version``; None where there is no file of this attachment, or none that may be read.

        A file of another shape is the result itself, as very old libraries wrote it. Raises ``CacheDamaged``,
        ``CacheError``.
        """
        path = self.path(network, runtime)
        data = _read(path)
        if data is None or _is_anothers(data, network, runtime):
            return None
        document = _v1(data, path)
        legacy = document is None
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
        """The configuration that ADD used, and ``runtime`` with the cached arguments; None where there is no file.

        Raises ``CacheDamaged``, ``CacheError``.
        """
        path = self.path(network, runtime)
        data = _read(path)
        if data is None or _is_anothers(data, network, runtime):
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

    def holds_living(self, network: str, runtime: RuntimeConf) -> bool:
        """Whether the attachment is there, and its namespace too: the one of ``runtime``, or another that still exists.

        One whose namespace is gone is a leftover of a container that died. What cannot be judged, a file that does not
        state a namespace or cannot be read, counts as living: nobody else's network may be taken away.
        """
        try:
            path = self.path(network, runtime)
        except CacheError:
            return False
        data = _read(path)
        if data is None or _is_anothers(data, network, runtime):
            return False
        entry = _attachment(path)
        netns = entry.netns if entry is not None else ""
        return not netns or _same(netns, runtime.netns) or not is_gone(netns)

    def attachments(self, container_id: str = "") -> tuple[list[NetworkAttachment], list[str]]:
        """The attachments of a container (empty: of all), by file name; and the files that are damaged.

        No folder is no attachment; raises ``CacheError`` when the folder cannot be read.
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
            entry = _attachment(path)
            if entry is None:
                damaged.append(path)
            elif entry.if_name and entry.network and container_id in ("", entry.container_id):
                found.append(_told(entry))
        return found, damaged


def is_gone(netns: str) -> bool:
    """Whether a namespace's path leads nowhere. One that may not be looked at, such as /proc/1/ns/net, is not gone."""
    try:
        os.stat(netns)
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError, ValueError):  # the last: a zero byte in a path
        return True
    except OSError:
        return False
    return False


def _same(netns: str, other: str) -> bool:
    if netns == other:
        return True
    try:
        return os.path.realpath(netns) == os.path.realpath(other)
    except (OSError, ValueError):  # a link that may not be read; a zero byte in a path
        return False


def _told(entry: Entry) -> NetworkAttachment:
    return NetworkAttachment(
        container_id=entry.container_id,
        network=entry.network,
        if_name=entry.if_name,
        config=entry.config,
        netns=entry.netns,
        cni_args=entry.arguments or (),
        capability_args=entry.capability_args,
    )


def _attachment(path: str) -> Entry | None:
    try:
        data = _read(path)
        document = None if data is None else _v1(data, path)
        return None if document is None else _entry(document)
    except (CacheError, ValueError):
        return None


def _read(path: str) -> bytes | None:
    try:
        return regular.read(path, _MOST)
    except (OSError, ValueError):
        return None  # as in Go: what cannot be read is not there


def _is_anothers(data: bytes, network: str, runtime: RuntimeConf) -> bool:
    """Whether a file tells that it is of another attachment, which has the same name for its file.

    ``net-a`` + ``b`` and ``net`` + ``a-b`` have: Go's library takes the one's result for the other's.
    """
    try:
        found = _folded(_gojson.decode(data))
    except (_gojson.JSONError, AttributeError):
        return False
    asked = {"networkname": network, "containerid": runtime.container_id, "ifname": runtime.if_name}
    told = {name: found.get(name) or own for name, own in asked.items()}
    return found.get("kind") == KIND and any(isinstance(one, str) and one != asked[name] for name, one in told.items())


def _folded(document: dict[str, Any]) -> dict[str, Any]:
    return {fold(name): value for name, value in document.items() if value is not None}


def _v1(data: bytes, path: str) -> dict[str, Any] | None:
    """The object of a file of this kind; None for a file of another; raises ``CacheDamaged`` when it is broken."""
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
    """What the object holds; raises ``ValueError`` for a wrong type or bad base64."""
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
    except ValueError as error:  # binascii.Error, or a letter that is not ASCII
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
    )


def _pairs(value: Any) -> tuple[tuple[str, str], ...] | None:
    if value is None:
        return None
    well = isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair) for pair in value
    )
    if not well:
        raise ValueError("cniArgs must be a list of pairs of strings")
    return tuple((key, item) for key, item in value)


def _sorted(value: Any) -> Any:
    """Objects with their keys sorted, all the way down: the file's own order is fixed, that of its parts is Go's."""
    return _gojson.decode(_gojson.encode(value)) if value else value


def make_folder(folder: str) -> None:
    """As Go makes it: each missing folder on the way for its owner alone. Raises ``OSError``."""
    missing = []
    while folder and not _exists(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for one in reversed(missing):
        try:
            os.mkdir(one, 0o700)
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
        # not in the folder itself: a reader (Go's) would take a whole temporary file for a second attachment
        _write_through(os.path.dirname(folder), path, data, sync)
    except OSError as error:
        if error.errno not in _NOT_BESIDE:
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
