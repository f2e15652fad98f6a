# shellcheck shell=bash
# The running system: the database, `forewarn serve`, and one `forewarn-edge` per gateway of the demo. Sourced by ./dev.
#
# They are stopped in order: the agents, which produce; the services, which commit what arrived; the database.

DEMO=$STATE/demo
START_SECONDS=120

stack_up() {
    local detach='' started was_running='' fetching=''
    case "${1:-}" in
        '') ;;
        -d | --detach) detach=yes ;;
        *) usage_error "unknown option of up: $1" ;;
    esac
    started=$(seconds_now)
    mkdir -p "$RUN" "$LOGS" "$DEMO"
    exec 8>"$STATE/.stack.lock"
    flock --nonblock 8 || die "another ./dev is starting or stopping Forewarn here" "Wait for it, or see ./dev status."
    if is_alive serve; then was_running=yes; else trap 'stack_failed' EXIT; fi
    trap 'exit 130' INT TERM HUP

    need_rust
    build_pages 8>&-
    # The database is fetched while cargo compiles. What goes wrong is said again by the step that needs it.
    if [ -z "${DATABASE_URL:-}" ] && ! db_answers; then
        db_programs >/dev/null 8>&- &
        fetching=$!
    fi
    step "Building the executables (the first time takes minutes; cargo shows how far it is)"
    build_executables 8>&-
    [ -z "$fetching" ] || wait "$fetching" || true
    BIN=$TARGET/release
    if [ -n "$was_running" ]; then stack_read_ports; else stack_choose_ports; fi
    rm -f "$RUN/stopping"
    stack_database
    step "Bringing the schema up to date"
    "$BIN/forewarn" migrate </dev/null >&2 8>&-
    step "Preparing the demo plant"
    "$BIN/forewarn" demo prepare --dir "$DEMO" --uplink "mqtt://127.0.0.1:$MQTT_PORT" --data "$ROOT/demo/data" </dev/null >&2 8>&-

    step "Starting"
    stack_secrets
    is_alive serve || spawn serve "$BIN/forewarn" serve
    stack_await_ready
    start_agents
    exec 8>&-
    trap - EXIT
    stack_welcome "$(($(seconds_now) - started))"
    if [ -n "$detach$was_running" ]; then
        say "  Stop it with ./dev down"
    else
        say "  Ctrl-C stops it"
        stack_watch
    fi
}

# A start that does not get through leaves nothing running. The lock is held here.
stack_failed() {
    local status=$?
    trap - EXIT INT TERM HUP
    [ "$status" -ne 0 ] || return 0
    stack_stop_processes
    stack_stop_database
    exit "$status"
}

stack_choose_ports() {
    HTTP_PORT=${FOREWARN_HTTP_PORT:-8080}
    MQTT_PORT=${FOREWARN_MQTT_PORT:-1883}
    need_free_port "$HTTP_PORT" "the pages" FOREWARN_HTTP_PORT
    need_free_port "$MQTT_PORT" "the gateways (MQTT)" FOREWARN_MQTT_PORT
    echo "$HTTP_PORT $MQTT_PORT" >"$RUN/ports"
    stack_export_ports
}

stack_read_ports() {
    read -r HTTP_PORT MQTT_PORT <"$RUN/ports"
    stack_export_ports
}

stack_export_ports() {
    export FOREWARN__API__LISTEN=127.0.0.1:$HTTP_PORT FOREWARN__INGEST__LISTEN=127.0.0.1:$MQTT_PORT
}

# Remembers whether the database was started for this stack, because only then it is stopped with it.
stack_database() {
    step "Database"
    local url
    if [ -n "${DATABASE_URL:-}" ] || db_answers; then
        url=$(db_url)
    else
        url=$(db_url 8>&-)
        touch "$RUN/database-started"
    fi
    export DATABASE_URL=$url
    (umask 077 && echo "$url" >"$RUN/database-url")
}

# What sign-ins are signed with, and what webhooks' secrets are encrypted with: kept over restarts.
stack_secrets() {
    kept_secret FOREWARN__API__JWT_SECRET jwt.secret
    kept_secret FOREWARN__API__OUTBOUND__SEALING_KEYS sealing.keys
}

# kept_secret VARIABLE FILE: exports VARIABLE_FILE, unless the environment says something itself.
kept_secret() {
    local file=$STATE/$2 named=${1}_FILE
    [ -z "${!1:-}${!named:-}" ] || return 0
    [ -s "$file" ] || (umask 077 && head -c 48 /dev/urandom | base64 -w 0 >"$file")
    export "$named=$file"
}

start_agents() {
    local config name
    for config in "$DEMO"/agents/*.toml; do
        [ -e "$config" ] || continue
        name=agent-$(basename "$config" .toml)
        is_alive "$name" || spawn "$name" "$BIN/forewarn-edge" run --config "$config"
    done
}

stack_await_ready() {
    local deadline=$((SECONDS + START_SECONDS))
    until http_ready; do
        is_alive serve || { tail -n 20 "$LOGS/serve.log" >&2; die "forewarn serve ended while starting" "Its log: $LOGS/serve.log"; }
        [ "$SECONDS" -lt "$deadline" ] || die "forewarn serve is not ready after $START_SECONDS s" "Its log: $LOGS/serve.log"
        sleep 0.1
    done
}

json_text() { sed -nE "s|.*\"$1\" *: *\"([^\"]*)\".*|\1|p" "$2" | head -n 1; }

# The story of one machine, told by the running system's public API.
stack_demo() {
    [ "${1:-}" = story ] || usage_error "unknown demo: ${1:-}"
    shift
    is_alive serve || die "Forewarn is not running" "Start it with ./dev up --detach."
    [ -r "$DEMO/signin.json" ] || die "the demo plant is not prepared" "Start it with ./dev up --detach."
    stack_read_ports
    "$TARGET/release/forewarn" demo story --dir "$DEMO" --url "http://127.0.0.1:$HTTP_PORT" "$@"
}

stack_welcome() {
    say ''
    say "  ${BOLD}Forewarn is running${PLAIN} (ready in $1 s)"
    say ''
    say "  Pages     http://127.0.0.1:$HTTP_PORT/"
    if [ -r "$DEMO/signin.json" ]; then
        say "  Sign in   $(json_text email "$DEMO/signin.json")   password: $(json_text password "$DEMO/signin.json")"
    fi
    say "  Gateways  mqtt://127.0.0.1:$MQTT_PORT"
    say "  Logs      ./dev logs -f   ($LOGS)"
    say ''
}

# In the foreground: stay until Ctrl-C, and start again what died meanwhile.
stack_watch() {
    local name restarts=0 config
    trap 'say ""; stack_down; exit 0' INT TERM HUP
    while [ ! -e "$RUN/stopping" ]; do
        for name in $(stack_names); do
            if is_alive "$name" || [ -e "$RUN/stopping" ]; then continue; fi
            restarts=$((restarts + 1))
            if [ "$restarts" -gt 20 ]; then
                say "Processes keep ending; the last one was $name:"
                tail -n 20 "$LOGS/$name.log" >&2 || true
                stack_down
                exit 1
            fi
            warn "$name ended unexpectedly and is started again; its log is $LOGS/$name.log.1"
            config=$DEMO/agents/${name#agent-}.toml
            if [ "$name" = serve ]; then
                spawn serve "$BIN/forewarn" serve
            elif [ -e "$config" ]; then
                spawn "$name" "$BIN/forewarn-edge" run --config "$config"
            else
                rm -f "$RUN/$name.pid"
            fi
        done
        sleep 1 &
        wait $! || true
    done
    # Another ./dev stops the processes; leave when it has.
    while [ -n "$(stack_names)" ]; do sleep 0.2; done
}

stack_down() {
    mkdir -p "$RUN"
    (
        flock --nonblock 8 || die "another ./dev is starting or stopping Forewarn here" "Wait for it, or see ./dev status."
        if [ -z "$(stack_names)" ] && [ ! -e "$RUN/database-started" ]; then
            say "Forewarn is not running."
            exit 0
        fi
        stack_stop_processes
        stack_stop_database
        say "Forewarn is stopped; its data stay for the next ./dev up."
    ) 8>"$STATE/.stack.lock"
}

stack_stop_processes() {
    touch "$RUN/stopping"
    local name agents=()
    for name in $(stack_names); do [ "$name" = serve ] || agents+=("$name"); done
    if [ "${#agents[@]}" -gt 0 ]; then
        step "Stopping ${#agents[@]} edge agents"
        stop_and_wait "${agents[@]}"
    fi
    if [ -e "$RUN/serve.pid" ]; then
        step "Stopping forewarn serve"
        stop_and_wait serve
    fi
}

stack_stop_database() {
    [ -e "$RUN/database-started" ] || return 0
    rm -f "$RUN/database-started"
    local others
    others=$(db_other_connections 2>/dev/null || echo 0)
    if [ "$others" -gt 0 ]; then
        say "The database keeps running: $others other connections use it. ./dev db stop stops it."
    else
        (unset DATABASE_URL && db_stop 8>&-)
    fi
}

stack_status() {
    BIN=$TARGET/release
    if ! is_alive serve; then
        if [ "${1:-}" = --json ]; then echo '{"running":false}'; else say "Forewarn is not running; the database is $(db_status | head -n 1)"; fi
        return 3
    fi
    stack_read_ports
    if [ "${1:-}" != --json ]; then
        local name agents=0
        for name in $(stack_names); do
            if ! is_alive "$name"; then warn "$name has ended; ./dev up starts it again"; elif [ "$name" != serve ]; then agents=$((agents + 1)); fi
        done
        say "Forewarn runs at http://127.0.0.1:$HTTP_PORT/ with $agents edge agents; the database is $(db_status | head -n 1)"
    fi
    DATABASE_URL=$(cat "$RUN/database-url") "$BIN/forewarn" status "$@"
}

# A line for a first device of one's own: the demo's first gateway with its credential filled in.
stack_gateway() {
    local name=meridian/alma-1 secret
    [ -r "$DEMO/secrets.json" ] || die "the demo plant is not prepared yet" "Run ./dev up first."
    secret=$(json_text "$name" "$DEMO/secrets.json")
    [ ! -r "$RUN/ports" ] || stack_read_ports
    cat <<TEXT
mosquitto_pub -h 127.0.0.1 -p ${MQTT_PORT:-1883} -q 1 -u $name -P $secret \\
    -t fw/v1/me/json/my-first-device -m '{"temperature": 61.4, "running": true}'
TEXT
}

stack_logs() {
    local files=("$LOGS"/*.log)
    [ -e "${files[0]}" ] || die "there are no logs yet; ./dev up writes them"
    exec tail -n 20 "$@" "${files[@]}"
}

# Deletes everything that Forewarn keeps for this checkout: the database cluster, the demo's spools, the logs.
stack_reset() {
    case "${1:-}" in '' | --yes) ;; *) usage_error "unknown option of reset: $1" ;; esac
    [ -z "${DATABASE_URL:-}" ] || die "DATABASE_URL names a database that is not ours to delete" "Drop and create it yourself."
    if [ "${1:-}" != --yes ]; then
        [ -t 0 ] || die "reset deletes all data and asks first" "In scripts, say ./dev reset --yes"
        local answer=''
        read -r -p "Delete all data below $STATE? [y/N] " answer || true
        case $answer in y | Y | yes) ;; *) say "Nothing was deleted."; return ;; esac
    fi
    [ -z "$(stack_names)" ] || stack_down
    db_delete
    rm -rf "$DEMO" "$LOGS" "$RUN" "$STATE/jwt.secret"
    say "Deleted. ./dev up starts afresh."
}
