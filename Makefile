# `make help` lists the targets.
PYTHON ?= /usr/bin/python3
CNI_BIN_DIR ?= /opt/cni/bin
CNI_CONF_DIR ?= /etc/cni/net.d
# /etc/systemd/system, to install the units of the fork server, of the DHCP daemon, and of gc for podman
UNIT_DIR ?=
DESTDIR ?=

BUILD := .venv/build
TESTS := .venv/test
SOURCES := $(shell find common plugins runtime build tools -name '*.py' -not -path '*/__pycache__/*' -not -path 'build/lib/*')
# Each package with a program of it, which shows whether the package is installed.
BUILD_PACKAGES = python3-venv=$(shell $(PYTHON) -c 'import os; print(os.path.dirname(os.__file__))')/ensurepip/__init__.py
DEMO_PACKAGES := iproute2=ip iputils-ping=ping nftables=nft util-linux=nsenter
TEST_PACKAGES := $(DEMO_PACKAGES) containerd runc containernetworking-plugins=/usr/lib/cni/bridge iptables conntrack \
	busybox-static=busybox strace procps=ps podman systemd=systemd-analyze kmod=modprobe firewalld dbus=dbus-daemon \
	dnsmasq-base=dnsmasq kea-dhcp4-server=kea-dhcp4 kea-dhcp6-server=kea-dhcp6
# What the native file is linked from
NATIVE_PACKAGES = gcc binutils=nm libc6-dev=/usr/include/stdio.h zlib1g-dev=/usr/include/zlib.h \
	libpython3-dev=$(shell $(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h
KUBERNETES_PACKAGES := $(TEST_PACKAGES) golang-1.19-go=/usr/lib/go-1.19/bin/go dpkg-dev=dpkg-source etcd-server=etcd openssl \
	docker.io=dockerd ipset ebtables socat
# Kubernetes' own programs, built once
KUBERNETES ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/pycni/kubernetes
BENCH_PACKAGES := $(DEMO_PACKAGES) containernetworking-plugins=/usr/lib/cni/bridge iptables netavark=/usr/lib/podman/netavark

# The tests run in as many processes as there are processors, up to four, and in one more where the kernel makes them wait.
# `make test T=...` has one process.
PROCESSES := $(shell n=$$(nproc); [ $$n -lt 4 ] || n=4; echo $$n)
WORKERS = -n $(PROCESSES) --dist=loadgroup
WAITING = -n $(shell expr $(PROCESSES) + 1) --dist=loadgroup

.PHONY: help venv dist dist-native release install install-native uninstall demo demo-podman docs pages plugin test test-unit test-real test-files test-native test-guest test-trixie test-trixie-part test-sid on-release test-kubernetes kubernetes-table lint bench bench-readme bench-dhcp bench-podman bench-trixie bench-imports clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

$(BUILD)/done: build/requirements.txt
	@$(PYTHON) build/system-packages $(BUILD_PACKAGES)
	@$(PYTHON) -m venv --clear $(BUILD)
	@$(BUILD)/bin/pip -q install --disable-pip-version-check --require-hashes -r build/requirements.txt
	@touch $@

$(TESTS)/done: pyproject.toml setup.py
	@$(PYTHON) build/system-packages $(BUILD_PACKAGES)
	@$(PYTHON) -m venv --clear $(TESTS)
	@$(TESTS)/bin/pip -q install --disable-pip-version-check -e '.[test]'
	@touch $@

venv: $(TESTS)/done ## make .venv/test, with the packages that the tests need

dist/.done: $(BUILD)/done $(SOURCES)
	@$(BUILD)/bin/python build/dist.py
	@touch $@

dist: dist/.done ## build the single files

dist/native/.done: $(BUILD)/done $(SOURCES) $(wildcard build/native/*)
	@$(PYTHON) build/system-packages $(NATIVE_PACKAGES)
	@$(BUILD)/bin/python build/nativefile.py
	@touch $@

# Another architecture, cross-compiled
FOREIGN := $(if $(filter aarch64,$(shell uname -m)),amd64,arm64)
FOREIGN_PACKAGES := $(if $(filter arm64,$(FOREIGN)),gcc-aarch64-linux-gnu=aarch64-linux-gnu-gcc,gcc-x86-64-linux-gnu=x86_64-linux-gnu-gcc) \
	qemu-user-static=$(if $(filter arm64,$(FOREIGN)),qemu-aarch64-static,qemu-x86_64-static)
.venv/$(FOREIGN)/versions: build/foreign.py
	@$(PYTHON) build/foreign.py $(FOREIGN) .venv/$(FOREIGN)

dist/native-$(FOREIGN)/.done: dist/native/.done .venv/$(FOREIGN)/versions
	@$(PYTHON) build/system-packages $(FOREIGN_PACKAGES)
	@$(BUILD)/bin/python build/nativefile.py $(FOREIGN)
	@touch $@

dist-native: dist/native/.done ## build dist/native/pycni, one file with all plugins and with Python

release: dist/.done dist/native/.done dist/native-$(FOREIGN)/.done ## make dist/release: both kinds of files, sums, a bill of materials
	@$(BUILD)/bin/python build/release.py amd64 arm64

install: dist/.done ## install the single files to CNI_BIN_DIR (/opt/cni/bin); existing configuration does not change
	@$(PYTHON) -E -s -S build/install.py install dist '$(DESTDIR)$(CNI_BIN_DIR)' '$(DESTDIR)$(CNI_CONF_DIR)' \
		$(if $(UNIT_DIR),'$(DESTDIR)$(UNIT_DIR)' '$(CNI_BIN_DIR)')

install-native: dist/native/.done ## install dist/native/pycni, with a link for each plugin, to CNI_BIN_DIR
	@dist/native/pycni install --netavark '$(DESTDIR)$(CNI_BIN_DIR)'
	@$(if $(UNIT_DIR),$(PYTHON) -E -s -S build/install.py units dist '$(DESTDIR)$(CNI_BIN_DIR)' '$(DESTDIR)$(CNI_CONF_DIR)' \
		'$(DESTDIR)$(UNIT_DIR)' '$(CNI_BIN_DIR)')

uninstall: ## remove the installed files
	@$(PYTHON) -E -s -S build/install.py uninstall dist '$(DESTDIR)$(CNI_BIN_DIR)' '$(DESTDIR)$(CNI_CONF_DIR)' \
		$(if $(UNIT_DIR),'$(DESTDIR)$(UNIT_DIR)' '$(CNI_BIN_DIR)')

demo: dist/.done ## two scenes with pods on a simulated node; everything is removed
	@$(PYTHON) build/system-packages $(DEMO_PACKAGES)
	@$(PYTHON) deploy/demo

# podman 5, of this machine or of Debian 13's root.
WITH_PODMAN_5 = $(if $(filter-out 1 2 3 4,$(shell podman --version 2>/dev/null | sed -E 's/.* ([0-9]+)\..*/\1/')),,tests/debian/run trixie)
NATIVE_IN_ROOT = mkdir -p .venv/roots/trixie/dist && rm -rf .venv/roots/trixie/dist/native && cp -al dist/native .venv/roots/trixie/dist/
DIST_IN_ROOT = $(PYTHON) build/system-packages debootstrap && $(PYTHON) tests/debian/wheels.py trixie $(TESTS)/bin/pip && \
	tests/debian/run trixie make -s dist >/dev/null

demo-podman: $(TESTS)/done dist/.done ## two containers of podman 5 on a CNI configuration list; everything is removed
	@$(if $(WITH_PODMAN_5),$(DIST_IN_ROOT))
	@$(WITH_PODMAN_5) /usr/bin/python3 deploy/demo-podman

plugin: $(TESTS)/done ## NAME=x: begin a new plugin x (docs/new-plugin.md)
	@$(TESTS)/bin/python build/newplugin.py '$(NAME)'
	@$(TESTS)/bin/pip -q install --disable-pip-version-check --no-deps --no-build-isolation -e .

lint: $(TESTS)/done ## run ruff and mypy
	@$(TESTS)/bin/ruff check .
	@$(TESTS)/bin/ruff format --check .
	@$(TESTS)/bin/mypy

docs: $(TESTS)/done ## build the pages as a site in .site; a warning is an error
	@$(TESTS)/bin/mkdocs build --strict

pages: $(TESTS)/done ## update the parts of the pages that are made from the code
	@$(TESTS)/bin/python build/pages.py

ifdef T
test: $(TESTS)/done dist/.done
	@$(TESTS)/bin/python -m pytest $(T)
else
test: $(TESTS)/done dist/.done lint ## run the tests, but for those of Kubernetes and sid; T=…: one test
	@$(PYTHON) build/system-packages $(TEST_PACKAGES)
	@$(MAKE) --no-print-directory test-unit
	@$(MAKE) --no-print-directory test-real
	@$(MAKE) --no-print-directory test-guest
	@$(MAKE) --no-print-directory test-trixie-part
endif

# Root runs these tests as nobody, in a new user namespace, so a test that needs root fails.
test-unit: $(TESTS)/done ## run the tests that need neither root nor dist/ nor a daemon; half a minute
	@$(if $(filter 0,$(shell id -u)),unshare --user --map-user=65534 --map-group=65534) $(TESTS)/bin/python -m pytest -m unit $(or $(T),$(WORKERS) tests/unit tests/runtime tests/contract)

test-real: dist/native/.done test-files ## run the tests that need root, dist/ or a daemon, but not those of the virtual machine
	@PYCNI_DIST=dist/native $(TESTS)/bin/python -m pytest $(WAITING) -m 'not unit' tests/forkserver/test_same_answers.py

test-files: $(TESTS)/done dist/.done ## run these with the single files alone; FILES=…: a part
	@$(TESTS)/bin/python -m pytest $(WAITING) -m 'not unit and not kubernetes' $(FILES)

test-native: $(TESTS)/done release ## run the tests of the plugins and of the fork server with the native file
	@$(PYTHON) build/system-packages $(TEST_PACKAGES)
	@PYCNI_DIST=dist/native $(TESTS)/bin/python -m pytest $(WAITING) -m 'not unit and not kubernetes' \
		$(or $(T),tests/native tests/contract tests/forkserver tests/runtime tests/real)

# tests/contract has tests of plugins whose kinds of links this kernel may lack.
GUEST_TESTS := tests/guest $(addprefix tests/contract/test_,subjects.py bad_input.py deaths.py delete.py errors.py gc.py plan.py swap.py)
test-guest: $(TESTS)/done dist/.done ## run the tests that need Debian's own kernel, in a virtual machine
	@mkdir -p reports
	@tests/guest/run -t 900 -o reports $(TESTS)/bin/python -m pytest -m guest $(GUEST_TESTS)

# The same targets in the root of another release, with its Python; the root is made on the first call (tests/debian/run).
# `make test` runs a part, for time: what depends on the Python, containerd, and all of podman 5.
TRIXIE_PART := $(addprefix tests/,$(addprefix build/test_,standalone.py import_budget.py) forkserver/test_seal.py \
	contract/test_frame.py real/test_containerd.py) $(wildcard tests/real/test_netavark*.py)
test-trixie: ## run the tests on Debian 13, with its Python, containerd and iptables; T=FILE: one file
	@$(MAKE) --no-print-directory on-release RELEASE=trixie TARGETS="$(if $(T),test T='$(T)',test-unit test-files)"

test-trixie-part: ## the part of it that `make test` runs, three minutes
	@$(MAKE) --no-print-directory on-release RELEASE=trixie TARGETS="test-files FILES='$(TRIXIE_PART)'"

test-sid: ## run the tests of test-trixie on Debian sid, with containerd 2 and newer plugins of Go; not part of `make test`
	@$(MAKE) --no-print-directory on-release RELEASE=sid TARGETS="$(if $(T),test T='$(T)',test-unit test-files)"

on-release: $(TESTS)/done
	@$(PYTHON) build/system-packages debootstrap
	@$(PYTHON) tests/debian/wheels.py $(RELEASE) $(TESTS)/bin/pip
	@$(TESTS)/bin/python -m pytest -q tests/debian
	@tests/debian/run $(RELEASE) make --no-print-directory $(TARGETS)

test-kubernetes: $(TESTS)/done dist/.done dist/native/.done ## test with Kubernetes on one node, with containerd and dockershim; not part of `make test`
	@$(PYTHON) build/system-packages $(KUBERNETES_PACKAGES)
	@$(PYTHON) tests/kubernetes/programs.py '$(KUBERNETES)'
	@PYCNI_KUBERNETES='$(KUBERNETES)/bin' $(TESTS)/bin/python -m pytest -m kubernetes tests/kubernetes $(T)

kubernetes-table: $(TESTS)/done dist/.done dist/native/.done ## measure the table of docs/kubernetes.md: ours and Go's
	@$(PYTHON) build/system-packages $(KUBERNETES_PACKAGES)
	@$(PYTHON) tests/kubernetes/programs.py '$(KUBERNETES)'
	@PYCNI_KUBERNETES='$(KUBERNETES)/bin' PYTHONPATH=tests $(TESTS)/bin/python -m kubernetes.table

bench: dist/.done dist/native/.done ## compare the speed with Debian's Go plugins and netavark
	@$(PYTHON) build/system-packages $(BENCH_PACKAGES)
	@$(PYTHON) bench/run.py
	@$(if $(WITH_PODMAN_5),,$(PYTHON) bench/podman.py)

bench-trixie: $(TESTS)/done dist/native/.done ## compare whole pods on Debian 13, with its Go plugins and its netavark
	@$(DIST_IN_ROOT)
	@$(NATIVE_IN_ROOT)
	@tests/debian/run trixie /usr/bin/python3 bench/run.py --part chains

bench-podman: $(TESTS)/done dist/.done dist/native/.done ## compare podman's runs with our driver and with netavark's own bridge
	@$(if $(WITH_PODMAN_5),$(DIST_IN_ROOT))
	@$(if $(WITH_PODMAN_5),$(NATIVE_IN_ROOT))
	@$(WITH_PODMAN_5) /usr/bin/python3 bench/podman.py

bench-readme: dist/.done dist/native/.done ## run bench without podman, and write README.md and docs/bench.svg
	@$(PYTHON) build/system-packages $(BENCH_PACKAGES)
	@$(PYTHON) bench/run.py --readme

bench-dhcp: dist/.done ## compare the DHCP daemons, ours and Go's: leases per second, memory per lease
	@$(PYTHON) build/system-packages $(DEMO_PACKAGES) containernetworking-plugins=/usr/lib/cni/dhcp dnsmasq-base=dnsmasq
	@$(PYTHON) bench/dhcp.py

bench-imports: dist/.done ## list the imports of each verb of each plugin, and their cost
	@$(PYTHON) bench/imports.py

clean: ## remove everything that the build made
	@rm -rf dist .site .venv reports .setuptools
