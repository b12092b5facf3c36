#!/usr/bin/env bash
# cross-arm64.sh SYSROOT COMMAND…: runs cargo so that it builds for arm64 on amd64, with Debian's cross-compiler and the
# arm64 libraries that lie in SYSROOT.
set -euo pipefail
sysroot=$(realpath "$1")
shift
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
export CFLAGS_aarch64_unknown_linux_gnu=--sysroot=$sysroot
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C link-arg=--sysroot=$sysroot"
export PKG_CONFIG_ALLOW_CROSS=1 PKG_CONFIG_SYSROOT_DIR=$sysroot
export PKG_CONFIG_LIBDIR=$sysroot/usr/lib/aarch64-linux-gnu/pkgconfig:$sysroot/usr/share/pkgconfig
exec "$@"
