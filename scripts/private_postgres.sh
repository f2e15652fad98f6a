# shellcheck shell=bash
# A private copy of PostgreSQL 17 with TimescaleDB (Apache edition), for machines that have neither. Sourced by ./dev.
#
# The packages come from Debian "trixie" by apt, which checks their signatures with Debian's keyring, but apt's state,
# cache and package list are our own, so nothing is installed on the machine and no root is needed. The copy brings its
# own C library: `patchelf` points its programs at the copy's loader and libraries, so it runs on older distributions.

PRIVATE_SUITE=trixie
PRIVATE_MAJOR=17
PRIVATE_PACKAGES=(postgresql-17-timescaledb patchelf)

private_postgres_root() { echo "$CACHE/postgresql-$PRIVATE_MAJOR-timescaledb-$PRIVATE_SUITE"; }

# Says what is missing for a private copy; silence and success when nothing is.
private_postgres_obstacle() {
    local tool
    for tool in apt-get apt-cache dpkg dpkg-deb; do
        have "$tool" || { echo "$tool is missing (the private copy needs a Debian or Ubuntu machine)"; return 1; }
    done
    case $(dpkg --print-architecture) in
        amd64 | arm64) ;;
        *) echo "Debian's TimescaleDB is fetched for amd64 and arm64 only, this is $(dpkg --print-architecture)"; return 1 ;;
    esac
}

# Prints the folder with the copy's programs, fetching them first if need be.
private_postgres_bin() {
    local root
    root=$(private_postgres_root)
    [ -x "$root/usr/lib/postgresql/$PRIVATE_MAJOR/bin/postgres" ] ||
        with_lock packages "$CACHE" private_postgres_fetch "$root" >&2
    echo "$root/usr/lib/postgresql/$PRIVATE_MAJOR/bin"
}

private_postgres_fetch() {
    local root=$1 started work
    [ -x "$root/usr/lib/postgresql/$PRIVATE_MAJOR/bin/postgres" ] && return # another ./dev was faster
    started=$(seconds_now)
    step "PostgreSQL $PRIVATE_MAJOR with TimescaleDB: fetching a private copy into $CACHE (once)"
    # Work left by an interrupted run has no lock holder any more. The finished copy appears by one rename.
    rm -rf "$CACHE"/.fetch.*
    work=$(mktemp -d "$CACHE/.fetch.XXXXXX")
    chmod 755 "$CACHE" "$work"

    say "  1 of 4: package list of $PRIVATE_SUITE"
    private_apt_setup "$work"
    private_apt "$work" update -qq || die "apt could not read the package list of Debian $PRIVATE_SUITE" \
        "Choose another mirror with FOREWARN_DEBIAN_MIRROR, or see ./dev help for the other ways to a database."
    private_download "$work"
    say "  3 of 4: unpacking"
    local package
    mkdir "$work/root"
    for package in "$work"/cache/archives/*.deb; do dpkg-deb -x "$package" "$work/root"; done
    say "  4 of 4: pointing the programs at their own libraries"
    private_relocate "$work/root" "$root"
    chmod -R u+rwX,go+rX "$work/root"
    mv -T "$work/root" "$root"
    rm -rf "$work"
    say "  done in $(($(seconds_now) - started)) s, $(du -sh "$root" | cut -f1) on disk"
}

private_apt() {
    local work=$1
    shift
    APT_CONFIG="$work/apt.conf" apt-get "$@" 9>&-
}

private_apt_setup() {
    local work=$1 mirror keyring
    mkdir -p "$work"/{state/lists/partial,cache/archives/partial,conf.d,empty}
    keyring=$(private_keyring "$work")
    mirror=$(private_mirror "$work")
    echo "deb [signed-by=$keyring] $mirror $PRIVATE_SUITE main" >"$work/sources.list"
    : >"$work/status" # an empty list of installed packages: every library comes along
    # The machine's settings stay in force (proxies), its sources, preferences and hooks do not. apt reads the folder
    # in the order of names, so ours comes last.
    echo "Dir::Etc::parts \"$work/conf.d\";" >"$work/apt.conf"
    find /etc/apt/apt.conf.d -type f -exec ln -s -t "$work/conf.d" {} +
    cat >"$work/conf.d/zz-forewarn" <<CONF
Dir::State "$work/state";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
Dir::Cache::archives "archives/";
Dir::Log "$work";
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "$work/empty";
Dir::Etc::preferences "$work/empty/none";
Dir::Etc::preferencesparts "$work/empty";
#clear APT::Default-Release;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
APT::Install-Recommends "false";
APT::Keep-Downloaded-Packages "true";
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Acquire::Retries "3";
CONF
}

# Debian's keyring: the machine's; on Ubuntu from its package, which Ubuntu's own signature covers.
private_keyring() {
    local work=$1 found
    for found in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
        [ -r "$found" ] && { echo "$found"; return; }
    done
    mkdir -p "$work/keyring"
    (cd "$work/keyring" && apt-get download -qq debian-archive-keyring >&2 && dpkg-deb -x debian-archive-keyring_*.deb .) ||
        die "Debian's signing keys are needed to check the packages" "Install them: apt-get install debian-archive-keyring"
    found=$(find "$work/keyring" -name 'debian-archive-keyring.*g*' -path '*/share/keyrings/*' | head -n 1)
    [ -n "$found" ] || die "the package debian-archive-keyring holds no keyring"
    echo "$found"
}

# The mirror that this Debian machine uses itself; elsewhere Debian's own, as the distribution's apt templates name it.
private_mirror() {
    [ -z "${FOREWARN_DEBIAN_MIRROR:-}" ] || { echo "$FOREWARN_DEBIAN_MIRROR"; return; }
    local release='' mirror=''
    # shellcheck disable=SC1091
    [ ! -r /etc/os-release ] || release=$(. /etc/os-release; if [ "${ID:-}" = debian ]; then echo "${VERSION_CODENAME:-}"; fi)
    if [ -n "$release" ]; then
        # shellcheck disable=SC2016  # the names are apt's, not the shell's
        mirror=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
            awk -v release="$release" '$1 == release && $2 == "main" { print $3; exit }') || true
        [ -n "$mirror" ] || mirror=$(private_mirror_from_sources)
    else
        mirror=$(private_mirror_from_templates "$1")
    fi
    [ -n "$mirror" ] || die "no Debian mirror is known on this machine" \
        "Name one: FOREWARN_DEBIAN_MIRROR=http://… ./dev up; or set DATABASE_URL to a PostgreSQL with TimescaleDB."
    echo "$mirror"
}

# Before the first `apt-get update` the machine has no index to ask; its source files still name the mirror.
private_mirror_from_sources() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null |
        sed -nE 's/^(deb( \[[^]]*\])?|URIs:) +([^ ]*\/debian\/?)( .*)?$/\3/p' | head -n 1
}

# Ubuntu and other relatives describe Debian in a package of theirs, which comes from their own archive. Plain http will
# do, because apt checks the signatures, and a small machine has no certificates yet.
private_mirror_from_templates() {
    local work=$1 template=usr/share/python-apt/templates/Debian.info
    if ! [ -r "/$template" ]; then
        mkdir -p "$work/templates"
        (cd "$work/templates" && apt-get download -qq python-apt-common >&2 && dpkg-deb -x python-apt-common_*.deb .) || return 0
        template=$work/templates/$template
    else
        template=/$template
    fi
    sed -nE 's|^BaseURI: *https?://([^ ]*debian)/? *$|http://\1|p' "$template" 2>/dev/null | head -n 1 || true
}

private_download() {
    local work=$1 size total have_bytes log=$1/download.log pid
    total=$(private_apt "$work" install --print-uris -qq -y "${PRIVATE_PACKAGES[@]}" | awk '{ sum += $3 } END { print sum + 0 }')
    size=$(((total + 500000) / 1000000))
    say "  2 of 4: downloading $size MB"
    private_apt "$work" install --download-only -qq -y "${PRIVATE_PACKAGES[@]}" >"$log" 2>&1 &
    pid=$!
    local shown=-1 percent
    while kill -0 "$pid" 2>/dev/null; do
        have_bytes=$(du -sb "$work/cache/archives" | cut -f1)
        percent=$((total > 0 ? have_bytes * 100 / total : 0))
        [ "$percent" -le 100 ] || percent=100
        if [ -t 2 ]; then
            printf '\r          %3d %%' "$percent" >&2
        elif [ $((percent / 25)) -gt "$shown" ]; then
            shown=$((percent / 25))
            [ "$percent" -eq 0 ] || say "          $percent %"
        fi
        sleep 0.3
    done
    [ ! -t 2 ] || printf '\r          100 %%\n' >&2
    if ! wait "$pid"; then
        tail -n 5 "$log" >&2
        die "the download failed; run the command again to retry"
    fi
}

# Rewrites the programs in FOLDER so that they run from the place TARGET, where they are about to be moved.
private_relocate() {
    local folder=$1 target=$2 loader libraries program name
    local -a patchelf
    loader=$(cd "$folder" && find usr/lib usr/lib64 lib lib64 -name 'ld-linux*.so.*' 2>/dev/null | head -n 1) || true
    [ -n "$loader" ] || die "the private copy holds no program loader"
    libraries=usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || echo "$(uname -m)-linux-gnu")
    # patchelf itself needs the new C library, so it runs through the copy's loader while the copy is still unpatched.
    patchelf=("$folder/$loader" --library-path "$folder/$libraries" "$folder/usr/bin/patchelf")
    for program in "$folder/usr/lib/postgresql/$PRIVATE_MAJOR/bin"/*; do
        name=$(basename "$program")
        [ "$(head -c 4 "$program" | tail -c 3)" = ELF ] || continue
        "${patchelf[@]}" --set-interpreter "$target/$loader" --force-rpath --set-rpath "$target/$libraries" "$program" ||
            die "could not adapt $name"
    done
}
