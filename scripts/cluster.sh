# shellcheck shell=bash
# Our own PostgreSQL cluster: creating, setting and starting it. Sourced by ./dev; which programs run it and everything
# else about the database is in database.sh.

DB_FOLDER=$STATE/db
DB_DATA=$DB_FOLDER/data
DB_LOG=$DB_FOLDER/server.log

db_cluster_start() {
    local bin=$1
    [ "$(cat "$STATE/db.programs" 2>/dev/null)" = "$bin" ] || echo "$bin" >"$STATE/db.programs"
    db_make_folder
    [ -e /usr/share/zoneinfo/UTC ] || warn "time zones are missing on this machine: install the package tzdata"
    if ! as_db_account test -s "$DB_DATA/PG_VERSION"; then
        step "Creating a database cluster in $DB_DATA"
        local locale=(--locale=C.UTF-8)
        [ "$(db_major "$bin")" -lt 17 ] || locale=(--locale=C --locale-provider=builtin --builtin-locale=C.UTF-8)
        as_db_account rm -rf "$DB_DATA.new"
        # Trust on the socket is safe: only this account (and root) can enter its folder.
        as_db_account "$bin/initdb" --pgdata="$DB_DATA.new" --username=forewarn --auth=trust --encoding=UTF8 \
            "${locale[@]}" --no-instructions >"$STATE/initdb.log" 2>&1 9>&- ||
            { cat "$STATE/initdb.log" >&2; die "initdb failed"; }
        as_db_account mv -T "$DB_DATA.new" "$DB_DATA"
    fi
    db_settings | as_db_account tee "$DB_DATA/forewarn.conf" >/dev/null
    as_db_account grep -q "^include 'forewarn.conf'" "$DB_DATA/postgresql.conf" ||
        echo "include 'forewarn.conf'" | as_db_account tee -a "$DB_DATA/postgresql.conf" >/dev/null
    db_await_remains
    step "Starting PostgreSQL $(db_major "$bin")"
    if ! as_db_account "$bin/pg_ctl" start --silent --wait --timeout=120 --pgdata="$DB_DATA" --log="$DB_LOG" >&2 9>&-; then
        as_db_account tail -n 20 "$DB_LOG" >&2 || true
        die "PostgreSQL did not start; its log is $DB_LOG"
    fi
    [ -n "$(db_query "$bin" postgres "SELECT 1 FROM pg_database WHERE datname = 'forewarn'")" ] ||
        db_query "$bin" postgres 'CREATE DATABASE forewarn' >&2
}

# A server that was killed may remain as a zombie until its parent notices, and PostgreSQL takes it for running. Where
# process 1 never notices (some containers), its id file goes; the server's own processes have long ended by then.
db_await_remains() {
    local pid tries
    pid=$(as_db_account head -n 1 "$DB_DATA/postmaster.pid" 2>/dev/null || true)
    for ((tries = 0; tries < 100; tries++)); do
        [ "$(process_state "${pid:-none}")" = Z ] || return 0
        sleep 0.1
    done
    as_db_account rm -f "$DB_DATA/postmaster.pid"
}

db_make_folder() {
    mkdir -p "$DB_FOLDER" "$(db_socket_folder)"
    if is_root; then chown "$(db_account):" "$DB_FOLDER" "$(db_socket_folder)"; fi
    chmod 700 "$DB_FOLDER" "$(db_socket_folder)"
    as_db_account test -w "$DB_FOLDER" ||
        die "the account $(db_account), which runs PostgreSQL for root, cannot reach $DB_FOLDER" "Set FOREWARN_STATE to a folder that it can enter."
}

# The socket lies beside the data, unless its path would exceed the 107 bytes that the system allows.
db_socket_folder() {
    local LC_ALL=C
    if [ $((${#DB_FOLDER} + 14)) -le 100 ]; then
        echo "$DB_FOLDER"
    else
        echo "/tmp/forewarn-$(id -u)-$(printf '%s' "$DB_FOLDER" | sha256sum | cut -c1-12)"
    fi
}

# Megabytes for PostgreSQL's own cache: a quarter of what this machine or container has, as its manual advises to begin with,
# and at most 4 GB. With less, a question about a year of a large plant fetches most of its pages from the system each time.
db_cache_mb() {
    local kib limit
    kib=$(awk '/^MemTotal:/ { print $2 }' /proc/meminfo 2>/dev/null || true)
    limit=$(cat /sys/fs/cgroup/memory.max 2>/dev/null || true)
    if [[ $limit =~ ^[0-9]+$ ]] && [ $((limit / 1024)) -lt "${kib:-0}" ]; then kib=$((limit / 1024)); fi
    local mb=$((${kib:-0} / 1024 / 4))
    if [ "$mb" -lt 256 ]; then mb=256; fi
    if [ "$mb" -gt 4096 ]; then mb=4096; fi
    echo "$mb"
}

db_settings() {
    local cache_mb
    cache_mb=$(db_cache_mb)
    cat <<CONF
# Written by ./dev at every start; change it there (scripts/cluster.sh).
listen_addresses = ''
unix_socket_directories = '$(db_socket_folder)'
unix_socket_permissions = 0700
port = 5432
shared_preload_libraries = 'timescaledb'
# Policies belong to the Community edition, and their scheduler would hold connections to every database, which
# forbids cloning a template database. Forewarn's own retention and roll-ups do not need it.
timescaledb.max_background_workers = 0
timescaledb.telemetry_level = off
# For many short-lived test databases, too.
max_connections = 200
max_locks_per_transaction = 256
max_worker_processes = 16
shared_buffers = ${cache_mb}MB
effective_cache_size = $((2 * cache_mb))MB
work_mem = 16MB
maintenance_work_mem = 128MB
wal_compression = on
max_wal_size = 2GB
checkpoint_timeout = 15min
synchronous_commit = on
random_page_cost = 1.1
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %d '
log_checkpoints = off
CONF
}

db_major() { "$1/postgres" --version | sed -nE 's/.* ([0-9]+)[.].*/\1/p'; }
db_query() { "$1/psql" "$(db_own_url "$2")" -XAtq --set=ON_ERROR_STOP=1 -c "$3"; }
