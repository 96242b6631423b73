# Debian's packages, for the scripts beside this one, which read it:
#
#     . "${0%/*}/apt_install.sh"
#     apt_install NAME PACKAGE
#
# They define `fail REASON`, which says what is missing and how it is mended.

apt_install() {
  command -v apt-get >/dev/null || fail 'there is no apt-get to install it with'
  if [ "$(id -u)" = 0 ]; then
    as_root=
  else
    command -v sudo >/dev/null || fail 'installing it takes root or sudo'
    as_root=sudo
  fi

  echo "No $1 found: installing the package $2."
  $as_root apt-get update &&
    $as_root env DEBIAN_FRONTEND=noninteractive \
      apt-get install --yes --no-install-recommends "$2" ||
    fail "apt-get could not install $2"
}
