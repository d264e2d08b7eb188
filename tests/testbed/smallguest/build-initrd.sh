#!/bin/bash
# build-initrd.sh DIRECTORY KERNEL: the small guest from Debian's own parts, into DIRECTORY: bzImage, initrd.cpio,
# initrd.lz4, root/. KERNEL is Debian's cloud-amd64, or amd64, which knows AHCI too and takes longer to unpack.
#
# Debian's kernel, static busybox and the real QEMU guest agent are downloaded and unpacked, never installed: installing
# them would give this machine a new kernel. The result answers the guest agent within four seconds without KVM.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C
here=$(dirname "$(realpath "$0")")
out=$(realpath "$1") kernel=$2
work=$out/work root=$out/root unpacked=$out/work/unpacked
mkdir -p "$work" "$root"

kernel_package() { apt-cache depends --important "linux-image-$kernel" 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[^ ]*\).*/\1/p' | head -1; }
download() { ( cd "$work" && rm -f ./*.deb && apt-get -qq download "$(kernel_package)" busybox-static qemu-guest-agent ) >"$work/apt.log" 2>&1; }

unpack_packages() {
  if ! download; then   # no package lists yet, or lists older than the archive
    apt-get -qq update
    download || { cat "$work/apt.log" >&2; exit 1; }
  fi
  for package in "$work"/*.deb; do dpkg-deb -x "$package" "$unpacked"; done
}

copy_programs() {
  mkdir -p "$root"/{bin,sbin,dev,proc,sys,run,tmp,etc/qemu/fsfreeze-hook.d,lib64,lib/x86_64-linux-gnu,lib/modules,usr/sbin,usr/bin,data,root,var/log,mnt}
  cp "$unpacked/bin/busybox" "$root/bin/"
  cp "$unpacked/usr/sbin/qemu-ga" "$root/usr/sbin/"
  cp "$unpacked/etc/qemu/fsfreeze-hook" "$root/etc/qemu/"
  cp "$here"/root/init "$root/"
  cp "$here"/root/sbin/* "$root/sbin/"
  local applet
  for applet in $("$root/bin/busybox" --list); do [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"; done
  echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
  echo 'root:x:0:' >"$root/etc/group"
}

copy_libraries() {   # the agent's shared libraries, from this machine: QEMU itself needs the same ones
  local library
  ldd "$root/usr/sbin/qemu-ga" >"$work/ldd"
  if grep 'not found' "$work/ldd" >&2; then echo "the guest agent's libraries are not installed here" >&2; exit 1; fi
  awk '/=> \//{print $3} /^\t\/lib64/{print $1}' "$work/ldd" | while read -r library; do
    case $library in /lib64/*) cp -L "$library" "$root/lib64/";; *) cp -L "$library" "$root/lib/x86_64-linux-gnu/";; esac
  done
}

in_load_order() {   # module files of the named drivers, dependencies first
  local driver
  for driver in "$@"; do modprobe -d "$unpacked" -S "$version" --show-depends "$driver" | awk '$1=="insmod"{print $2}'; done | awk '!seen[$0]++'
}

copy_drivers() {
  local file ata=(ata_piix)
  [ "$kernel" = cloud-amd64 ] || ata+=(ahci)
  depmod -b "$unpacked" "$version"
  for file in $(in_load_order virtio_pci virtio_blk virtio_console virtio_net virtio_scsi sd_mod ext4 "${ata[@]}"); do
    strip --strip-debug -o "$root/lib/modules/$(basename "$file")" "$file"
  done
  in_load_order virtio_pci virtio_blk virtio_console ext4 | xargs -n1 basename >"$root/lib/modules/core"
  in_load_order virtio_net | xargs -n1 basename >"$root/lib/modules/net"
  in_load_order virtio_scsi sd_mod | xargs -n1 basename >"$root/lib/modules/scsi"
  in_load_order "${ata[@]}" sd_mod | xargs -n1 basename >"$root/lib/modules/ata"
}

unpack_packages
version=$(basename "$unpacked"/boot/vmlinuz-* | sed 's/^vmlinuz-//')
copy_programs
copy_libraries
copy_drivers
cp "$unpacked/boot/vmlinuz-$version" "$out/bzImage"
( cd "$root" && find . | cpio --quiet -o -H newc ) >"$out/initrd.cpio"
lz4 -l -9 -f -q "$out/initrd.cpio" "$out/initrd.lz4"
rm -rf "$work"
