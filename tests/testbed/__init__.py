"""The test bed: real libvirt, real QEMU, real guests, on a small machine that keeps nothing of it.

`hosts` starts private hypervisor hosts in namespaces, `guest_image` builds the small guest they run, `lab` boots and
clones it. Tests, `make demo` and `make bench` stand on it; nothing here touches the machine's own libvirt.
"""
