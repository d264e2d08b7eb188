#!/bin/bash
# make-locks.sh [UV-OPTION...]: write the lock files anew from pyproject.toml: versions and hashes, no index addresses.
#
# Versions that still fit stay as they are; `--upgrade` looks for newer ones, `--upgrade-package NAME` for one.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=build/lock-tools
[ -x $tools/bin/uv ] || { /usr/bin/python3 -m venv $tools; $tools/bin/pip install --quiet uv; }

compile() {
  $tools/bin/uv pip compile --quiet --python /usr/bin/python3 --generate-hashes --custom-compile-command "make lock" "$@"
}

compile pyproject.toml --group build --output-file requirements.lock "$@"
compile --group check --group test --constraint requirements.lock --output-file requirements-dev.lock "$@"
