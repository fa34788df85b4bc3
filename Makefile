# `make` alone lists the targets.

PREFIX ?= /usr/local
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
# Tiers to test, all unless named: make test TIERS="wire kernel"
TIERS ?=
# Benches to run, all unless named: make bench BENCHES=ipvs
BENCHES ?=

.PHONY: help build install deb demo test bench fmt lint doc generate clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

build: ## build the binary, target/release/swarmlb
	scripts/setup.sh build
	cargo build --release --locked

install: build ## install the binary, man pages, completions and unit below PREFIX (and DESTDIR)
	install -D -m 755 $(TARGET_DIR)/release/swarmlb $(DESTDIR)$(PREFIX)/bin/swarmlb
	for page in man/*.[1-8]; do \
		install -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/} || exit; \
	done
	install -D -m 644 completions/swarmlb.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/swarmlb
	install -D -m 644 completions/_swarmlb $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_swarmlb
	install -D -m 644 completions/swarmlb.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/swarmlb.fish
	for unit in swarmlb swarmlb-metrics; do \
		sed 's|/usr/bin/|$(PREFIX)/bin/|' packaging/systemd/$$unit.service | \
			install -D -m 644 /dev/stdin $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit.service || exit; \
	done

deb: ## build a Debian package, target/debian/swarmlb_VERSION_ARCHITECTURE.deb (of BINARY, if given)
ifndef BINARY
	$(MAKE) build
endif
	packaging/debian/build.sh $(or $(BINARY),$(TARGET_DIR)/release/swarmlb) $(TARGET_DIR)/debian

demo: ## play examples/01-main-job.sh, in a virtual machine where the kernel has no IPVS
	@scripts/demo.sh

test: ## run every tier of tests (CONTRIBUTING.md), or those named in TIERS
	@scripts/test.sh $(TIERS)

bench: ## measure swarmlb beside its peers, by the benches named in BENCHES or all
	@scripts/bench.sh $(BENCHES)

fmt: ## format the sources
	cargo fmt

lint: ## check the formatting, the sources with clippy, and the scripts' syntax
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	for script in .ci/run scripts/*.sh examples/*.sh packaging/*/*.sh tests/*/*.sh tests/vm/init; do bash -n $$script || exit; done

doc: ## build the documentation of the library
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

generate: ## write man/ anew from the command line's definition
	cargo build --locked
	mkdir -p man
	rm -f man/*.1
	$(TARGET_DIR)/debug/swarmlb man --directory man

clean: ## remove what was built, and the virtual machine's kernel
	cargo clean
	rm -rf .vm
