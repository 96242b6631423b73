#!/bin/sh
# Installs Debian's Chromium, in which the tests of the report open its page.

fail() {
  echo "error: no Chromium on PATH, and $1." \
    'Install it, or Google Chrome, then try again.' >&2
  exit 1
}

for name in chromium chromium-browser google-chrome; do
  command -v "$name" >/dev/null && exit 0
done
command -v apt-get >/dev/null || fail 'there is no apt-get to install it with'
if [ "$(id -u)" = 0 ]; then
  as_root=
else
  command -v sudo >/dev/null || fail 'installing it takes root or sudo'
  as_root=sudo
fi

echo 'No Chromium found: installing the package chromium.'
$as_root apt-get update &&
  $as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends chromium ||
  fail 'apt-get could not install chromium'
