#!/usr/bin/env bash
# Starts the trading system the way a service does it: from any working directory, with whatever little environment a
# service manager gives. Arguments go on to `python -m orchestration.startup`, and so do its exit codes:
#
#   0  success    1  failure, manual action required    2  the system runs, on the emergency plan
#
# What goes wrong before the program runs ends in 1, with a message on standard error and in a log: a shell's own 2, 126
# or 127 would say something else. After the checks the program takes this process's place, so that a service manager's
# signals and notifications reach the program itself.
[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"  # called as `sh SCRIPT`, which may be another shell
set -u
unset CDPATH
trap 'exit 1' HUP INT TERM  # until the program is there to stop gracefully

fail() {
  printf 'production-startup: %s\n' "$@" >&2
  # Nobody sees the standard error of a scheduled task. `inv logs --of startup` finds this file.
  local folder="${LOG_DIR:-logs}"
  case "$folder" in /*) ;; *) folder="$project/$folder" ;; esac
  if [ -n "${INSTANCE:-}" ] && [ "$INSTANCE" != default ]; then folder="$folder/${INSTANCE//\//_}"; fi
  umask 077
  { mkdir -p -- "$folder" && printf '%s\n' "$@" >>"$folder/startup_$(date +%Y%m%d_%H%M%S)_wrapper.log"; } 2>/dev/null
  exit 1
}

# What a service manager may leave out; what is set stays as it is.
for folder in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin /snap/bin; do
  case ":${PATH:-}:" in *":$folder:"*) ;; *) PATH="${PATH:+$PATH:}$folder" ;; esac
done
export PATH
if [ -z "${HOME:-}" ]; then
  unset HOME
  HOME=~  # without HOME, bash asks the user database
  export HOME
fi
if [ -z "${LC_ALL:-}${LC_CTYPE:-}${LANG:-}" ]; then export LANG=C.UTF-8; fi
export PYTHONUTF8="${PYTHONUTF8:-1}" PYTHONUNBUFFERED="${PYTHONUNBUFFERED:-1}"

self="$(readlink -f -- "${BASH_SOURCE[0]}")"
project="${self%/docker/gateway/scripts/*}"
if [ -z "$self" ] || [ "$project" = "$self" ] || [ ! -f "$project/orchestration/startup/__main__.py" ]; then
  project="${TMPDIR:-/tmp}"
  fail "this script must stay in docker/gateway/scripts of the project; call it by its path or through a link"
fi
cd -- "$project" || fail "cannot enter $project"

install_hint="python3 -m venv .venv && .venv/bin/pip install --require-hashes -r requirements.txt"
python="$project/.venv/bin/python"
if [ ! -x "$python" ]; then
  python="$(command -v python3)" || fail "neither .venv/bin/python nor python3 found" "in $project run: $install_hint"
fi

readonly TOO_OLD=10 INCOMPLETE=11
found="$("$python" - "$TOO_OLD" "$INCOMPLETE" 2>&1 <<'PYTHON'
import sys
from importlib.util import find_spec

if sys.version_info < (3, 11):
    print(sys.version.split()[0])
    sys.exit(int(sys.argv[1]))
needed = ("dotenv", "ib_async", "jsonschema", "psutil", "requests", "rich")
missing = [name for name in needed if find_spec(name) is None]
if missing:
    print(", ".join(missing))
    sys.exit(int(sys.argv[2]))
PYTHON
)"
case $? in
  0) ;;
  "$TOO_OLD") fail "$python is Python $found; 3.11 or newer is needed" ;;
  "$INCOMPLETE") fail "$python lacks packages: $found" "in $project run: $install_hint" ;;
  *) fail "$python does not work: $found" "in $project run: rm -rf .venv && $install_hint" ;;
esac

shopt -s execfail
exec "$python" -m orchestration.startup "$@"
fail "$python could not be run"
