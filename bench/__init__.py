"""Holdfast measured from outside, through its command line, against its peers and against physical limits.

`python -m bench` from the project's root runs it all and writes `build/bench.json`; `docs/benchmarks.md` says what each
figure means.
"""
