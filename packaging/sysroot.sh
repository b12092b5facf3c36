#!/bin/sh
# sysroot.sh ROOT: mmdebstrap calls it when it has unpacked the packages of another architecture into ROOT. They are
# not installed there. The script writes what dpkg-query must know about them: which package a library belongs to, and
# which symbols it has since which version. So dpkg-shlibdeps can determine the dependencies of a program for that
# architecture, as on a machine of that architecture.
set -eu
database=$1/var/lib/dpkg

for deb in "$1"/var/cache/apt/archives/*.deb; do
    control=$(mktemp -d)
    dpkg-deb -e "$deb" "$control"
    name=$(sed -n 's/^Package: //p' "$control/control")
    { cat "$control/control"; printf 'Status: install ok installed\n\n'; } >> "$database/status"
    # The paths as this machine sees them.
    dpkg-deb --fsys-tarfile "$deb" | tar -t | sed "s|^\.|$1|; s|/\$||" > "$database/info/$name.list"
    for kind in shlibs symbols; do
        if [ -e "$control/$kind" ]; then cp "$control/$kind" "$database/info/$name.$kind"; fi
    done
    rm -r "$control"
done

# libm.so is a link to /lib/…/libm.so.6, which here would be this machine's file; the linker would then use libm.a.
find "$1" -type l -lname '/*' | while read -r link; do
    ln -snfr "$1$(readlink "$link")" "$link"
done
