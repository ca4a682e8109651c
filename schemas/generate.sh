#!/bin/sh
# Remakes generated/*.cgr from the schemas; run it after every change of a .capnp file.
# Needs the Cap'n Proto compiler (Debian: apt-get install capnproto). Another folder may be named as the target.
set -eu
cd "$(dirname "$0")"
target=${1:-generated}
command -v capnp >/dev/null || { echo "capnp is not installed (Debian: capnproto)" >&2; exit 1; }
mkdir -p "$target"
for schema in *.capnp; do
    capnp compile --src-prefix=. -o- "$schema" >"$target/${schema%.capnp}.cgr"
done
