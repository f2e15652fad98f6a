#!/bin/sh
# A virtual environment with the S3 server that attachments are tested against, made once.
# Usage: prepare.sh FOLDER
set -eu
dir=$1
want="moto[s3,iam,server]==5.1.22"
[ "$(cat "$dir/ready" 2>/dev/null)" = "$want" ] && exit 0
command -v python3 >/dev/null || { echo "no python3" >&2; exit 1; }
mkdir -p "$(dirname "$dir")"
exec 9>"$dir.lock"
flock 9
[ "$(cat "$dir/ready" 2>/dev/null)" = "$want" ] && exit 0
python3 -m venv "$dir" >&2
"$dir/bin/pip" install --quiet --disable-pip-version-check "$want" >&2
echo "$want" > "$dir/ready"
