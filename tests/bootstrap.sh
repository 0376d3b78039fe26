#!/usr/bin/env bash
# Makes the virtual environment from the hashed lock file; on a fresh Debian also installs the few
# packages that this takes. Called by the Makefile with the environment's folder.
set -euo pipefail

venv=$1
python=${PYTHON:-python3}
root=""; [ "$(id -u)" = 0 ] || root=sudo

# Debian ships venv and pip apart from Python, so a machine may have one without the others.
if ! "$python" -c 'import ensurepip, venv, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  command -v apt-get >/dev/null || { echo "Python 3.11 or newer with venv is needed: install it, or set PYTHON=" >&2; exit 1; }
  $root apt-get update -qq
  $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    python3 python3-venv python3-pip ca-certificates
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
