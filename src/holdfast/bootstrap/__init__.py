"""Settings read once, and the wiring: the only place that names concrete platforms and stores."""
