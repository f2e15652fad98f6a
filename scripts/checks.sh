# shellcheck shell=bash
# Tests, lints and benchmarks. Sourced by ./dev.

# run_tests [--clippy] [FILTER…]: everything; with filters, only the Rust tests whose names contain one; "browser" means the
# pages' tests. With --clippy the build goes through clippy, and what it finds is a failure.
run_tests() {
    local rust=yes browser=yes filters=() named='' word url log failed=''
    for word in "$@"; do
        case $word in
            --clippy) clippy_while_building ;;
            browser) rust='' named=yes ;;
            *) filters+=("$word") ;;
        esac
    done
    if [ "${#filters[@]}" -gt 0 ]; then rust=yes browser=$named; fi
    web_has_script test:browser || browser=''

    need_rust
    [ -z "$browser" ] || need_chromium
    url=$(db_url)
    build_pages
    log=$(mktemp)
    # shellcheck disable=SC2064  # the name is meant as it is now
    trap "rm -f '$log'; kill \${SHOWN_MARK:-} 2>/dev/null || true" EXIT

    # All targets in one go: tests that kill real processes need both executables, and building those separately would
    # choose other features for the dependencies and compile them twice.
    step "Building (dev profile)"
    shown "$log" cargo build --locked --workspace --all-targets
    if grep -qE '^(warning|error): .*\(.*\) generated [0-9]+ warning' "$log"; then
        warn "the build has warnings"
        [ -z "${RUSTC_WORKSPACE_WRAPPER:-}" ] || failed=yes
    fi
    export DATABASE_URL=$url FOREWARN_BIN_DIR=$TARGET/debug
    if [ -n "$rust" ]; then
        [ "${#filters[@]}" -gt 0 ] || check_types || failed=yes
        step "Rust tests"
        shown "$log" cargo test --locked --workspace --no-fail-fast -- "${filters[@]}" || failed=yes
    fi
    if [ -n "$rust" ] && [ "${#filters[@]}" -eq 0 ] && web_has_script test; then
        step "Unit tests of the pages"
        NO_COLOR=1 shown "$log" npm --prefix "$WEB" run --silent test || failed=yes
    fi
    if [ -n "$browser" ]; then
        step "Browser tests ($CHROMIUM)"
        shown "$log" browser_tests || failed=yes
    fi
    summarise "$log" "$failed"
}

# shown LOG COMMAND…: runs it in the checkout; what it prints is shown and kept in LOG. Not through a pipe: a process that a
# failed test leaves behind would hold the pipe open, and this would wait for it for ever.
shown() {
    local log=$1 code=0 first follower
    shift
    first=$(($(wc -l <"$log") + 1))
    # Ends the follower, once it has shown the rest.
    sleep infinity &
    SHOWN_MARK=$!
    tail -n +"$first" -s 0.2 -f --pid="$SHOWN_MARK" "$log" &
    follower=$!
    (cd "$ROOT" && "$@") </dev/null >>"$log" 2>&1 || code=$?
    kill "$SHOWN_MARK"
    wait "$SHOWN_MARK" "$follower" 2>/dev/null || true
    return "$code"
}

# One build instead of two: clippy's driver is a compiler too. `cargo clippy` only checks, so that all dependencies would be
# compiled once for it and once for the tests.
clippy_while_building() {
    have clippy-driver || die "clippy is missing" "Install it: rustup component add clippy"
    export RUSTC_WORKSPACE_WRAPPER=clippy-driver
}

# The pages in a real browser, against the demo plant in a database, on ports and in a folder of its own. A subshell: its
# processes and its database go with it, however it ends.
browser_tests() (
    local url name dir http mqtt config started
    url=$DATABASE_URL name=fw_browser_$$ dir=$(mktemp -d) pids=()
    http=$(unused_port 18080) mqtt=$(unused_port 18830)
    # shellcheck disable=SC2317  # called by the trap
    cleanup() {
        [ "${#pids[@]}" -eq 0 ] || { kill "${pids[@]}" && wait "${pids[@]}"; } 2>/dev/null || true
        "$(db_psql)" "$url" -Xqc "DROP DATABASE IF EXISTS $name WITH (FORCE)" >&2
        rm -rf "$dir"
    }
    trap cleanup EXIT
    "$(db_psql)" "$url" -Xqc "CREATE DATABASE $name" >&2
    DATABASE_URL=$(db_url_named "$url" "$name")
    export DATABASE_URL FOREWARN__API__LISTEN=127.0.0.1:$http FOREWARN__INGEST__LISTEN=127.0.0.1:$mqtt
    # A quicker round, and sign-ins of this waiting beside those of the tests.
    export FOREWARN__ANALYTICS__INTERVAL_S=10 FOREWARN__API__SIGNINS_PER_MINUTE=1000
    "$FOREWARN_BIN_DIR/forewarn" migrate
    "$FOREWARN_BIN_DIR/forewarn" demo prepare --dir "$dir" --uplink "mqtt://127.0.0.1:$mqtt" --data "$ROOT/demo/data"
    "$FOREWARN_BIN_DIR/forewarn" serve >"$dir/serve.log" 2>&1 </dev/null &
    pids+=($!)
    for config in "$dir"/agents/*.toml; do
        "$FOREWARN_BIN_DIR/forewarn-edge" run --config "$config" >"$dir/$(basename "$config").log" 2>&1 </dev/null &
        pids+=($!)
    done
    # Until the tenant that a sign-in opens has what the tests look at: an assessed asset, an alarm, a ticket.
    started=$SECONDS
    until demo_shows "http://127.0.0.1:$http" "$dir/signin.json"; do
        if [ $((SECONDS - started)) -gt 300 ]; then
            tail -n 20 "$dir"/*.log
            die "the demo shows no alarm and ticket after 300 s"
        fi
        sleep 3
    done
    say "The demo is ready after $((SECONDS - started)) s"
    NO_COLOR=1 FOREWARN_URL=http://127.0.0.1:$http FOREWARN_EMAIL=$(json_text email "$dir/signin.json") \
        FOREWARN_PASSWORD=$(json_text password "$dir/signin.json") \
        npm --prefix "$WEB" run --silent test:browser </dev/null || { tail -n 20 "$dir/serve.log"; exit 1; }
)

# Whether the demo's own tenant has assessed assets, alarms and tickets by now.
demo_shows() {
    FOREWARN_URL=$1 FOREWARN_EMAIL=$(json_text email "$2") FOREWARN_PASSWORD=$(json_text password "$2") node --input-type=module -e '
        const { FOREWARN_URL: base, FOREWARN_EMAIL: email, FOREWARN_PASSWORD: password } = process.env;
        const ask = async (path, init) => {
            const reply = await fetch(`${base}/v1/${path}`, init);
            if (!reply.ok) process.exit(1);
            return reply.json();
        };
        const body = JSON.stringify({ email, password });
        const { token } = await ask("sign-in", { method: "POST", headers: { "content-type": "application/json" }, body });
        for (const path of ["assets?health_below=101", "alarms?state=all", "tickets"]) {
            const { data } = await ask(path, { headers: { authorization: `Bearer ${token}` } });
            if (data.length === 0) process.exit(1);
        }' 2>/dev/null
}

# The first port from the given one on that nobody listens on.
unused_port() {
    local port=$1
    while [ -n "$(port_listeners "$port")" ]; do port=$((port + 1)); done
    echo "$port"
}

# Adds up the result lines of cargo ("test result: ok. 12 passed; 0 failed; …"), of vitest ("Tests  1 failed | 11 passed")
# and of node's test runner ("ℹ pass 12", "ℹ fail 0").
summarise() {
    local log=$1 failed=$2 passed_count failed_count
    passed_count=$(count_results "$log" 's/^test result: .* ([0-9]+) passed;.*/\1/p' 's/^ *Tests .*[ |]([0-9]+) passed.*/\1/p' 's/^(ℹ|#) pass ([0-9]+).*/\2/p')
    failed_count=$(count_results "$log" 's/^test result: .* ([0-9]+) failed;.*/\1/p' 's/^ *Tests .*[ |]([0-9]+) failed.*/\1/p' 's/^(ℹ|#) fail ([0-9]+).*/\2/p')
    if [ -n "$failed" ] && [ "$failed_count" -eq 0 ]; then
        say "A step failed that is not a single test; its message stands above."
        failed_count=1
    fi
    echo "$passed_count passed, $failed_count failed"
    [ -z "$failed" ] && [ "$failed_count" -eq 0 ]
}

count_results() {
    local log=$1 pattern
    shift
    for pattern in "$@"; do sed -nE "$pattern" "$log"; done | awk '{ sum += $1 } END { print sum + 0 }'
}

check_types() {
    web_has_script typecheck || return 0
    pages_install
    step "Types of the pages"
    npm --prefix "$WEB" run --silent typecheck >&2 </dev/null
}

# run_lints [--no-clippy]: every check; says at the end which ones failed.
run_lints() {
    local failures=() clippy=yes
    [ "${1:-}" != --no-clippy ] || clippy=''
    need_rust
    build_pages
    step "Format"
    (cd "$ROOT" && cargo fmt --all --check >&2) || failures+=("format (cargo fmt --all mends it)")
    if [ -n "$clippy" ]; then
        step "Clippy"
        (cd "$ROOT" && cargo clippy --locked --workspace --all-targets -- -D warnings >&2 </dev/null) || failures+=(clippy)
    fi
    check_dependencies || failures+=("dependencies (deny.toml)")
    check_types || failures+=("types of the pages")
    check_dashboards || failures+=("dashboards")
    if have shellcheck; then
        step "Shell scripts"
        (cd "$ROOT" && shellcheck -x dev .ci/run) || failures+=("shell scripts")
    else
        say "Shell scripts not checked: shellcheck is not installed."
    fi
    if [ "${#failures[@]}" -gt 0 ]; then
        say ''
        printf 'failed: %s\n' "${failures[@]}" >&2
        return 1
    fi
    say "All lints pass."
}

# A dashboard must not show a metric that nothing writes. The suffixes of histograms are Prometheus' own.
check_dashboards() {
    local metric failed=''
    for metric in $(cd "$ROOT" && grep -ohE 'forewarn_[a-z_]+' deploy/grafana/dashboards/*.json | sort -u); do
        metric=${metric%_bucket} metric=${metric%_sum} metric=${metric%_count}
        (cd "$ROOT" && grep -rqE "\"$metric\"" --include='*.rs' ingest/src analytics/src api/src models/src src) ||
            { say "no code writes the metric $metric, which a dashboard shows"; failed=yes; }
    done
    [ -z "$failed" ]
}

check_dependencies() {
    if ! have cargo-deny; then
        say "Dependencies not checked: cargo-deny is missing (cargo install --locked cargo-deny)."
        return 0
    fi
    step "Licences, bans and sources of the dependencies"
    # Crates for other platforms too, which a build here never fetches.
    (cd "$ROOT" && cargo fetch --locked --quiet >&2) || return 1
    (cd "$ROOT" && cargo deny --offline --log-level error check --hide-inclusion-graph licenses bans sources >&2) || return 1
    step "Advisories"
    if (cd "$ROOT" && timeout 120 cargo deny --log-level off fetch db >/dev/null 2>&1 </dev/null); then
        (cd "$ROOT" && cargo deny --offline --log-level error check --hide-inclusion-graph advisories >&2) || return 1
    else
        warn "advisories not checked: database unreachable"
    fi
}

# run_bench NAME [ARGUMENT…]: in a database of its own, dropped afterwards. The last line on stdout is one JSON object.
run_bench() {
    [ "$#" -gt 0 ] || usage_error "bench needs the name of a benchmark"
    need_rust
    build_pages
    step "Building (release profile)"
    build_executables
    local url name
    url=$(db_url)
    name=fw_bench_$$
    BENCH_PSQL=$(db_psql) BENCH_SERVER=$url BENCH_NAME=$name
    "$BENCH_PSQL" "$url" -Xqc "CREATE DATABASE $name" >&2
    trap '"$BENCH_PSQL" "$BENCH_SERVER" -Xqc "DROP DATABASE IF EXISTS $BENCH_NAME WITH (FORCE)" >&2' EXIT
    trap 'exit 130' INT TERM
    DATABASE_URL=$(db_url_named "$url" "$name")
    export DATABASE_URL
    "$TARGET/release/forewarn" migrate >&2 </dev/null
    # What some of them need of the machine: open files for ten thousand connections, a foreign broker.
    ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
    PATH=$PATH:/usr/sbin
    case $1 in
        peers | foreign) have mosquitto || need_packages "mosquitto, a broker of others," mosquitto ;;
    esac
    step "Benchmark $*"
    "$TARGET/release/forewarn" bench "$@" </dev/null
}
