#!/bin/sh
# emulate.sh ARCHITECTURE: sets this machine up to run programs of this architecture with qemu, if it cannot run them
# yet. Needs root, and the packages qemu-user-static and arch-test.
set -eu
binfmt=/proc/sys/fs/binfmt_misc
case $1 in amd64) machine=x86_64 ;; arm64) machine=aarch64 ;; esac

if ! arch-test "$1" > /dev/null; then
    # Where systemd runs, it has done both.
    test -e $binfmt/register || mount -t binfmt_misc none $binfmt
    cat "/usr/lib/binfmt.d/qemu-$machine.conf" > $binfmt/register
fi
