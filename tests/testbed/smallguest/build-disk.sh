#!/bin/bash
# build-disk.sh GUEST OUTPUT SIZE-MIB bios|uefi KERNEL-COMMAND-LINE: a raw disk that boots the small guest by itself.
#
# GUEST is what build-initrd.sh made. Needs neither root nor loop devices nor mounts: partitions are made as files and put
# in their places. The root file system, on the second partition, carries PAYLOAD_MIB (default 16) of random bytes.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C MTOOLS_SKIP_CHECK=1
guest=$1 output=$2 size_mib=$3 firmware=$4 command_line="$5 hroot=/dev/vda2,/dev/sda2"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
boot_mib=28
[ "$firmware" = uefi ] && boot_mib=48      # Debian's kernel and initrd inside one EFI program, and FAT32's least size
root_mib=$((size_mib - boot_mib - 2))      # 1 MiB before the first partition, 1 MiB for the second GPT

boot_with_bios() {
  mmd -i "$work/boot" ::/syslinux
  printf 'DEFAULT l\nPROMPT 0\nTIMEOUT 0\nLABEL l\n KERNEL /bzimage\n INITRD /initrd\n APPEND %s\n' "$command_line" >"$work/syslinux.cfg"
  mcopy -i "$work/boot" "$work/syslinux.cfg" ::/syslinux/syslinux.cfg
  mcopy -i "$work/boot" "$guest/bzImage" ::/bzimage
  mcopy -i "$work/boot" "$guest/initrd.lz4" ::/initrd
  syslinux --install --directory /syslinux "$work/boot"
}

boot_with_uefi() {
  printf '%s' "$command_line" >"$work/cmdline"
  printf 'NAME=small-guest\nID=small-guest\nVERSION_ID=1\n' >"$work/os-release"
  objcopy --add-section .osrel="$work/os-release" --change-section-vma .osrel=0x20000 \
    --add-section .cmdline="$work/cmdline" --change-section-vma .cmdline=0x30000 \
    --add-section .linux="$guest/bzImage" --change-section-vma .linux=0x2000000 \
    --add-section .initrd="$guest/initrd.lz4" --change-section-vma .initrd=0x3000000 \
    /usr/lib/systemd/boot/efi/linuxx64.efi.stub "$work/BOOTX64.EFI"
  mmd -i "$work/boot" ::/EFI ::/EFI/BOOT
  mcopy -i "$work/boot" "$work/BOOTX64.EFI" ::/EFI/BOOT/BOOTX64.EFI
}

make_root() {
  cp -a "$guest/root" "$work/tree"
  rm -f "$work/tree/init"
  dd if=/dev/urandom of="$work/tree/root/payload" bs=1M count="${PAYLOAD_MIB:-16}" status=none
  truncate -s "${root_mib}M" "$work/root"
  mke2fs -q -F -t ext4 -L root -d "$work/tree" "$work/root"
}

write_partition_table() {
  local label=dos boot_type=c root_type=83 flag=,bootable
  [ "$firmware" = uefi ] && label=gpt boot_type=U root_type=L flag=
  printf 'label: %s\nstart=2048,size=%d,type=%s%s\nstart=%d,size=%d,type=%s\n' $label $((boot_mib*2048)) $boot_type "$flag" \
    $((2048 + boot_mib*2048)) $((root_mib*2048)) $root_type | sfdisk -q "$output"
  [ "$firmware" = uefi ] || dd if=/usr/lib/syslinux/mbr/mbr.bin of="$output" bs=440 count=1 conv=notrunc status=none
}

truncate -s "${boot_mib}M" "$work/boot"
mkfs.vfat -n BOOT -h 2048 "$work/boot" >/dev/null
"boot_with_$firmware"
make_root
truncate -s 0 "$output"
truncate -s "${size_mib}M" "$output"
write_partition_table
dd if="$work/boot" of="$output" bs=1M seek=1 conv=notrunc,sparse status=none
dd if="$work/root" of="$output" bs=1M seek=$((1 + boot_mib)) conv=notrunc,sparse status=none
