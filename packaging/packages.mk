# Debian packages, and what they are tested with. Read by the Makefile.

CARGO_DEB_VERSION := 3.8.0
CARGO_ABOUT_VERSION := 0.9.3
DEB_TOOLS := packaging/.tools
STAGE := target/package
BASE := $(STAGE)/bookworm.tar

VERSION := $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' Cargo.toml | head -n 1)
ARCH ?= $(shell dpkg --print-architecture)
RUST_TARGET := $(if $(filter arm64,$(ARCH)),aarch64,x86_64)-unknown-linux-gnu
DEB := target/debian/edge-ger_$(VERSION)-1_$(ARCH).deb

.PHONY: deb test-package test-container

deb: setup $(DEB_TOOLS)/bin/cargo-deb $(STAGE)/crates.txt.gz ## the Debian package of this machine's architecture
	@$(call install,dpkg-dev lintian)
	cargo build --release --locked
	rm -rf $(STAGE)/pages && cargo run -q --locked --example pages -- $(STAGE)/pages
	packaging/stage.sh $(VERSION)-1 $(ARCH) $(ORT_VERSION) $(STAGE)
	$(DEB_TOOLS)/bin/cargo-deb --no-build --dbgsym --output $(DEB)
	lintian --fail-on error,warning $(DEB)
	@dpkg-deb --info $(DEB); ls -l $(DEB)

test-package: $(BASE) ## as root: install, run, upgrade, remove and purge the package on a bare Debian 12, in a chroot
	@$(call install,mosquitto mosquitto-clients)
	$(AS_ROOT) packaging/test.sh $(BASE) $(DEB)

test-container: $(BASE) ## as root: build the container's image with buildah and run it until a reading arrives
	@$(call install,buildah mosquitto mosquitto-clients)
	$(AS_ROOT) packaging/test-container.sh $(BASE) $(DEB)

# A bare Debian 12, from where this machine's apt takes its own packages.
$(BASE):
	@$(call install,mmdebstrap)
	mkdir -p $(STAGE)
	apt-get indextargets --format 'deb $$(REPO_URI) $$(RELEASE) $$(COMPONENT)' 'Created-By: Packages' \
		| grep bookworm > $(STAGE)/sources || true
	$(AS_ROOT) mmdebstrap --variant=minbase --include=systemd,systemd-sysv,udev bookworm $@ \
		$$(test -s $(STAGE)/sources && echo $(STAGE)/sources)

# The licences of what is linked in; it takes minutes.
$(STAGE)/crates.txt.gz: Cargo.lock packaging/about.toml packaging/about.hbs | $(DEB_TOOLS)/bin/cargo-about
	mkdir -p $(STAGE)
	cargo fetch --locked
	$| generate --offline --locked --fail -c packaging/about.toml -o $(STAGE)/crates.txt packaging/about.hbs
	gzip -9nf $(STAGE)/crates.txt

$(DEB_TOOLS)/bin/cargo-deb:
	cargo install --locked --root $(DEB_TOOLS) --version $(CARGO_DEB_VERSION) cargo-deb

$(DEB_TOOLS)/bin/cargo-about:
	cargo install --locked --root $(DEB_TOOLS) --version $(CARGO_ABOUT_VERSION) --features cli cargo-about
