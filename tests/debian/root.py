"""The file system of another Debian release, made once from Debian's packages: ``make`` returns its folder.

It is below ${XDG_CACHE_HOME:-~/.cache}/pycni/roots and named by the release and by a digest of what it is made of, so
that another list of packages makes another one. Nobody writes into it: ``entering`` puts a layer above it.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from debian import mounts

# What the tests use (TEST_PACKAGES of the Makefile), what builds the single files, and podman's own network programs.
PACKAGES = (
    *("python3", "python3-venv", "make", "git", "ca-certificates"),
    *("iproute2", "iputils-ping", "nftables", "util-linux", "iptables", "conntrack", "firewalld", "dbus", "kmod"),
    *("containerd", "runc", "containernetworking-plugins", "podman", "netavark", "aardvark-dns"),
    # a podman without root, and its users' tools
    *("crun", "passt", "uidmap", "podman-compose", "dnsmasq-base"),
    *("kea-dhcp4-server", "kea-dhcp6-server"),
    *("gcc", "binutils", "libc6-dev", "zlib1g-dev", "libpython3-dev"),
    *("busybox-static", "strace", "procps", "systemd", "dbus-daemon"),
)
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# Seconds after which a root of another list of packages is removed.
UNUSED = 7 * 24 * 3600
# A change of how a root is made, other than of its packages.
EDITION = 1
APT = ("apt-get", "-q", "-o", "APT::Sandbox::User=root", "-o", "Dpkg::Options::=--force-unsafe-io")
EXCLUDED = """path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
"""


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pycni/roots"


def folder(release: str) -> Path:
    """Where the root of a release is, or will be."""
    if not re.fullmatch("[a-z]+", release):
        raise SystemExit(f"{release!r} is not the name of a Debian release")
    digest = hashlib.sha256(f"{EDITION} {release} {' '.join(sorted(PACKAGES))}".encode()).hexdigest()
    return _cache() / f"{release}-{digest[:12]}"


def made(release: str) -> bool:
    """Whether the root of a release is there."""
    return (folder(release) / "root").is_dir()


@contextmanager
def in_use(release: str) -> Iterator[Path]:
    """The folder of a release's root, which is made if it is missing, and which nobody removes meanwhile."""
    at = folder(release)
    at.mkdir(parents=True, exist_ok=True)
    with (at / "lock").open("w") as lock:
        if not made(release):
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not made(release):
                _make(release, at)
        fcntl.flock(lock, fcntl.LOCK_SH)
        _remove_older(release, at)
        yield at


def _remove_older(release: str, current: Path) -> None:
    """Remove roots of this release that were made of something else, and that nobody has used for a week."""
    for other in set(_cache().glob(f"{release}-*")) - {current}:
        if time.time() - (other / "lock").stat().st_mtime < UNUSED:
            continue
        with (other / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(other)


def _make(release: str, at: Path) -> None:
    """Make a root in memory, where Debian's many small writes are fast, and copy it."""
    if os.geteuid():
        raise SystemExit("making a root of another Debian needs root")
    print(f"making {at}: Debian {release}, {len(PACKAGES)} packages and what they need", flush=True)
    work, new = at / "work", at / "new"
    shutil.rmtree(new, ignore_errors=True)
    work.mkdir(exist_ok=True)
    child = os.fork()
    if not child:
        status = 1
        try:
            mounts.own_namespace()
            mounts.mount("tmpfs", work, "tmpfs", data="mode=755")
            _fill(release, work / "root")
            _run("cp", "-a", "--one-file-system", str(work / "root"), str(new))
            status = 0
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"making {at} failed: {error}", file=sys.stderr)
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1]:
        raise SystemExit(1)
    new.rename(at / "root")


def _fill(release: str, root: Path) -> None:
    """debootstrap's smallest system, then all packages by the new system's own apt."""
    _run(
        *("debootstrap", "--variant=minbase", "--include=ca-certificates", f"--keyring={KEYRING}", "--force-check-gpg"),
        *(release, str(root), _mirror()),
    )
    (root / "etc/dpkg/dpkg.cfg.d/small").write_text(EXCLUDED)
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost ip6-localhost\n")
    inside = ("chroot", str(root), *APT, *_ages())
    _run(*inside, "update")
    _run(*inside, "install", "-y", "--no-install-recommends", *PACKAGES)
    _run(*inside, "clean")
    shutil.rmtree(root / "var/lib/apt/lists")


def _mirror() -> str:
    """The address from which this machine's apt takes Debian itself."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages", "Origin: Debian"]
    for prepare in ((), ("apt-get", "-q", "update")):
        if prepare:
            _run(*prepare)
        found = subprocess.run([*command, "Label: Debian"], check=True, capture_output=True, text=True).stdout.split()
        if found:
            return found[0]
    raise SystemExit("apt knows no mirror of Debian; its sources are in /etc/apt/sources.list.d")


def _ages() -> list[str]:
    """What this machine's apt says of lists that are old: a mirror that stands still has them."""
    options = []
    for name in ("Acquire::Check-Valid-Until", "Acquire::Check-Date"):
        said = subprocess.run(["apt-config", "shell", "value", name], check=True, capture_output=True, text=True).stdout
        if said:
            options += ["-o", f"{name}={said.strip().removeprefix('value=').strip(chr(39))}"]
    return options


def _proxies() -> Mapping[str, str]:
    """The proxies of this machine's apt, for programs that do not read its configuration."""
    found = {}
    for scheme in ("http", "https"):
        command = ["apt-config", "shell", "proxy", f"Acquire::{scheme}::Proxy"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        if said:
            found[f"{scheme}_proxy"] = said.removeprefix("proxy=").strip("'")
    return found


def _run(*command: str) -> None:
    """Run a command of the preparation; its output is shown only if it fails."""
    path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    environ = {**os.environ, **_proxies(), **path}
    done = subprocess.run(
        command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        sys.stderr.buffer.write(done.stdout)
        raise subprocess.CalledProcessError(done.returncode, command)
