#!/bin/bash
# Process 1 of a private host: host-init.sh STATE NAME, inside fresh namespaces (see hosts.py).
#
# Standard input is the lifeline: it ends when the program that started the host closes it or dies, however it dies. When
# process 1 then exits, the kernel kills libvirtd and every guest of this pid namespace.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
state=$1 name=$2

# The old /proc still counts processes as the outside does, so this is the number that nsenter needs.
read -r outer_pid _ </proc/self/stat
echo "$name" >/proc/sys/kernel/hostname
ip link set lo up

mount --make-rprivate /
for place in run etc/libvirt var/lib/libvirt var/log/libvirt var/cache/libvirt var/lib/swtpm-localca; do
  [ -d "/$place" ] || continue
  mkdir -p "$state/$place"
  mount --bind "$state/$place" "/$place"
done
mkdir -p /run/lock /run/libvirt /var/lib/libvirt/{qemu,images} /var/log/libvirt/qemu
mount -t proc proc /proc

libvirtd --config /etc/libvirt/libvirtd.conf --daemon </dev/null
echo "$outer_pid" >"$state/init.pid"

while read -r _; do :; done   # bash reaps the guests' orphans meanwhile
kill -TERM "$(cat /run/libvirtd.pid)" 2>/dev/null || true
