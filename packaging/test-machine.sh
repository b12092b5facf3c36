#!/usr/bin/env bash
# test-machine.sh MACHINE.tar EDGE-GER.deb: does what an operator does with the package, on a Debian 12 that has booted
# in a virtual machine, with Debian's kernel and systemd. MACHINE.tar contains this Debian with the dependencies of the
# package. Needs root, to unpack it. The machine has no network; packaging/machine.sh runs in it.
set -euo pipefail
base=$(realpath "$1") deb=$(realpath "$2")
cd "$(dirname "$0")/.."
architecture=$(dpkg-deb -f "$deb" Architecture)

work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

case $architecture in
    amd64) emulator=(qemu-system-x86_64 -machine q35) console=ttyS0 processor=max ;;
    # The same generation as the cores of a Jetson Orin.
    arm64) emulator=(qemu-system-aarch64 -machine virt) console=ttyAMA0 processor=cortex-a76 ;;
    *) fail "no machine for $architecture" ;;
esac
# Fast with virtualisation, if this machine has the same architecture and supports it. Otherwise emulation.
if [ "$architecture" = "$(dpkg --print-architecture)" ] && [ -w /dev/kvm ] \
    && { [ "$architecture" = arm64 ] || grep -qwE 'vmx|svm' /proc/cpuinfo; }; then
    emulator+=(-accel kvm -cpu host)
else
    emulator+=(-accel tcg -cpu "$processor")
fi

root=$work/root
mkdir "$root"
tar -C "$root" --numeric-owner -xpf "$base"
cp "$root"/boot/vmlinuz-* "$work/kernel"
cp "$root"/boot/initrd.img-* "$work/initrd"
echo box > "$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 box\n' > "$root/etc/hosts"
echo '/dev/vda / ext4 defaults 0 1' > "$root/etc/fstab"
mkdir "$root/opt/trial"
cp "$deb" "$root/opt/trial/edge-ger.deb"
packaging/next-version.sh "$deb" "$root/opt/trial/next.deb"
cp packaging/{machine.sh,camera.py} "$root/opt/trial"
# A clip that an emulated processor can decode, and a network that it can run.
ffmpeg -v error -i demo/group.mp4 -vf fps=5,scale=160:90 -g 5 -bf 0 -c:a copy "$root/opt/trial/group.mp4"
cp tests/data/batch-one.onnx "$root/opt/trial/small.onnx"
cp packaging/machine.service "$root/etc/systemd/system/trial.service"
ln -s ../trial.service "$root/etc/systemd/system/multi-user.target.wants/trial.service"
# With this the service can wait for the device that its output goes to.
echo 'SUBSYSTEM=="virtio-ports", TAG+="systemd"' > "$root/etc/udev/rules.d/90-report.rules"
truncate -s 6G "$work/disk"
mke2fs -q -t ext4 -d "$root" "$work/disk"
rm -rf "$root"

# Two hours allow for emulation on a busy machine.
timeout 2h "${emulator[@]}" -smp 2 -m 2G -display none -nodefaults -nic none \
    -kernel "$work/kernel" -initrd "$work/initrd" \
    -append "root=/dev/vda rw quiet console=$console systemd.journald.forward_to_console=1" \
    -drive "file=$work/disk,format=raw,if=virtio,cache=unsafe" \
    -serial "file:$work/console" \
    -device virtio-serial-pci -device virtserialport,chardev=report,name=report \
    -chardev file,id=report,path=/dev/stdout \
    | tee "$work/report" || fail "the machine ended badly: $(tail -n 50 "$work/console")"
[ "$(tail -n 1 "$work/report")" = "== Passed" ] || { tail -n 50 "$work/console" >&2; fail "in the machine, see above"; }
