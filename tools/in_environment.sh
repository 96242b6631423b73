#!/bin/sh
# Runs a program of the environment that is set up: that of tf2.15, or else that of
# tf2.20; STACK=tf2.20 chooses, as it does for `make`.
#
#     tools/in_environment.sh ruff check .

root=$(cd "$(dirname "$0")/.." && pwd)
case "$STACK" in
  '') environments='.venv .venv_tf2.20' ;;
  tf2.15) environments=.venv ;;
  tf2.20) environments=.venv_tf2.20 ;;
  *)
    echo "error: STACK is '$STACK'; it must be tf2.15 or tf2.20." >&2
    exit 1
    ;;
esac
program=$1
shift
for environment in $environments; do
  path="$root/$environment/bin/$program"
  if [ -x "$path" ]; then
    exec "$path" "$@"
  fi
done
echo "error: there is no $program in $environments; \`make venv\` sets up." >&2
exit 1
