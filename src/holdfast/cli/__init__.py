"""The command line: parse, call a job, render. One file per command group; no decisions of its own."""
