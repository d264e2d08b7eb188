"""What the product does: protect, recover, check, examine. Knows ports, repository and mover, no platform."""
