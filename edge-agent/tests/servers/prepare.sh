#!/bin/sh
# A virtual environment with the servers that the collectors are tested against, made once.
# Usage: prepare.sh FOLDER
set -eu
dir=$1
want="pymodbus==3.16.1 asyncua==2.1.0"
[ "$(cat "$dir/ready" 2>/dev/null)" = "$want" ] && exit 0
command -v python3 >/dev/null || { echo "no python3" >&2; exit 1; }
mkdir -p "$(dirname "$dir")"
exec 9>"$dir.lock"
flock 9
[ "$(cat "$dir/ready" 2>/dev/null)" = "$want" ] && exit 0
python3 -m venv "$dir" >&2
# shellcheck disable=SC2086
"$dir/bin/pip" install --quiet --disable-pip-version-check $want >&2
echo "$want" > "$dir/ready"
