# Debian packages and their tests. The Makefile includes this file.

CARGO_DEB_VERSION := 3.8.0
CARGO_ABOUT_VERSION := 0.9.3
DEB_TOOLS := packaging/.tools
STAGE := target/package

VERSION := $(shell sed -n 's/^version = "\(.*\)"$$/\1/p' Cargo.toml | head -n 1)
THIS_ARCH := $(shell dpkg --print-architecture)
ARCH ?= $(THIS_ARCH)
DEB := target/debian/edge-ger_$(VERSION)-1_$(ARCH).deb
BASE := $(STAGE)/bookworm-$(ARCH).tar
MACHINE := $(STAGE)/machine-$(ARCH).tar

# A package for another architecture is linked against that architecture's libraries in a folder; none of its programs
# runs here.
ifneq ($(ARCH),$(THIS_ARCH))
CPU := $(if $(filter arm64,$(ARCH)),aarch64,x86_64)
TARGET := $(CPU)-unknown-linux-gnu
SYSROOT := $(CURDIR)/$(STAGE)/sysroot-$(ARCH)
CROSS := $(SYSROOT).ready
CROSS_BUILD := --target $(TARGET) --config 'target.$(TARGET).linker="$(CPU)-linux-gnu-gcc"' \
	--config 'target.$(TARGET).rustflags=["-Clink-arg=--sysroot=$(SYSROOT)"]'
CROSS_DEB := --target $(TARGET)
export PKG_CONFIG_SYSROOT_DIR_$(subst -,_,$(TARGET)) := $(SYSROOT)
export PKG_CONFIG_LIBDIR_$(subst -,_,$(TARGET)) := $(SYSROOT)/usr/lib/$(CPU)-linux-gnu/pkgconfig:$(SYSROOT)/usr/share/pkgconfig
CROSS_TOOLS := SYSROOT=$(SYSROOT) PATH=$(CURDIR)/packaging/cross:$$PATH
endif

# Do not keep a target whose recipe failed.
.DELETE_ON_ERROR:

.PHONY: deb test-package test-container test-machine

deb: setup $(DEB_TOOLS)/bin/cargo-deb $(STAGE)/crates.txt.gz $(CROSS) ## build the Debian package (ARCH=arm64: for that architecture)
	@$(call install,dpkg-dev lintian)
	cargo build --release --locked $(CROSS_BUILD)
	rm -rf $(STAGE)/pages && cargo run -q --locked --example pages -- $(STAGE)/pages
	packaging/stage.sh $(VERSION)-1 $(ARCH) $(ORT_VERSION) $(STAGE)
	$(CROSS_TOOLS) $(DEB_TOOLS)/bin/cargo-deb --no-build $(CROSS_DEB) --dbgsym --output $(DEB)
	packaging/check.sh $(DEB) $(ARCH)
	lintian --fail-on error,warning $(DEB)
	@dpkg-deb --info $(DEB); ls -l $(DEB)

$(CROSS):
	@$(call install,mmdebstrap dpkg-dev gcc-$(subst _,-,$(CPU))-linux-gnu)
	test -d "$$(rustc --print target-libdir --target $(TARGET))" || rustup target add $(TARGET)
	$(AS_ROOT) rm -rf $(SYSROOT)
	$(call debian,extract,$(filter lib%-dev,$(RUN_PACKAGES)) libc6-dev libstdc++6,$(SYSROOT),--extract-hook=packaging/sysroot.sh)
	touch $@

test-package: $(BASE) ## as root: install, run, upgrade, remove and purge the package on a bare Debian 12, in a chroot
	@$(call install,mosquitto mosquitto-clients)
	$(AS_ROOT) packaging/test.sh $(BASE) $(DEB)

test-container: $(BASE) ## as root: build the container's image with buildah and run it until a reading arrives
	@$(call install,buildah mosquitto mosquitto-clients)
	$(AS_ROOT) packaging/test-container.sh $(BASE) $(DEB)

test-machine: $(MACHINE) ## as root: the same, and more, on a Debian 12 in a virtual machine, with its systemd
	@$(call install,ffmpeg e2fsprogs qemu-system-$(if $(filter arm64,$(ARCH)),arm,x86))
	$(AS_ROOT) packaging/test-machine.sh $(MACHINE) $(DEB)

$(BASE):
	$(call emulation)
	$(call debian,minbase,systemd systemd-sysv udev,$@)

# Contains a kernel, a broker, and the packages of the test camera; and the dependencies of the package, because the
# virtual machine has no network.
MACHINE_PACKAGES = systemd-sysv udev procps linux-image-$(ARCH) initramfs-tools mosquitto mosquitto-clients python3-gi \
	gir1.2-gst-rtsp-server-1.0 $(shell dpkg-deb -f $(DEB) Depends | tr ',' '\n' | awk '{print $$1}')
$(MACHINE):
	$(call emulation)
	$(call debian,minbase,$(MACHINE_PACKAGES),$@,--essential-hook=packaging/initrd.sh)

# Makes a Debian 12 from the package sources of this machine's apt. Arguments: mmdebstrap's variant, packages, output,
# options.
define debian
@$(call install,mmdebstrap)
mkdir -p $(STAGE)
apt-get indextargets --format 'deb $$(REPO_URI) $$(RELEASE) $$(COMPONENT)' 'Created-By: Packages' \
	| grep bookworm | sort -u > $(STAGE)/sources || true
$(AS_ROOT) mmdebstrap --architectures=$(ARCH) --variant=$(1) --include="$(2)" $(4) bookworm $(3) \
	$$(test -s $(STAGE)/sources && echo $(STAGE)/sources)
endef

# Packages of another architecture run their own programs when they are installed.
define emulation
$(if $(CROSS),@$(call install,qemu-user-static arch-test)
$(AS_ROOT) packaging/emulate.sh $(ARCH))
endef

# The licences of the linked crates; this takes minutes.
$(STAGE)/crates.txt.gz: Cargo.lock packaging/about.toml packaging/about.hbs | $(DEB_TOOLS)/bin/cargo-about
	mkdir -p $(STAGE)
	cargo fetch --locked
	$| generate --offline --locked --fail -c packaging/about.toml -o $(STAGE)/crates.txt packaging/about.hbs
	gzip -9nf $(STAGE)/crates.txt

$(DEB_TOOLS)/bin/cargo-deb:
	cargo install --locked --root $(DEB_TOOLS) --version $(CARGO_DEB_VERSION) cargo-deb

$(DEB_TOOLS)/bin/cargo-about:
	cargo install --locked --root $(DEB_TOOLS) --version $(CARGO_ABOUT_VERSION) --features cli cargo-about
