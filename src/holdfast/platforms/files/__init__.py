"""Images as files on this host: what they are, reading raw ones, writing new ones.

QEMU's tools are never left to find out for themselves what an image is: `chain` says it to them in full.
"""
