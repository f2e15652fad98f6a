# shellcheck shell=bash
# Where things are kept, how the script speaks, and locks. Sourced by ./dev.
#
# Everything that is said goes to stderr, so that stdout carries only answers (`./dev db url`, `./dev status --json`).

say() { printf '%s\n' "$*" >&2; }
step() { printf '%s==>%s %s\n' "$BOLD" "$PLAIN" "$*" >&2; }
warn() { printf '%swarning:%s %s\n' "$BOLD" "$PLAIN" "$*" >&2; }
die() {
    printf '%serror:%s %s\n' "$BOLD" "$PLAIN" "$1" >&2
    shift
    local hint
    for hint in "$@"; do printf '       %s\n' "$hint" >&2; done
    exit 1
}

BOLD='' PLAIN=''
if [ -t 2 ]; then BOLD=$'\e[1m' PLAIN=$'\e[0m'; fi

have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" -eq 0 ]; }
seconds_now() { date +%s; }

# Programs that are fetched are kept once per user; data belong to one checkout. PostgreSQL refuses to run as root, so
# root's copies live where an unprivileged account can reach them, which a checkout below /root could not offer.
if is_root; then
    CACHE=${FOREWARN_CACHE:-/var/cache/forewarn}
    STATE=${FOREWARN_STATE:-/var/lib/forewarn/$(basename "$ROOT")-$(printf '%s' "$ROOT" | sha256sum | cut -c1-8)}
else
    CACHE=${FOREWARN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/forewarn}
    STATE=${FOREWARN_STATE:-$ROOT/.forewarn}
fi
CACHE=$(realpath --canonicalize-missing "$CACHE") STATE=$(realpath --canonicalize-missing "$STATE")

# The account that runs the private PostgreSQL: ourselves, unless we are root.
db_account() {
    if ! is_root; then
        id -un
    elif id postgres >/dev/null 2>&1; then
        echo postgres
    else
        echo nobody
    fi
}

# Runs a command as that account, from a folder that it may read.
as_db_account() {
    if is_root; then
        (cd / && runuser -u "$(db_account)" -- "$@")
    else
        "$@"
    fi
}

# with_lock NAME FOLDER COMMAND…: one ./dev at a time does COMMAND. The lock is held on descriptor 9; a command that
# leaves a daemon behind must close it (9>&-), or the daemon would keep the lock.
with_lock() {
    local name=$1 folder=$2
    shift 2
    mkdir -p "$folder"
    (
        if ! flock --nonblock 9; then
            say "Waiting for another ./dev that works on the $name …"
            flock 9
        fi
        "$@"
    ) 9>"$folder/.$name.lock"
}

# When a process began, in ticks since boot, and its state (Z: a zombie); empty when there is none.
start_time() { sed -E 's/^.*\) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20 || true; }
process_state() { sed -E 's/^.*\) (.).*/\1/' "/proc/$1/stat" 2>/dev/null || true; }

urlencode() {
    local text=$1 out='' char i
    local LC_ALL=C
    for ((i = 0; i < ${#text}; i++)); do
        char=${text:i:1}
        case $char in
            [a-zA-Z0-9._~-]) out+=$char ;;
            *) out+=$(printf '%%%02X' "'$char") ;;
        esac
    done
    printf '%s' "$out"
}
