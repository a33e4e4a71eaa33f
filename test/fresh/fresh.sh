#!/bin/bash
# fresh.sh [bookworm|trixie] [root|sudo|plain] [OPTION...]: the first minutes of somebody who has just cloned this repository.
#
# Makes a minimal Debian (debootstrap, kept in build/fresh), clones HEAD into a copy of it, types the lines of the README
# there, and checks what a newcomer sees: what `make` says before anything is installed, how long it takes from the clone
# to the picture, that the pictures are there, and that the second time is quick and quiet. The user is
#
#   root    as in a container: no sudo, and here no HOME either (default)
#   sudo    may use sudo without a password
#   plain   may not: expects one line for an administrator, has it run, and starts again
#
#   --folder NAME   the clone's folder; default inpaint-worker. A name with a space is worth a try
#   --test          also `make test`
#   --browser       also a screenshot of build/demo/index.html by chromium, where the demo writes that page
#
# Wants root, debootstrap, unshare, the network and 2 GB of disk; some minutes. Settings for the network are this
# machine's: resolv.conf, Debian's mirrors and the Acquire settings of apt, proxies, certificates. What is mounted is
# mounted in a namespace of its own, so nothing stays behind. Output: build/fresh/SUITE/USER.log, and USER.png.
# shellcheck disable=SC2317  # functions are called through check
set -euo pipefail
cd "$(dirname "$0")/../.."

usage() { sed -n '2,19s/^# \{0,1\}//p' "$0"; }
suite=bookworm user=root folder=inpaint-worker browser='' unit=''
while [ $# -gt 0 ]; do
    case $1 in
    bookworm | trixie) suite=$1 ;;
    root | sudo | plain) user=$1 ;;
    --folder) folder=${2:?"fresh: --folder needs a name"} && shift ;;
    --test) unit=1 ;;
    --browser) browser=1 ;;
    --help | -h) usage && exit 0 ;;
    *) { echo "fresh: there is no '$1'"; usage; } >&2 && exit 2 ;;
    esac
    shift
done
account=root home=/root
[ "$user" = root ] || account=person home=/home/person
there=build/fresh/$suite
base=$PWD/$there/base
run=$PWD/$there/run-$user
log=$PWD/$there/$user.log
root=$run/root

# --- the system ---

# This machine's archives of Debian, for the suite: lines of a sources.list. None on a machine that is no Debian.
archives() {
    local codename uri release
    # shellcheck disable=SC1091
    codename=$(. /etc/os-release && [ "$ID" = debian ] && echo "$VERSION_CODENAME") || return 0
    # shellcheck disable=SC2016  # apt's own names
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' | sort -u | while read -r uri release; do
        case $release in
        "$codename" | "$codename-updates" | "$codename-security") echo "deb $uri $suite${release#"$codename"} main" ;;
        esac
    done
}

make_base() {
    local mirror
    mirror=$(archives | awk -v suite="$suite" '$3 == suite { print $2; exit }')
    echo "making a minimal $suite in $there/base"
    mkdir -p "$there"
    rm -rf --one-file-system "$base.new"
    debootstrap --variant=minbase "$suite" "$base.new" ${mirror:+"$mirror"} >"$there/debootstrap.log" 2>&1 || {
        tail -n 3 "$there/debootstrap.log" >&2
        echo "fresh: debootstrap failed; its output is in $there/debootstrap.log" >&2
        exit 1
    }
    mv "$base.new" "$base"
}

proxies=()
for name in http_proxy https_proxy ftp_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    [ -z "${!name:-}" ] || proxies+=("$name=${!name}")
done

network() { # copies what this machine needs to reach the archives
    local list
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    list=$(archives)
    [ -z "$list" ] || echo "$list" >"$root/etc/apt/sources.list"
    {
        apt-config dump | grep -E '^Acquire::(https?|ftp|Retries|Force|Check-Valid-Until)\b' || true
        [ -z "${http_proxy:-}" ] || echo "Acquire::http::Proxy \"$http_proxy\";"
        [ -z "${https_proxy:-}" ] || echo "Acquire::https::Proxy \"$https_proxy\";"
    } >"$root/etc/apt/apt.conf.d/90network"
    [ ! -f /etc/ssl/certs/ca-certificates.crt ] || {
        mkdir -p "$root/etc/ssl/certs"
        cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    }
    [ ! -d /usr/local/share/ca-certificates ] || {
        mkdir -p "$root/usr/local/share"
        cp -RL /usr/local/share/ca-certificates "$root/usr/local/share/"
    }
}

mount_all() {
    mount -t overlay overlay -o "lowerdir=$base,upperdir=$run/upper,workdir=$run/work" "$root" 2>/dev/null ||
        cp -a "$base/." "$root/" # where an overlay cannot be, as on another overlay
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
}

as() { # USER COMMAND: runs a line of bash in the clone's folder, or at home before there is one. No locale; root has no HOME.
    local at=$home own=("HOME=$home")
    [ ! -d "$root$home/$folder" ] || at=$home/$folder
    [ -d "$root$at" ] || at=/
    [ "$1" != root ] || own=()
    # shellcheck disable=SC2016  # the inner shell expands it
    chroot --userspec="$1" "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb \
        "${proxies[@]}" "${own[@]}" bash -c 'cd "$1" && eval "$2"' bash "$at" "$2" </dev/null
}

# --- what is seen ---

wrong=0
check() { # TEXT COMMAND...
    local text=$1
    shift
    if "$@" >/dev/null; then
        echo "ok     $text"
    else
        echo "WRONG  $text"
        wrong=$((wrong + 1))
    fi
}

now() { echo "${EPOCHREALTIME/[.,]/}"; }
begin=0
stamped() { # each line with the seconds since `begin`, to the log
    local line us
    while IFS= read -r line; do
        us=$(($(now) - begin))
        printf '%4d.%d %s\n' $((us / 1000000)) $((us / 100000 % 10)) "$line"
    done | tee -a "$log" >"$run/said"
}

status=0 seconds=0
types() { # USER COMMAND: what it says goes to the log and to $run/said, and $status and $seconds are set
    begin=$(now)
    echo "--- $1: $2" >>"$log"
    set +e
    as "$1" "$2" 2>&1 | stamped
    status=${PIPESTATUS[0]}
    set -e
    seconds=$((($(now) - begin) / 100000))
    seconds=$((seconds / 10)).$((seconds % 10))
}
said() { grep -qE -- "$1" "$run/said"; }
never_said() { ! said "$1"; }
lines() { [ "$(wc -l <"$run/said")" -eq "$1" ]; }
is() { [ "$@" ]; }
is_jpeg() { [ "$(head -c 3 "$root$home/$folder/build/demo/$1" | od -An -tx1 | tr -d ' \n')" = ffd8ff ]; }
at() { # PATTERN: when a line was last said that fits it; 0: never
    sed -nE "s%^ *([0-9.]+) $1\$%\\1%p" "$run/said" | tail -n 1 | grep . || echo 0
}

get_git_and_make() {
    local sudo='' who=$account
    [ "$user" = root ] || types root "useradd -m -s /bin/bash $account"
    case $user in
    sudo)
        types root "apt-get update && apt-get install -y sudo"
        echo "$account ALL=(ALL) NOPASSWD: ALL" >"$root/etc/sudoers.d/fresh"
        chmod 440 "$root/etc/sudoers.d/fresh"
        sudo='sudo '
        ;;
    plain) who=root ;; # somebody had to
    esac
    types "$who" "${sudo}apt-get update && ${sudo}apt-get install -y git make"
    check "git and make are installed ($seconds s)" is "$status" -eq 0
}

ask_an_administrator() {
    local line
    types person "scripts/install_deps.sh"
    check "a user without sudo: exit status 1" is "$status" -eq 1
    check "a user without sudo: two lines" lines 2
    types person "make run"
    check "a user without sudo: one line to hand on" is "$(grep -c 'apt-get install' "$run/said")" -eq 1
    check "a user without sudo: nothing else is tried" never_said ' (cc|link)  |E: |denied|error:|sudo:'
    line=$(sed -n 's/^ *[0-9.]* *\(apt-get .*\)$/\1/p' "$run/said")
    types root "$line"
    check "the line installs what is missing ($seconds s)" is "$status" -eq 0
}

first_picture() {
    local installed built
    types "$account" "make run"
    check "make run" is "$status" -eq 0
    check "edited.jpg" is_jpeg edited.jpg
    check "preview.jpg" is_jpeg preview.jpg
    check "it says where the pictures are" said 'build/demo/.*edited\.jpg'
    installed=$(at 'installed in [0-9]+ s')
    built=$(at 'link  .*')
    awk -v all="$seconds" -v i="$installed" -v b="$built" 'BEGIN {
        printf "       from the clone to the picture %.1f s: installing %.1f s, building %.1f s, then %.1f s\n", all, i, b - i, all - b }'
}

second_time() {
    local noise='Nothing to be done|is up to date|(Entering|Leaving) directory|warning: jobserver'
    types "$account" "make"
    check "make again: one line ($seconds s)" lines 1
    check "make again: it names what comes next" said 'make run.*make test'
    types "$account" "make run"
    check "make run again ($seconds s)" is "$status" -eq 0
    check "make run again: quiet about what is up to date" never_said "$noise"
    types "$account" "make deps"
    [ "$user" = plain ] || check "make deps ($seconds s)" said 'everything is installed$'
    [ "$user" = plain ] || types "$account" "make deps"
    [ "$user" = plain ] || check "make deps again: one line ($seconds s)" lines 1
}

screenshot() {
    local page=$home/$folder/build/demo/index.html
    if [ ! -f "$root$page" ]; then
        echo "       no screenshot: the demo wrote no build/demo/index.html"
        return
    fi
    types root "apt-get install -y --no-install-recommends chromium"
    types root "HOME=/root chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
        --disable-background-networking --disable-component-update --disable-sync --user-data-dir=/tmp/chromium \
        --hide-scrollbars --window-size=1280,1600 --screenshot=/screenshot.png 'file://$page'"
    check "a screenshot of build/demo/index.html" test -s "$root/screenshot.png"
    cp "$root/screenshot.png" "$there/$user.png"
}

inside() {
    mount_all
    network
    cp "$run/clone.bundle" "$root/clone.bundle"
    chmod a+r "$root/clone.bundle"
    get_git_and_make
    types "$account" "git -c advice.detachedHead=false clone -q /clone.bundle '$folder'"
    check "git clone" is "$status" -eq 0
    types "$account" "make"
    check "make without the libraries fails" is "$status" -ne 0
    check "make without the libraries names what is missing" said 'Missing here: .*libmicrohttpd'
    check "make without the libraries names make deps" said 'make deps'
    check "make without the libraries: no error of the compiler" never_said '(error|fatal):|No such file'
    types "$account" "make help"
    check "make help" said '^ *[0-9.]+   make run '
    [ "$user" != plain ] || ask_an_administrator
    first_picture
    second_time
    [ -z "$unit" ] || types "$account" "make test"
    [ -z "$unit" ] || check "make test ($seconds s): $(tail -n 1 "$run/said" | cut -c8-)" is "$status" -eq 0
    [ -z "$browser" ] || screenshot
    [ $wrong -eq 0 ] || echo "fresh: wrong: $wrong; the whole output is in $there/$user.log" >&2
    exit $((wrong > 0))
}

# The second start, in the namespaces of the first.
[ -z "${FRESH_INSIDE:-}" ] || inside

for tool in debootstrap unshare chroot git apt-config; do
    command -v $tool >/dev/null || { echo "fresh: skipped, there is no $tool here"; exit 0; }
done
[ "$(id -u)" -eq 0 ] || { echo "fresh: skipped, it takes root"; exit 0; }
[ -d "$base" ] || make_base
child=
# With the first process of the namespaces all others in them end, and all mounts.
trap '{ [ -z "$child" ] || kill -KILL "$child" || true; wait; } 2>/dev/null; rm -rf --one-file-system "$run"' EXIT
trap 'exit 130' INT TERM HUP
rm -rf --one-file-system "$run"
mkdir -p "$run/upper" "$run/work" "$root"
git bundle create -q "$run/clone.bundle" HEAD
: >"$log"
echo "$suite, $user, $(git describe --always --dirty), $(nproc) processors"
FRESH_INSIDE=1 unshare --mount --pid --fork --kill-child bash test/fresh/fresh.sh "$suite" "$user" --folder "$folder" \
    ${unit:+--test} ${browser:+--browser} &
child=$!
status=0
wait "$child" || status=$?
child=
exit "$status"
