#!/bin/bash
# check.sh [--all] [T...]: builds the image of the CPU form from the Dockerfile, without a daemon, and runs its tests in it.
#
# Both bases are a minimal Debian 12, made by debootstrap; all that is kept between runs is in IMAGE_CHECK_DIR
# (/var/tmp/inpaint-image, up to 8 GB), what the last builds printed as well. T are parts of names of tests
# (test/image/test_image.py).
#
#   --all     also those that build the image with fetched weights and the test stage
#
# Wants root, buildah, skopeo and debootstrap, and the archive of Debian; without them it says what is missing and is skipped.
# With CI set they are installed. Takes two to four minutes on two idle cores, with --all ten.
set -euo pipefail
cd "$(dirname "$0")/../.."

all='' parts=()
for word in "$@"; do
    case $word in
    --help | -h) sed -n '2,12s/^# \{0,1\}//p' "$0" && exit 0 ;;
    --all) all=1 ;;
    -*) echo "image-check: there is no option $word" >&2 && exit 2 ;;
    *) parts+=("$word") ;;
    esac
done
dir=${IMAGE_CHECK_DIR:-/var/tmp/inpaint-image}
suite=bookworm
base=docker.io/library/debian:$suite
most_bytes=8000000000

skip() { # a machine that cannot do it is no failure, but a pipeline that should
    echo "image-check: skipped: $*"
    [ -z "${CI:-}" ] || [ "$(id -u)" -ne 0 ] || exit 1
    exit 0
}
tools=(buildah skopeo debootstrap unshare)
absent() { local t; for t in "${tools[@]}"; do command -v "$t" >/dev/null || printf ' %s' "$t"; done; }
[ "$(id -u)" -eq 0 ] || skip "it takes root, to make a minimal Debian and to run programs in the image"
[ -z "${CI:-}" ] || [ -z "$(absent)" ] || scripts/install_deps.sh buildah skopeo debootstrap util-linux
[ -z "$(absent)" ] || skip "not installed:$(absent)"

mkdir -p "$dir"
exec 9>"$dir/lock"
flock --nonblock 9 || { echo "image-check: another one uses $dir: wait for its end, or set IMAGE_CHECK_DIR" >&2; exit 1; }
in_store() { buildah --root "$dir/store" --runroot "$dir/run" --storage-driver "$driver" "$@"; }

# --- the base ---

make_base() { # $dir/base.tar: as the official slim images, without documentation, translations and lists of packages
    local root=$dir/root.new
    echo "making a minimal $suite in $dir"
    rm -rf --one-file-system "$root"
    debootstrap --variant=minbase $suite "$root" >"$dir/debootstrap.log" 2>&1 ||
        skip "debootstrap cannot make a root here: $(tail -n 1 "$dir/debootstrap.log")"
    find "$root/usr/share/doc" -mindepth 2 ! -name copyright ! -type d -delete
    rm -rf "$root"/usr/share/{man,locale,info,groff,lintian}/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*
    tar -C "$root" --exclude='./dev/*' -cf "$dir/base.tar.new" .
    rm -rf --one-file-system "$root"
    mv "$dir/base.tar.new" "$dir/base.tar"
}
[ -s "$dir/base.tar" ] || make_base

if [ "$(du -sb "$dir/store" 2>/dev/null | cut -f1)" -gt $most_bytes ] 2>/dev/null; then
    echo "the store in $dir has grown: beginning anew"
    driver=$(cat "$dir/driver") in_store rmi --all --force >/dev/null
fi
bring_base() {
    in_store inspect --type image "$base" >/dev/null 2>&1 ||
        { printf 'FROM scratch\nADD base.tar /\nCMD ["bash"]\n' |
            in_store bud --quiet --isolation chroot -t "$base" -t "$base-slim" -f - "$dir/context-base"; } >"$dir/base.log" 2>&1
}
mkdir -p "$dir/context-base"
ln -f "$dir/base.tar" "$dir/context-base/base.tar"
for driver in overlay vfs; do # where an overlay cannot be, as on another overlay
    bring_base && break
    [ $driver = overlay ] || { cat "$dir/base.log" >&2; exit 1; }
done
echo "$driver" >"$dir/driver"

# --- the tests ---

export IMAGE_CHECK_DIR=$dir IMAGE_CHECK_DRIVER=$driver IMAGE_CHECK_BASE=$base IMAGE_CHECK_ALL=$all
exec python3 test/image/test_image.py "${parts[@]}"
