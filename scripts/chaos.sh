# shellcheck shell=bash
# The trial by fire. Sourced by ./dev.

# run_chaos [--rounds N] [--seed S] [--json]: the real executables and a database cluster of their own under kills, cuts,
# full disks and jumping clocks. The last line on stdout is one JSON object; the exit code is 1 when a reading is lost or
# doubled. The server that DATABASE_URL names, or ours, only lends its programs.
run_chaos() {
    need_rust
    build_pages
    step "Building (release profile)"
    build_executables
    local url
    url=$(db_url)
    step "Chaos ${*:-(50 rounds)}"
    DATABASE_URL=$url "$TARGET/release/forewarn" chaos "$@" </dev/null
}
