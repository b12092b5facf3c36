#!/bin/sh
# initrd.sh ROOT: mmdebstrap calls it before it installs a kernel into ROOT, the root of the virtual machine. The
# initial file system gets only the modules for the machine's disk; with all modules of the kernel an emulated
# processor would need an hour.
set -eu
mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
echo MODULES=list > "$1/etc/initramfs-tools/conf.d/machine"
printf 'virtio_pci\nvirtio_blk\next4\n' > "$1/usr/share/initramfs-tools/modules.d/machine"
