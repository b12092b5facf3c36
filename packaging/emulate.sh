#!/bin/sh
# emulate.sh ARCHITECTURE: makes this machine run programs of that architecture by qemu, if it does not yet. Needs root,
# and the packages qemu-user-static and arch-test.
set -eu
binfmt=/proc/sys/fs/binfmt_misc
case $1 in amd64) machine=x86_64 ;; arm64) machine=aarch64 ;; esac

if ! arch-test "$1" > /dev/null; then
    # systemd has done both where it runs.
    test -e $binfmt/register || mount -t binfmt_misc none $binfmt
    cat "/usr/lib/binfmt.d/qemu-$machine.conf" > $binfmt/register
fi
