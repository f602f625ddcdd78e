#!/usr/bin/env python3
"""Make dist/release/ from dist/: ``build/release.py ARCHITECTURE…``.

It has the native file of each architecture, the single files as one archive, a bill of materials (CycloneDX), and the
SHA-256 of each. The same dist/ and the same packages give the same bytes.
"""

import gzip
import hashlib
import io
import json
import platform
import subprocess
import sys
import tarfile
from importlib.metadata import distribution
from typing import Any

import dist
import nativefile
from roots import ROOT, plugins

Object = dict[str, Any]
COMPILER = "gcc"


def version() -> str:
    """The version of pycni."""
    sys.path.insert(0, str(ROOT / "common"))
    from cni.versions import RELEASE

    return RELEASE


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def single_files() -> bytes:
    """The single files in a compressed archive, to be unpacked in the folder of the plugins."""
    out = io.BytesIO()
    with gzip.GzipFile("", "wb", 9, out, mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as whole:
        for name in sorted([*plugins(), *dist.PROGRAMS]):
            data = (ROOT / "dist" / name).read_bytes()
            entry = tarfile.TarInfo(f"./{name}")
            entry.size, entry.mode = len(data), 0o755
            whole.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def installed(*packages: str) -> dict[str, str]:
    """The versions of Debian packages of this machine."""
    command = ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *packages]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return dict(line.split(" ", 1) for line in printed.splitlines())


def linked_packages(architecture: str) -> dict[str, str]:
    """The Debian packages whose code is in a native file, with their versions."""
    python = f"lib{nativefile.VERSION}"
    of_compiler = f"libgcc-{compiler_version(architecture)}-dev"
    if architecture == nativefile.own_architecture():
        return installed(f"{python}-dev", f"{python}-stdlib", "libc6-dev", "zlib1g-dev", of_compiler)
    lines = (ROOT / f".venv/{architecture}/versions").read_text().splitlines()
    found = dict(line.split(" ", 1) for line in lines)
    found.pop("linux-libc-dev")
    return found | installed(f"{python}-stdlib", f"{of_compiler}-{architecture}-cross")


def compiler_version(architecture: str) -> str:
    """The major version of the compiler."""
    command = [f"{nativefile.python_for(architecture).tools}{COMPILER}", "-dumpversion"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.partition(".")[0].strip()


def of_debian(name: str, number: str, architecture: str) -> Object:
    """A component that is a Debian package."""
    release = platform.freedesktop_os_release().get("VERSION_ID", "sid")
    number_in_url = number.replace(":", "%3A").replace("+", "%2B")
    purl = f"pkg:deb/debian/{name}@{number_in_url}?arch={architecture}&distro=debian-{release}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": number, "purl": purl}


def of_index(name: str) -> Object:
    """A component that is a Python package."""
    found = distribution(name)
    purl = f"pkg:pypi/{name}@{found.version}"
    lines = (found.read_text("METADATA") or "").splitlines()
    licence = next((line.partition(": ")[2] for line in lines if line.startswith("License")), "unknown")
    return {
        "type": "library", "bom-ref": purl, "name": name, "version": found.version, "purl": purl,
        "licenses": [{"license": {"name": licence}}],
    }  # fmt: skip


def of_file(name: str, data: bytes) -> Object:
    """A component that is one of our files."""
    return {
        "type": "application", "bom-ref": name, "name": name, "version": version(),
        "licenses": [{"license": {"id": "Apache-2.0"}}], "hashes": [{"alg": "SHA-256", "content": digest(data)}],
    }  # fmt: skip


def materials(files: dict[str, bytes], architectures: dict[str, str], build: str) -> bytes:
    """The bill of materials. ``architectures``: those of the native files, by name."""
    libraries = [of_index(name) for name in ("netaddr", "pyroute2")]
    components = {each["bom-ref"]: each for each in libraries}
    dependencies = []
    for name, data in files.items():
        uses = list(libraries)
        if name in architectures:
            packages = linked_packages(architectures[name])
            uses += [of_debian(package, number, architectures[name]) for package, number in sorted(packages.items())]
        components |= {each["bom-ref"]: each for each in (*uses, of_file(name, data))}
        dependencies.append({"ref": name, "dependsOn": sorted(each["bom-ref"] for each in uses)})
    main = {"type": "application", "bom-ref": "pycni", "name": "pycni", "version": version()}
    document = {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {"component": {**main, "properties": [{"name": "pycni-build", "value": build}]}},
        "components": [components[ref] for ref in sorted(components)],
        "dependencies": [{"ref": "pycni", "dependsOn": sorted(files)}, *dependencies],
    }  # fmt: skip
    return json.dumps(document, indent=2).encode() + b"\n"


def main(architectures: list[str]) -> None:
    """Write dist/release."""
    names: dict[str, str] = {}
    files = {f"pycni-{version()}-python.tgz": single_files()}
    marks = {(ROOT / "dist/bridge").read_bytes()[-64:]}
    for architecture in architectures:
        own = architecture == nativefile.own_architecture()
        data = (ROOT / ("dist/native" if own else f"dist/native-{architecture}") / "pycni").read_bytes()
        marks.add(data[-64:])
        for licence in nativefile.LICENCES:
            if licence.encode() not in data:
                sys.exit(f"release: the native file lacks {licence}: this system has no /usr/share/doc")
        names[f"pycni-linux-{architecture}"] = architecture
        files[f"pycni-linux-{architecture}"] = data
    if len(marks) != 1:
        sys.exit("release: dist/ has files of several builds: make clean, then make release")
    files[f"pycni-{version()}.cdx.json"] = materials(dict(files), names, marks.pop().decode())
    files["SHA256SUMS"] = "".join(f"{digest(data)}  {name}\n" for name, data in sorted(files.items())).encode()
    folder = ROOT / "dist/release"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o755 if name in names else 0o644)
        print(f"dist/release/{name}: {len(data)} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
