#!/bin/sh
# Installs Debian's Bazel. `make test` calls this where it finds no Bazel.

fail() {
  echo "error: no bazel or bazelisk on PATH, and $1." \
    'Install Bazel (https://bazel.build/install), then try again.' >&2
  exit 1
}

command -v apt-get >/dev/null || fail 'there is no apt-get to install it with'
if [ "$(id -u)" = 0 ]; then
  as_root=
else
  command -v sudo >/dev/null || fail 'installing it takes root or sudo'
  as_root=sudo
fi

echo 'No Bazel found: installing the package bazel-bootstrap.'
$as_root apt-get update &&
  $as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends bazel-bootstrap ||
  fail 'apt-get could not install bazel-bootstrap'
