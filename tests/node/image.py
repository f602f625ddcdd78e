"""A container image of our own making, so that no registry is asked: busybox and its links, in one layer."""

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

APPLETS = ("sh", "sleep", "ip", "ping", "cat", "ls", "true", "false", "nc")


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _layer() -> bytes:
    busybox = shutil.which("busybox")
    assert busybox, "busybox-static is not installed"
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as layer:
        for folder in ("bin", "etc", "proc", "sys", "dev", "tmp", "run"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            layer.addfile(entry)
        _add(layer, "bin/busybox", Path(busybox).read_bytes(), 0o755)
        _add(layer, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
        for applet in APPLETS:
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            layer.addfile(entry)
    return data.getvalue()


def write(path: Path, name: str) -> None:
    """Write the image as a docker archive under ``name``; its entry point sleeps for an hour."""
    layer = _layer()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/bin/sleep", "3600"], "Env": ["PATH=/bin"], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(path, "w") as archive:
        _add(archive, "config.json", config)
        _add(archive, "layer.tar", layer)
        _add(archive, "manifest.json", manifest)
