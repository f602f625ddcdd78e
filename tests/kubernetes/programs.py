#!/usr/bin/python3
"""Kubernetes' programs, built once from Debian's source package into a cache: ``programs.py FOLDER`` fills FOLDER/bin.

Debian 12's source package ``kubernetes`` is whole, vendored libraries included, though only kubectl is built from it.
One file is generated first: ``zz_generated.openapi.go``. It takes about a quarter of an hour on two slow cores, four
minutes on two quick ones, and 3 GB of disk until it is done. Debian's package lists stay as they are: the source's
come from lists of our own in FOLDER.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PROGRAMS = ("kubelet", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl")
GO = Path("/usr/lib/go-1.19/bin")
_LINES = """Types: deb-src
URIs: http://deb.debian.org/{archive}
Suites: {suites}
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
_ROOT = "k8s.io/kubernetes"
# folders with the mark that are parts of no program
_OTHERS = ("code-generator", "sample-apiserver", "sample-controller", "/test/")
_VERSION = {"gitVersion": "v1.20.2", "gitMajor": "1", "gitMinor": "20"}


def run(*command: str, at: Path, **environ: str) -> str:
    """Run a program; its standard output. What it writes to standard error is shown."""
    done = subprocess.run(command, cwd=at, env={**os.environ, **environ}, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def source(folder: Path) -> Path:
    """The source, unpacked and patched, where Go looks for it."""
    parts = folder / "sources"
    for made in (parts, folder / "lists" / "partial"):
        made.mkdir(parents=True, exist_ok=True)
    stanzas = (("debian", "bookworm bookworm-updates"), ("debian-security", "bookworm-security"))
    text = "\n".join(_LINES.format(archive=archive, suites=suites) for archive, suites in stanzas)
    (parts / "source.sources").write_text(text)
    options = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": str(parts),
        "Dir::State::lists": str(folder / "lists"),
        "APT::Sandbox::User": "root",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    run("apt-get", "-q", *words, "update", at=folder)
    run("apt-get", "-q", *words, "source", "--download-only", "kubernetes", at=folder)
    (described,) = folder.glob("kubernetes_*.dsc")
    unpacked = folder / "go" / "src" / _ROOT
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.parent.mkdir(parents=True, exist_ok=True)
    run("dpkg-source", "--no-check", "-x", str(described), str(unpacked), at=folder)
    return unpacked


def marked(tree: Path) -> list[str]:
    """The Go packages whose types belong into the generated file."""
    found = set[str]()
    for base, folders, files in os.walk(tree):
        folders[:] = [each for each in folders if not each.startswith((".", "_"))]
        for file in files:
            at = Path(base, file)
            ours = file.endswith(".go") and not file.endswith("_test.go") and not at.is_symlink()
            if ours and b"+k8s:openapi-gen=" in at.read_bytes():
                found.add(str(at.parent.relative_to(tree)))
    packages = [re.sub("^staging/src/", "vendor/", path) for path in found]
    return sorted(f"{_ROOT}/{path}" for path in packages if not any(other in f"{path}/" for other in _OTHERS))


def build(folder: Path) -> None:
    """Build all programs, unless they are built already."""
    target = folder / "bin"
    if all((target / program).is_file() for program in PROGRAMS):
        return
    tree = source(folder)
    environ = {
        "GOPATH": str(folder / "go"),
        "GO111MODULE": "off",
        "CGO_ENABLED": "0",
        "GOCACHE": str(folder / "cache"),
        "PATH": f"{GO}:{os.environ['PATH']}",
    }
    generator = folder / "openapi-gen"
    run("go", "build", "-o", str(generator), "./vendor/k8s.io/kube-openapi/cmd/openapi-gen", at=tree, **environ)
    words = ["-i", ",".join(marked(tree)), "-p", f"{_ROOT}/pkg/generated/openapi", "-O", "zz_generated.openapi"]
    words += ["-h", "hack/boilerplate/boilerplate.generatego.txt", "-r", os.devnull, "-o", str(folder / "go" / "src")]
    run(str(generator), "--logtostderr", *words, at=tree, **environ)
    versions = " ".join(f"-X k8s.io/component-base/version.{name}={text}" for name, text in _VERSION.items())
    for program in PROGRAMS:
        print(f"building {program}", flush=True)
        made = folder / program
        run("go", "build", "-ldflags", f"-s -w {versions}", "-o", str(made), f"./cmd/{program}", at=tree, **environ)
        target.mkdir(exist_ok=True)
        made.rename(target / program)
    for left in ("go", "cache", "lists", "sources"):
        subprocess.run(["chmod", "-R", "u+w", str(folder / left)], check=True)
        shutil.rmtree(folder / left)
    generator.unlink()


if __name__ == "__main__":
    where = Path(sys.argv[1]).absolute()
    where.mkdir(parents=True, exist_ok=True)
    build(where)
