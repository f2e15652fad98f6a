# shellcheck shell=bash
# Processes of the running system. Sourced by ./dev.
#
# Each process has its own session, so that Ctrl-C reaches only ./dev, which then stops them in order. A process is known
# by a file `run/NAME.pid` with its id and its start time, because ids are used again.

RUN=$STATE/run
LOGS=$STATE/log
STOP_SECONDS=40

# spawn NAME COMMAND…: starts a process in a session of its own and notes it. The log of the run before is kept as .1.
spawn() {
    local name=$1 log=$LOGS/$1.log
    shift
    [ ! -e "$log" ] || mv "$log" "$log.1"
    setsid "$@" </dev/null >"$log" 2>&1 8>&- &
    echo "$! $(start_time $!)" >"$RUN/$name.pid"
    disown $!
}

is_alive() {
    local pid started
    read -r pid started 2>/dev/null <"$RUN/$1.pid" || return 1
    [ -n "$started" ] && [ "$(start_time "$pid")" = "$started" ] && [ "$(process_state "$pid")" != Z ]
}

stack_names() {
    local file
    for file in "$RUN"/*.pid; do
        [ ! -e "$file" ] || basename "$file" .pid
    done
}

# One request over the shell's own sockets, so that curl is not needed.
http_ready() {
    local answer=''
    { exec 7<>"/dev/tcp/127.0.0.1/$HTTP_PORT"; } 2>/dev/null || return 1
    printf 'GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' >&7 2>/dev/null
    read -r -t 5 answer <&7 || true
    timeout 5 cat <&7 >/dev/null || true # to the end: closing early would look like an error to the server
    exec 7>&-
    [[ $answer == *' 200 '* ]]
}

# Asks all named processes to end, then waits for each; one that does not end in time is killed, and that is said.
stop_and_wait() {
    local name pid _ deadline=$((SECONDS + STOP_SECONDS))
    for name in "$@"; do
        if is_alive "$name"; then
            read -r pid _ <"$RUN/$name.pid"
            kill -TERM "$pid" 2>/dev/null || true
        fi
    done
    for name in "$@"; do
        while is_alive "$name"; do
            if [ "$SECONDS" -ge "$deadline" ]; then
                read -r pid _ <"$RUN/$name.pid"
                warn "$name did not end within $STOP_SECONDS s and is killed; its log is $LOGS/$name.log"
                kill -KILL "$pid" 2>/dev/null || true
            fi
            sleep 0.1
        done
        rm -f "$RUN/$name.pid"
    done
}
