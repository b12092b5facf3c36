#!/bin/sh
# sysroot.sh ROOT: mmdebstrap calls it when it has unpacked the packages of another architecture into ROOT, which does not
# install them. Writes what dpkg-query must know of them there: whose a library is, and since which version it has which
# symbols. So dpkg-shlibdeps finds out what a program for that architecture depends on, as it would at home.
set -eu
database=$1/var/lib/dpkg

for deb in "$1"/var/cache/apt/archives/*.deb; do
    control=$(mktemp -d)
    dpkg-deb -e "$deb" "$control"
    name=$(sed -n 's/^Package: //p' "$control/control")
    { cat "$control/control"; printf 'Status: install ok installed\n\n'; } >> "$database/status"
    # By the paths that this machine sees.
    dpkg-deb --fsys-tarfile "$deb" | tar -t | sed "s|^\.|$1|; s|/\$||" > "$database/info/$name.list"
    for kind in shlibs symbols; do
        if [ -e "$control/$kind" ]; then cp "$control/$kind" "$database/info/$name.$kind"; fi
    done
    rm -r "$control"
done

# libm.so is a link to /lib/…/libm.so.6, which from here leads to this machine's; then libm.a would be linked.
find "$1" -type l -lname '/*' | while read -r link; do
    ln -snfr "$1$(readlink "$link")" "$link"
done
