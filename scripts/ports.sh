# shellcheck shell=bash
# Who listens on a port, read from /proc, so that no other program is needed. Sourced by ./dev.

# Prints "inode uid" of the sockets that listen on a TCP port.
port_listeners() {
    local hex
    hex=$(printf '%04X' "$1")
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        awk -v hex="$hex" '$4 == "0A" && substr($2, length($2) - 3) == hex { print $10, $8 }'
}

# Says in words which process listens on a port; nothing when it is free.
port_owner() {
    local inode uid link pid
    while read -r inode uid; do
        for link in /proc/[0-9]*/fd/*; do
            [ "$(readlink "$link" 2>/dev/null)" = "socket:[$inode]" ] || continue
            pid=${link#/proc/}
            pid=${pid%%/*}
            echo "process $pid ($(tr '\0' ' ' <"/proc/$pid/cmdline" | cut -c1-80 | sed 's/ *$//'))"
            return
        done
        echo "a process of the user $(getent passwd "$uid" | cut -d: -f1 || echo "$uid")"
        return
    done < <(port_listeners "$1")
}

need_free_port() {
    local port=$1 purpose=$2 variable=$3 owner
    owner=$(port_owner "$port")
    [ -z "$owner" ] || die "port $port, meant for $purpose, is taken by $owner" "Choose another one: $variable=$((port + 10000)) ./dev up"
}
