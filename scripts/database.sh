# shellcheck shell=bash
# The database for development and the demo. Sourced by ./dev.
#
# Found in this order: DATABASE_URL; a PostgreSQL on the machine that has TimescaleDB (its programs run a cluster of our
# own, the machine's clusters stay untouched); a private copy of both; Docker. Our cluster listens on a Unix socket in
# its own folder only, so two checkouts never collide and nothing is reachable from outside.

DB_OLDEST_TIMESCALE=2.19
DB_CONTAINER=forewarn-db-$(printf '%s' "$ROOT" | sha256sum | cut -c1-8)
DB_IMAGE=timescale/timescaledb:2.19.3-pg17

db_command() {
    local url
    case "${1:-}" in
        url) db_url ;;
        start)
            url=$(db_url)
            say "The database answers at $url"
            ;;
        stop) db_stop ;;
        status) db_status ;;
        psql)
            shift
            url=$(db_url)
            exec "$(db_psql)" "$url" "$@"
            ;;
        *)
            say "usage: ./dev db start|stop|status|url|psql [arguments of psql]"
            exit 2
            ;;
    esac
}

# Prints the address of a database that answers, starting it first if need be.
db_url() {
    if [ -n "${DATABASE_URL:-}" ]; then
        db_check_given
        echo "$DATABASE_URL"
    elif db_answers; then
        db_own_url
    else
        with_lock database "$STATE" db_start
    fi
}

db_start() {
    if db_answers; then # another ./dev was faster
        db_own_url
        return
    fi
    local bin
    bin=$(db_programs)
    case $bin in
        docker) db_docker_start ;;
        /*)
            db_cluster_start "$bin"
            db_own_url
            ;;
        *) return 1 ;;
    esac
}

# Which programs run the cluster: a folder, or the word "docker". Data stay with the programs that made them, because a
# cluster opens only under its own major version and a TimescaleDB no older than its own.
db_programs() {
    local found major='' obstacle
    if as_db_account test -s "$DB_DATA/PG_VERSION"; then
        found=$(cat "$STATE/db.programs" 2>/dev/null || true)
        if [ -x "$found/postgres" ]; then
            echo "$found"
            return
        fi
        major=$(as_db_account cat "$DB_DATA/PG_VERSION")
    fi
    if found=$(db_local_programs "$major"); then
        echo "$found"
    elif [ "${major:-$PRIVATE_MAJOR}" = "$PRIVATE_MAJOR" ] && obstacle=$(private_postgres_obstacle); then
        private_postgres_bin
    elif [ -z "$major" ] && db_docker_runs; then
        echo docker
    elif [ -n "$major" ]; then
        die "the data in $DB_DATA belong to PostgreSQL $major with TimescaleDB, which is gone from this machine" \
            "Install it again, or delete the data with ./dev reset."
    else
        die "no TimescaleDB to work with" \
            "No PostgreSQL 15 to 17 here has the extension timescaledb $DB_OLDEST_TIMESCALE or newer," \
            "a private copy is not possible: ${obstacle:-unknown reason}," \
            "and no Docker engine answers. Choose one:" \
            "  - DATABASE_URL=postgres://user:password@host/database ./dev … (superuser, TimescaleDB installed)" \
            "  - install PostgreSQL and TimescaleDB on this machine" \
            "  - start Docker"
    fi
}

# A PostgreSQL on this machine that can load a recent enough TimescaleDB. Argument: the major version asked for, if any.
db_local_programs() {
    local wanted=$1 bin major share version
    for bin in /usr/lib/postgresql/{17,16,15}/bin /usr/pgsql-{17,16,15}/bin /usr/local/pgsql/bin "$(pg_config --bindir 2>/dev/null)"; do
        if ! [ -x "$bin/postgres" ] || ! [ -x "$bin/initdb" ] || ! [ -x "$bin/psql" ]; then continue; fi
        major=$(db_major "$bin")
        case $major in 15 | 16 | 17) ;; *) continue ;; esac
        [ -z "$wanted" ] || [ "$wanted" = "$major" ] || continue
        share=$("$bin/pg_config" --sharedir 2>/dev/null || echo "/usr/share/postgresql/$major")
        version=$(sed -nE "s/^default_version *= *'([^']+)'.*/\1/p" "$share/extension/timescaledb.control" 2>/dev/null)
        [ -n "$version" ] || continue
        [ "$(printf '%s\n' "$DB_OLDEST_TIMESCALE" "$version" | sort -V | head -n 1)" = "$DB_OLDEST_TIMESCALE" ] || continue
        echo "$bin"
        return
    done
    return 1
}

# The form that both libpq and sqlx read. The role is a superuser of this cluster.
db_own_url() { echo "postgres://forewarn@localhost/${1:-forewarn}?host=$(urlencode "$(db_socket_folder)")"; }

db_other_connections() {
    db_query "$(cat "$STATE/db.programs")" forewarn \
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
}

db_answers() {
    local bin
    bin=$(cat "$STATE/db.programs" 2>/dev/null) && [ -S "$(db_socket_folder)/.s.PGSQL.5432" ] &&
        [ "$(db_query "$bin" forewarn 'SELECT 1' 2>/dev/null)" = 1 ]
}

# The same server, another database.
db_url_named() {
    local url=$1 name=$2 query=''
    case $url in *\?*) query=?${url#*\?} ;; esac
    url=${url%%\?*}
    echo "${url%/*}/$name$query"
}

# psql for a given address: the cluster's own, or the machine's.
db_psql() {
    local bin
    bin=$(cat "$STATE/db.programs" 2>/dev/null || true)
    if [ -x "$bin/psql" ]; then echo "$bin/psql"; elif have psql; then command -v psql; else die "psql is missing" "Install the package postgresql-client."; fi
}

db_check_given() {
    local psql answer
    psql=$(db_psql 2>/dev/null) || { warn "DATABASE_URL is used unchecked, because psql is not installed"; return; }
    answer=$("$psql" "$DATABASE_URL" -XAtc "SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'" 2>&1) ||
        die "the database that DATABASE_URL names does not answer" "$answer"
    [ -n "$answer" ] || die "the server that DATABASE_URL names does not offer the extension timescaledb"
}

db_stop() {
    if [ -n "${DATABASE_URL:-}" ]; then
        say "DATABASE_URL names a database that is not ours to stop."
    else
        with_lock database "$STATE" db_stop_locked
    fi
}

db_stop_locked() {
    local bin
    bin=$(cat "$STATE/db.programs" 2>/dev/null || true)
    if [ -x "$bin/pg_ctl" ] && as_db_account "$bin/pg_ctl" status --pgdata="$DB_DATA" >/dev/null 2>&1; then
        step "Stopping PostgreSQL"
        as_db_account "$bin/pg_ctl" stop --silent --wait --mode=fast --timeout=120 --pgdata="$DB_DATA" >&2 9>&-
    elif db_docker_runs && [ -n "$(docker ps -q --filter "name=^$DB_CONTAINER\$")" ]; then
        step "Stopping the container $DB_CONTAINER"
        docker stop "$DB_CONTAINER" >/dev/null
    else
        say "The database is not running."
    fi
}

# Deletes the cluster with all its data, unless somebody is connected to it.
db_delete() {
    local others
    if db_answers; then
        others=$(db_other_connections)
        [ "$others" -eq 0 ] || die "$others connections still use the database" "End them first (./dev test, ./dev db psql, …)."
        db_stop
    fi
    rm -rf "$DB_FOLDER" "$(db_socket_folder)" "$STATE/db.programs"
    if db_docker_runs; then
        docker rm --force "$DB_CONTAINER" >/dev/null 2>&1 || true
        docker volume rm "$DB_CONTAINER" >/dev/null 2>&1 || true
    fi
}

db_status() {
    if [ -n "${DATABASE_URL:-}" ]; then
        db_check_given
        echo "given by DATABASE_URL, answers"
    elif db_answers; then
        echo "running: $("$(db_psql)" "$(db_own_url)" -XAtc "SELECT format('PostgreSQL %s, TimescaleDB %s', current_setting('server_version'), default_version) FROM pg_available_extensions WHERE name = 'timescaledb'")"
        echo "data: $DB_DATA, log: $DB_LOG"
    else
        echo "stopped"
        return 3
    fi
}

db_docker_runs() { have docker && docker info >/dev/null 2>&1; }

db_docker_start() {
    step "Starting TimescaleDB in Docker ($DB_CONTAINER)"
    if [ -n "$(docker ps -aq --filter "name=^$DB_CONTAINER\$")" ]; then
        docker start "$DB_CONTAINER" >/dev/null
    else
        docker run --detach --name "$DB_CONTAINER" --publish 127.0.0.1::5432 --volume "$DB_CONTAINER:/var/lib/postgresql/data" \
            --env POSTGRES_USER=forewarn --env POSTGRES_PASSWORD=forewarn --env POSTGRES_DB=forewarn --env TIMESCALEDB_TELEMETRY=off \
            "$DB_IMAGE" -c timescaledb.max_background_workers=0 -c max_connections=200 -c max_locks_per_transaction=256 >&2
    fi
    local waited=0
    until docker exec "$DB_CONTAINER" pg_isready --quiet --host=127.0.0.1 --username=forewarn; do
        waited=$((waited + 1))
        [ "$waited" -lt 240 ] || die "the container does not become ready; see: docker logs $DB_CONTAINER"
        sleep 0.5
    done
    echo "postgres://forewarn:forewarn@$(docker port "$DB_CONTAINER" 5432/tcp | head -n 1)/forewarn"
}
