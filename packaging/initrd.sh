#!/bin/sh
# initrd.sh ROOT: mmdebstrap calls it before a kernel comes into ROOT, the virtual machine's. The initial file system gets
# what that machine's disk needs; all of the kernel's modules would take an emulated processor an hour.
set -eu
mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
echo MODULES=list > "$1/etc/initramfs-tools/conf.d/machine"
printf 'virtio_pci\nvirtio_blk\next4\n' > "$1/usr/share/initramfs-tools/modules.d/machine"
