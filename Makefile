# Everything starts here. `make help` lists what there is.
SHELL := /bin/bash
export PATH := $(PATH):/usr/sbin:/sbin
.DEFAULT_GOAL := help
.PHONY: help setup demo check test soak bench bench-long lock clean
MINUTES ?= 30

# The checkers' caches: here, or for somebody who may not write here, in a directory of their own.
caches := $(if $(shell test -w . && echo writable),$(CURDIR)/build/cache,$(or $(TMPDIR),/tmp)/holdfast-check-$(shell id -u))
export RUFF_CACHE_DIR := $(caches)/ruff
export MYPY_CACHE_DIR := $(caches)/mypy

help:  ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup:  ## install what is missing and leave the program at .venv/bin/holdfast (root)
	@deploy/setup/install-packages.sh run guest
	@deploy/setup/make-venv.sh requirements.lock

demo:  ## protect a real guest while it writes and recover both points; build/demo.json (root)
	@demo/run

check:  ## lint, format, types, layers, dead code; seconds, no root
	@deploy/setup/make-venv.sh requirements.lock requirements-dev.lock
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports --cache-dir $(caches)/imports
	.venv/bin/vulture

test: setup  ## every test, on real guests, on every core (root); ARGS="-k name" for some
	@deploy/setup/install-packages.sh s3
	@deploy/setup/make-venv.sh requirements-dev.lock
	.venv/bin/python -m pytest --numprocesses logical --dist worksteal $(ARGS)

soak: setup  ## everything at once against a shadow model, MINUTES=30 SEED=n (root)
	@deploy/setup/install-packages.sh s3
	@deploy/setup/make-venv.sh requirements-dev.lock
	PYTHONHASHSEED=0 .venv/bin/python -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

bench: setup  ## the figures, against the field; build/bench.json (root); ONLY=name,… for some
	@deploy/setup/install-packages.sh bench s3
	.venv/bin/python -m bench $(if $(ONLY),--only $(ONLY))

bench-long: setup  ## the figures that take an hour and more; the same file and options (root)
	@deploy/setup/install-packages.sh bench s3
	.venv/bin/python -m bench --long $(if $(ONLY),--only $(ONLY))

lock:  ## write the lock files anew from pyproject.toml; ARGS=--upgrade for newer versions
	@deploy/setup/make-locks.sh $(ARGS)

clean:  ## remove everything that was built, the virtual environment too
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
