#!/bin/bash
# install-packages.sh NEED...: install the Debian packages of these needs (debian-packages.txt) that are missing.
#
# Only what is missing, without recommended packages, and under a policy-rc.d that lets no package start a service. A
# policy-rc.d of the machine's own is moved aside and moved back, the same file, also after a failure or Ctrl-C; after a kill
# that nothing can catch, the next run moves it back. Exit 6: packages are missing and this is not root, or not Debian.
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
here=$(cd "$(dirname "$0")" && pwd)
log=$here/../../build/packages.log
policy=/usr/sbin/policy-rc.d
aside=$policy.before-holdfast

say() { echo "setup: $*"; }
refuse() { echo "setup: $*" >&2; exit 6; }

wanted() {
  local need
  for need in "$@"; do awk -v need="$need" '$1 == need {print $2}' "$here/debian-packages.txt"; done
}

missing() {
  local package packages
  packages=$(wanted "$@")
  for package in $packages; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
  done
}

policy_is_ours() { grep -qs "holdfast's set-up" "$policy"; }

restore_policy() {
  if [ -e "$aside" ] || [ -L "$aside" ]; then
    mv -fT "$aside" "$policy"
  elif policy_is_ours; then
    rm -f "$policy"
  fi
}

forbid_starting_services() {
  trap restore_policy EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  if [ -e "$policy" ] || [ -L "$policy" ]; then mv -T "$policy" "$aside"; fi
  printf "#!/bin/sh\n# For the time of holdfast's set-up: no package starts a service.\nexit 101\n" >"$policy"
  chmod 755 "$policy"
}

install() {
  dpkg --configure -a      # a killed run may have left packages half installed
  apt-get -q update || say "the package lists could not be renewed, going on with those at hand"
  apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold install "$@"
}

command -v dpkg-query apt-get >/dev/null || refuse "this is not Debian: install by hand what debian-packages.txt lists"
packages=$(missing "$@")
[ -n "$packages" ] || policy_is_ours || exit 0
[ "$(id -u)" = 0 ] || refuse "Debian packages are missing and installing them needs root:" $packages

mkdir -p "$(dirname "$log")" /run/lock
exec 9>/run/lock/holdfast-setup.lock
flock 9              # two set-ups at once must not move each other's policy
restore_policy       # what a killed run may have left
packages=$(missing "$@")
[ -n "$packages" ] || exit 0
say "installing $(wc -w <<<"$packages") Debian packages; they start no service"
forbid_starting_services
# shellcheck disable=SC2086  # one word a package
if ! install $packages </dev/null >"$log" 2>&1 9>&-; then
  tail -n 15 "$log" >&2
  echo "setup: installing Debian packages failed, see $(realpath "$log")" >&2
  exit 1
fi
