#!/bin/sh
# Prints the path of a Python of a version; fails if there is none.
#
#     tools/find_python.sh 3.12                    of those that are installed
#     tools/find_python.sh 3.12 .venv/bin/python   whether this is one, and runs

# On PATH it may be a shim that refuses to run, and beside it the real one.
installed() {
  echo "python$1"
  echo python3
  pyenv prefix "$1" | sed 's|$|/bin/python|'
  ls "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python
  uv python find --no-project "$1"
}

wanted="import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')"
for python in ${2:-$(installed "$1" 2>/dev/null)}; do
  if "$python" -c "$wanted" 2>/dev/null; then
    command -v "$python"
    exit
  fi
done
exit 1
