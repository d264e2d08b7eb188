"""The demo: a real guest protected twice while it writes, and both points recovered as running machines."""
