"""Where disks come from and go to.

libvirt  running and shut-off QEMU guests           image  plain raw and qcow2 files, no hypervisor; appliance  OVA
   └───────────────┬───────────────────────────────────┘
files    images as files on this host: what they are, reading raw ones, writing new ones
   │
guestfs  files in volumes, through libguestfs
   │
nbd      a disk over NBD: readers, extents, writers; qemu-nbd as a child; bytes of ours lent
   │
outliving  servers that go on when we have gone
workspace  private directories that outlive nothing but a crash, and are swept after one
"""
