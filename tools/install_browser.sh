#!/bin/sh
# Installs Debian's Chromium, in which the tests of the report open its page.

. "${0%/*}/apt_install.sh"

fail() {
  echo "error: no Chromium on PATH, and $1." \
    'Install it, or Google Chrome, then try again.' >&2
  exit 1
}

for name in chromium chromium-browser google-chrome; do
  command -v "$name" >/dev/null && exit 0
done
apt_install Chromium chromium
