#!/bin/sh
# Installs Debian's Bazel. `make test` calls this where it finds no Bazel.

. "${0%/*}/apt_install.sh"

fail() {
  echo "error: no bazel or bazelisk on PATH, and $1." \
    'Install Bazel (https://bazel.build/install), then try again.' >&2
  exit 1
}

apt_install Bazel bazel-bootstrap
