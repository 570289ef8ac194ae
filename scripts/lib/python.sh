# Sourced: choose an interpreter, make the venv, install what the lock names.
# shellcheck shell=bash

# Run as an ordinary user: as ourselves, or, for root, as an uid that owns nothing.
as_ordinary() {
  if [ "$(id -u)" = 0 ]; then
    setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
  else
    "$@"
  fi
}

# Print a Python >= 3.11 that an ordinary user can start: an agent never runs as root, and an
# interpreter below /root would be invisible to it.
pick_python() {
  local candidate
  for candidate in /usr/bin/python3 /usr/bin/python3.{14,13,12,11} /usr/local/bin/python3 \
    "$(command -v python3 || true)"; do
    if [ -x "$candidate" ] && as_ordinary "$candidate" -I -S -c \
      'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

# need_package COMMAND PACKAGE: install a Debian package as root, else name what is missing.
need_package() {
  if command -v "$1" >/dev/null 2>&1; then return; fi
  install_package "$2"
}

install_package() {
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "  installing $1"
    if [ -z "${AGP_APT_UPDATED:-}" ]; then
      quietly apt-get update -qq
      AGP_APT_UPDATED=1
    fi
    DEBIAN_FRONTEND=noninteractive quietly apt-get install -y --no-install-recommends "$1"
    return
  fi
  echo "missing: $1. Install it with your package manager (Debian: apt-get install $1)." >&2
  exit 3
}

# need_python: set PYTHON to a usable interpreter that can make a venv.
need_python() {
  need_package setpriv util-linux
  PYTHON=$(pick_python) || {
    install_package python3
    PYTHON=$(pick_python) || {
      echo "missing: a Python >= 3.11 that an ordinary user can start." >&2
      exit 3
    }
  }
  if ! "$PYTHON" -I -c 'import ensurepip, venv' 2>/dev/null; then
    local version
    version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    install_package "python$version-venv"
  fi
}

# quietly COMMAND...: show what it wrote only where it fails.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 || status=$?
  if [ "$status" != 0 ]; then cat "$log" >&2; fi
  rm -f "$log"
  return "$status"
}

# make_venv DIRECTORY: install exactly the locked packages, then this tree; nothing where both are
# in place already. The project is built by the locked hatchling, not by one fetched for the build.
make_venv() {
  local venv=$1 stamp
  stamp=$(cat requirements.lock pyproject.toml | sha256sum)
  if [ "$(cat "$venv/.agp-lock" 2>/dev/null)" = "$stamp" ] &&
    [ "$("$venv/bin/python" -c 'import agp; print(agp.__path__[0])' 2>/dev/null)" = "$PWD/agp" ]; then
    return
  fi
  "$PYTHON" -m venv --clear "$venv"
  quietly "$venv/bin/python" -m pip install --disable-pip-version-check \
    --require-hashes -r requirements.lock
  quietly "$venv/bin/python" -m pip install --disable-pip-version-check \
    --no-deps --no-build-isolation --editable .
  echo "$stamp" > "$venv/.agp-lock"
}
