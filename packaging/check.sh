#!/usr/bin/env bash
# check.sh EDGE-GER.deb ARCHITECTURE: checks that the files of the package are for this architecture, and that the
# package has the expected dependencies: the same packages for every architecture, each from some version on.
set -euo pipefail
deb=$1 architecture=$2

depends="adduser ca-certificates glib-networking gstreamer1.0-libav gstreamer1.0-plugins-bad gstreamer1.0-plugins-base
    gstreamer1.0-plugins-good libasound2 libc6 libglib2.0-0 libgstreamer-plugins-base1.0-0 libgstreamer1.0-0 libstdc++6"
case $architecture in
    amd64) machine="Advanced Micro Devices X86-64" ;;
    arm64) machine=AArch64 ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { printf '%s: %s\n' "$deb" "$*" >&2; exit 1; }

[ "$(dpkg-deb -f "$deb" Architecture)" = "$architecture" ] || fail "is not for $architecture"
dpkg-deb -x "$deb" "$work"
for file in usr/bin/edge-ger usr/lib/edge-ger/libonnxruntime.so; do
    readelf -h "$work/$file" | grep -q "Machine: *$machine\$" || fail "$file is not for $architecture"
done
said=$(dpkg-deb -f "$deb" Depends)
[ "$(sed 's/ *([^)]*)//g; s/, /\n/g' <<< "$said" | sort | xargs)" = "$(xargs <<< "$depends")" ] \
    || fail "depends on $said, and should on $(xargs <<< "$depends")"
# The use of a library's private symbols would cause an upper bound of its version.
! grep -q '<' <<< "$said" || fail "depends on one version of a library: $said"
