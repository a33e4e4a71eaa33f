#!/bin/bash
# notices.sh < LIBRARIES > NOTICES: the licences of everything that the image takes from elsewhere.
#
# LIBRARIES are paths of this machine, one a line. For each Debian or Ubuntu package that one of them is from, NOTICES has its
# name, version and file of copyright; then what holds for CUDA, and for weights. A library of no package, or a package without
# such a file, is an error: nothing goes into the image whose licence does not.
set -euo pipefail

case "${1:-}" in
--help | -h) sed -n '2,6s/^# \{0,1\}//p' "$0" && exit 0 ;;
?*) sed -n '2s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
esac

package_of() { # PATH
    local name
    # a file under /lib belongs to a package that calls it /usr/lib/..., or the other way round, where one is a link to the other
    for name in "$1" "$(realpath "$1")" "${1#/usr}" "/usr$1" "$(realpath "$1" | sed 's:^/usr::')"; do
        dpkg-query -S "$name" 2>/dev/null | sed -n '1s/[:,].*//p' | grep . && return
    done
    echo "notices: no package has $1, so its licence is not known" >&2
    return 1
}

line='================================================================================'
packages=$(grep . | while read -r path; do package_of "$path"; done | sort -u)
[ -n "$packages" ] || { echo "notices: no library is named" >&2; exit 1; }

cat <<EOF
What this image has from elsewhere
$line
Libraries of the distribution, in /usr/local/lib/inpaint, unchanged; their sources are in its archive. The texts below are the
packages' own. Licences of the base image are in /usr/share/doc.

EOF
for package in $packages; do
    dpkg-query -W -f='  ${Package} ${Version}  (source: ${source:Package} ${source:Version})\n' "$package" | head -n 1
done
cat <<EOF

CUDA, in images for NVIDIA's cards: the program has NVIDIA's CUDA runtime (cudart) linked into it, and
/usr/local/lib/inpaint/libcublasLt.so.* is from NVIDIA's CUDA toolkit. Both belong to NVIDIA Corporation, and may be handed on
as parts of an application under the End User License Agreement of the toolkit: https://docs.nvidia.com/cuda/eula/. The libraries
of the driver are not in the image.

Weights, in images that have some in /models: each file is under the licence of its publisher. weights.json beside this file,
where it is there, names it for each. The FLUX.1 [dev] Non-Commercial License of Black Forest Labs holds for FLUX.1-Fill-dev and
for everything that is made of it. Without weights.json they are the small demonstration model of this repository.
EOF
for package in $packages; do
    text=/usr/share/doc/$package/copyright
    [ -f "$text" ] || { echo "notices: the package $package has no $text" >&2; exit 1; }
    printf '\n%s\n%s\n%s\n' "$line" "$package" "$line"
    cat "$text"
done
