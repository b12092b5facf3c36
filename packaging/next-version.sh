#!/usr/bin/env bash
# next-version.sh EDGE-GER.deb NEXT.deb: writes the same package with a higher version and a changed conffile.
set -euo pipefail
deb=$1 next=$2

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
dpkg-deb -R "$deb" "$work/next"
cd "$work/next"
sed -i 's/^Version: .*/&+next/' DEBIAN/control
echo '# Something new.' >> etc/default/edge-ger
find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | xargs -0 md5sum > DEBIAN/md5sums
cd - > /dev/null
dpkg-deb -Zgzip -b --root-owner-group "$work/next" "$next" > /dev/null
chmod 644 "$next"
