#!/bin/bash
# collect.sh OUT: puts into OUT what the image takes of the machine on which build/inpaint-worker was built.
#
#   OUT/bin    the program, stripped
#   OUT/lib    the libraries that it links and they need, but for those of the C library, which must be the base image's own, and
#              those of CUDA
#   OUT/root   files with a fixed place: libheif's decoder for HEIC where it is a file of its own, the certificates of the
#              authorities
#   OUT/doc    notices of all of these (notices.sh)
#
# All files keep their times and the folders get a fixed one, so that what has not changed is the same layer again.
set -euo pipefail
cd "$(dirname "$0")/../.."

case "${1:---help}" in
--help | -h)
    sed -n '2,11s/^# \{0,1\}//p' "$0"
    [ $# -gt 0 ] && exit 0
    exit 2
    ;;
esac
out=$1
program=build/inpaint-worker
certificates=/etc/ssl/certs/ca-certificates.crt
[ -x $program ] || { echo "collect: $program is not there: \`make $program\` builds it" >&2; exit 1; }
[ -s $certificates ] || { echo "collect: $certificates is not there: install ca-certificates" >&2; exit 1; }
mkdir -p "$out"/{bin,lib,root,doc}

mapfile -t plugins < <(find /usr/lib -path '*/libheif/*' -name '*libde265.so')
of_the_base='/(libc|libm|libmvec|libpthread|libdl|librt|libresolv|libutil|libanl|ld-linux[^/]*)\.so'
missing=$(ldd $program "${plugins[@]}" | grep 'not found' || true)
[ -z "$missing" ] || { echo "collect: a library is missing: $missing" >&2; exit 1; }
ldd $program "${plugins[@]}" | awk '$3 ~ /^\// && $3 !~ /cuda|nvidia/ { print $3 }' | sort -u |
    grep -vE "$of_the_base" >"$out/libraries"

while read -r library; do cp -pL "$library" "$out/lib/"; done <"$out/libraries"
for file in "${plugins[@]}" $certificates; do install -D -p -m 0644 "$file" "$out/root$file"; done
cp $program "$out/bin/"
strip "$out/bin/${program##*/}"
printf '%s\n' "${plugins[@]}" >>"$out/libraries"
scripts/image/notices.sh <"$out/libraries" >"$out/doc/NOTICES"
find "$out" -type d -exec touch -d @0 {} +
touch -d @0 "$out/doc/NOTICES" "$out/root$certificates" # both were made here
echo "collected: $(find "$out/lib" -type f | wc -l) libraries, $(du -sm "$out/lib" | cut -f1) MB"
