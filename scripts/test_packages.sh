#!/bin/sh
# Programs that are not ours, for the tests (models::servers): packages of PyPI or npm, installed once into a folder.
# Usage: test_packages.sh pip|npm FOLDER PACKAGE…
set -eu
kind=$1 dir=$2
shift 2
want="$*"
[ "$(cat "$dir/ready" 2>/dev/null)" = "$want" ] && exit 0
mkdir -p "$(dirname "$dir")"
# Tests run beside each other, and several of them want the same.
exec 9>"$dir.lock"
flock 9
[ "$(cat "$dir/ready" 2>/dev/null)" = "$want" ] && exit 0
case $kind in
    pip)
        command -v python3 >/dev/null || { echo "there is no python3" >&2; exit 1; }
        python3 -m venv "$dir" >&2
        "$dir/bin/pip" install --quiet --disable-pip-version-check --retries 1 "$@" >&2
        ;;
    npm)
        command -v npm >/dev/null || { echo "there is no npm" >&2; exit 1; }
        npm install --silent --no-audit --no-fund --ignore-scripts --fetch-retries 1 --prefix "$dir" "$@" >&2
        ;;
    *)
        echo "$kind: pip or npm" >&2
        exit 2
        ;;
esac
echo "$want" >"$dir/ready"
