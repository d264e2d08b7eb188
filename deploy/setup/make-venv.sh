#!/bin/bash
# make-venv.sh LOCK...: bring .venv to what the lock files say and put holdfast itself into it, as .venv/bin/holdfast.
#
# The distribution's packages stay visible inside, because the bindings of libvirt and libnbd come from there; whatever a lock
# names comes from the lock. Does nothing if nothing has changed since. Exit 6: python3-venv is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
interpreter=/usr/bin/python3
log=build/venv.log

fingerprint() {   # of everything that decides what ends up in .venv; the place counts, since scripts name it
  { cat "$1" pyproject.toml deploy/setup/make-venv.sh; "$interpreter" --version; pwd; } | sha256sum | cut -c1-64
}

run() {
  if ! "$@" >>"$log" 2>&1 </dev/null; then
    tail -n 15 "$log" >&2
    echo "setup: filling .venv failed, see $(pwd)/$log" >&2
    exit 1
  fi
}

stale=()
for lock in "$@"; do
  [ "$(cat ".venv/.$lock.done" 2>/dev/null)" = "$(fingerprint "$lock")" ] || stale+=("$lock")
done
[ ${#stale[@]} -gt 0 ] || exit 0

if ! "$interpreter" -c 'import ensurepip' 2>/dev/null; then
  echo "setup: python3-venv is not installed; run \`make setup\` as root" >&2
  exit 6
fi
mkdir -p build
exec 9>build/.venv.lock
flock 9
: >"$log"
[ -x .venv/bin/python ] || { echo "setup: making .venv"; run "$interpreter" -m venv --system-site-packages .venv; }
for lock in "${stale[@]}"; do
  echo "setup: installing what $lock names into .venv"
  run .venv/bin/python -m pip install --require-hashes --requirement "$lock"
done
run .venv/bin/python -m pip install --no-deps --no-build-isolation --editable .
for lock in "${stale[@]}"; do fingerprint "$lock" >".venv/.$lock.done"; done
