# Sourced by ./start and ./check: what Debian packages are missing, and how to get them.
# Works as root, with sudo, and without either (then it prints the one line to run).

# packages_listed FILE...: the names in the files; of "a|b" the first that this Debian has.
packages_listed() {
    local name alternative
    for name in $(grep -hv '^#' "$@"); do
        case $name in
        *"|"*)
            for alternative in ${name//|/ }; do
                if apt-cache show "$alternative" >/dev/null 2>&1; then
                    name=$alternative
                    break
                fi
            done
            ;;
        esac
        printf '%s\n' "${name##*|}"
    done
}

# packages_missing FILE...: those that are not installed.
packages_missing() {
    local name
    for name in $(packages_listed "$@"); do
        case $(dpkg-query -W -f='${db:Status-Status}' "$name" 2>/dev/null) in
        installed) ;;
        *) printf '%s\n' "$name" ;;
        esac
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# packages_install FILE...: says what, how much and about how long, then does it. 0: all there.
packages_install() {
    local missing plan size
    if ! command -v apt-get >/dev/null; then
        echo "This script installs Debian packages, and there is no apt-get here." >&2
        echo "Install what $* name(s) by hand, then run it again." >&2
        return 1
    fi
    missing=$(packages_missing "$@")
    [ -z "$missing" ] && return 0
    # shellcheck disable=SC2086
    set -- $missing
    if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
        echo "Some packages are missing and this user may not install them. As root, run:" >&2
        echo "    apt-get update && apt-get install -y --no-install-recommends $*" >&2
        echo "and then start this script again." >&2
        return 1
    fi
    as_root apt-get update -qq || return 1
    plan=$(apt-get install -s --no-install-recommends "$@" 2>/dev/null | grep -c '^Inst')
    size=$(apt-get install --no-install-recommends --print-uris -y "$@" 2>/dev/null |
        awk '/^'"'"'/ { sum += $3 } END { printf "%d", sum / 1000000 }')
    echo "Installing $plan Debian packages, a download of about $size MB (some $((size / 8 + plan / 3 + 5)) seconds on a usual line):"
    echo "    $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" \
        >/tmp/sampan-apt.$$ 2>&1 || {
        tail -20 /tmp/sampan-apt.$$ >&2
        rm -f /tmp/sampan-apt.$$
        echo "apt-get could not install them: see the lines above." >&2
        return 1
    }
    rm -f /tmp/sampan-apt.$$
}
