"""Where a repository's objects live: one port, a local directory, and memory for tests of the store itself."""
