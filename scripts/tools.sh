# shellcheck shell=bash
# The tools that building and testing need, and the two builds: the pages, then the executables. Sourced by ./dev.

WEB=$ROOT/api/web
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
OLDEST_NODE=18

# Installs packages when root; otherwise says which ones are missing.
need_packages() {
    local purpose=$1
    shift
    if ! is_root || ! have apt-get; then
        die "$purpose is missing" "Install it: apt-get install $*"
    fi
    step "Installing $purpose ($*)"
    # A fresh machine has no package lists yet; one with them is spared the update.
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 </dev/null && return
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null </dev/null ||
        die "$purpose could not be installed" "Install it by hand: apt-get install $*"
}

need_rust() {
    have cargo || PATH=$HOME/.cargo/bin:$PATH
    have cargo || die "Rust is missing" "Install it from https://rustup.rs, then run this again."
    local wanted found
    wanted=$(sed -nE 's/^rust-version = "([0-9.]+)"/\1/p' "$ROOT/Cargo.toml" | head -n 1)
    found=$(rustc --version | cut -d' ' -f2)
    version_at_least "$found" "${wanted:-0}" ||
        die "Rust $found is too old, Forewarn needs $wanted" "Update it: rustup update stable"
    have cc || need_packages "a C compiler" gcc libc6-dev
}

need_node() {
    node_is_recent || need_packages "Node.js $OLDEST_NODE or newer" nodejs npm
    node_is_recent || die "Node.js here is $(node --version 2>/dev/null || echo missing); $OLDEST_NODE or newer is needed for the pages" \
        "Install a newer one, for example with nvm, and run this again."
}

node_is_recent() { have node && have npm && version_at_least "$(node --version | tr -d v)" "$OLDEST_NODE"; }
version_at_least() { [ "$(printf '%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# Sets CHROMIUM to the browser for the tests.
need_chromium() {
    CHROMIUM=${CHROMIUM:-$(find_chromium)}
    [ -n "$CHROMIUM" ] || need_packages Chromium chromium
    CHROMIUM=${CHROMIUM:-$(find_chromium)}
    [ -n "$CHROMIUM" ] || die "no Chromium for the browser tests" "Set CHROMIUM to the path of a Chromium or Chrome."
    export CHROMIUM
}

find_chromium() { command -v chromium || command -v chromium-browser || command -v google-chrome || true; }

# Everything that the pages are made of, as one checksum.
pages_fingerprint() {
    (cd "$WEB" && find . \( -name node_modules -o -name dist -o -name test -o -name mock -o -name test-results \) -prune -o -type f -print0 |
        sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1)
}

pages_install() {
    local lock
    lock=$(sha256sum "$WEB/package.json" "$WEB/package-lock.json" | sha256sum | cut -d' ' -f1)
    [ "$(cat "$WEB/node_modules/.forewarn-lock" 2>/dev/null)" != "$lock" ] || return 0
    need_node
    step "Fetching the packages of the pages (npm ci)"
    npm --prefix "$WEB" ci --no-audit --no-fund --loglevel=error >&2 </dev/null
    mkdir -p "$WEB/node_modules"
    echo "$lock" >"$WEB/node_modules/.forewarn-lock"
}

# The pages are compiled into the executable, so they come first; they are built again only when their sources changed.
build_pages() { with_lock pages "$STATE" build_pages_locked; }
build_pages_locked() {
    pages_install
    local fingerprint
    fingerprint=$(pages_fingerprint)
    if [ -f "$WEB/dist/index.html" ] && [ "$(cat "$WEB/node_modules/.forewarn-pages" 2>/dev/null)" = "$fingerprint" ]; then
        return
    fi
    need_node
    step "Building the pages"
    npm --prefix "$WEB" run --silent build >&2 </dev/null 9>&-
    echo "$fingerprint" >"$WEB/node_modules/.forewarn-pages"
}

web_has_script() { [ -f "$WEB/package.json" ] && grep -q "\"$1\" *:" "$WEB/package.json"; }

# cargo shows its own progress; when nothing changed this takes less than a second.
build_executables() {
    (cd "$ROOT" && cargo build --locked --release -p forewarn -p edge-agent --bins >&2 </dev/null)
}
