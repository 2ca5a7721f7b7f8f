#!/bin/sh
# Installs what is missing for the goals named, as iso-build/packages.txt lists it.
#
#   packages.sh GOAL…         goals: build small iso sign run docker test bench kernel
#   packages.sh --update      only fetches apt's lists of packages, for who downloads from them
#
# SKIP_APT=1 leaves the machine alone: what is missing is listed and the script fails. Packages of
# the goal `small` are only wished for: without them tether is built on glibc, larger but working.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
PATH=$PATH:/usr/sbin:/sbin

is_present() { # PRESENT as in packages.txt
    case $1 in
        rust) "$here/cargo.sh" --which >/dev/null 2>&1 ;;
        rust:*) "$here/cargo.sh" --new-enough "${1#rust:}" ;;
        static:*) [ -x "${1#static:}" ] && ! readelf -l "${1#static:}" 2>/dev/null | grep -q INTERP ;;
        /*) [ -e "$1" ] ;;
        *) command -v "$1" >/dev/null 2>&1 && works "$1" ;;
    esac
}

# rustup leaves a cargo-fmt and a cargo-clippy in PATH even where the component is not installed.
works() {
    case $1 in
        cargo-*) "$here/cargo.sh" "${1#cargo-}" --version >/dev/null 2>&1 ;;
    esac
}

# The musl target of rustup stands in for the whole of `small`.
has_musl_target() {
    command -v rustup >/dev/null 2>&1 &&
        rustup target list --installed 2>/dev/null | grep -qx x86_64-unknown-linux-musl
}

# Sets $as_root to what makes a command run as root; fails, saying what to run, when nothing does.
become_root() { # COMMAND that the user may run instead
    as_root=
    [ "$(id -u)" -ne 0 ] || return 0
    if command -v sudo >/dev/null 2>&1; then
        as_root=sudo
        sudo -v # asks for the password here, where it can be seen
    else
        echo "only root can do this, and there is no sudo. As root: $1" >&2
        return 1
    fi
}
update() {
    "$here/step.sh" 'apt-get update' $as_root apt-get -qq update
}

if [ "${1:-}" = --update ]; then
    if [ -n "${SKIP_APT:-}" ]; then
        echo 'apt has no lists of packages, and SKIP_APT=1 says not to fetch them' >&2
        exit 1
    fi
    become_root 'apt-get update'
    update
    exit
fi

needed='' wished='' explained=''
while read -r goal package present why; do
    case $goal in '' | '#'*) continue ;; esac
    case " $* " in *" $goal "*) ;; *) continue ;; esac
    case " $needed $wished " in *" $package "*) continue ;; esac
    if is_present "$present" || { [ "$goal" = small ] && has_musl_target; }; then
        continue
    fi
    if [ "$goal" = small ]; then wished="$wished $package"; else needed="$needed $package"; fi
    explained="$explained$(printf '    %-18s %s' "$package" "$why")
"
done <"$here/packages.txt"

[ -n "$needed$wished" ] || exit 0

if [ -n "${SKIP_APT:-}" ] || ! command -v apt-get >/dev/null; then
    [ -n "$needed" ] || exit 0 # only wishes: the build says what it did without them
    printf 'missing, and %s:\n%s' \
        "$(if [ -n "${SKIP_APT:-}" ]; then echo 'SKIP_APT=1 says to leave this machine alone'; else echo 'this machine has no apt-get'; fi)" \
        "$explained" >&2
    echo "on Debian: apt-get install$needed$wished" >&2
    exit 1
fi

become_root "apt-get update && apt-get install$needed$wished" || { printf 'missing:\n%s' "$explained" >&2; exit 1; }
printf 'missing here, installed now with apt (SKIP_APT=1 leaves the machine alone):\n%s' "$explained"
export DEBIAN_FRONTEND=noninteractive
update
install() {
    # shellcheck disable=SC2086 # lists of package names, and an empty or one-word prefix
    "$here/step.sh" "apt-get install ($1)" $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -y --no-install-recommends install $2
}
if [ -n "$needed" ]; then install needed "$needed"; fi
if [ -n "$wished" ]; then
    install 'for a small tether' "$wished" ||
        echo '      the small packages cannot be had here: tether is built on glibc instead'
fi

# A package from elsewhere (Debian's backports) that does not fit the new ones is removed by apt, and
# what it brought is missing then: look once more.
if [ -z "${TETHER_PACKAGES_AGAIN:-}" ] && [ -n "$needed" ]; then
    TETHER_PACKAGES_AGAIN=1 exec "$0" "$@"
fi
