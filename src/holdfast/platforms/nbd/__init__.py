"""Disks over NBD on UNIX sockets: one connection a thread, synchronous, through libnbd."""
