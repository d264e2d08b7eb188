"""Nouns and rules without I/O: extents, machines, restore points, errors, and the ports the outer layers meet at."""
