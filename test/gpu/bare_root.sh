#!/bin/bash
# bare_root.sh - scripts/gpu_check.sh where there is nothing but gcc, make, python3 and nvcc: no -dev package of any
# library, no network. Makes such a root of Debian with debootstrap, brings this machine's nvcc and cuBLASLt in, builds
# both programs there, and checks what the check says without a card. Wants root and debootstrap; some minutes.
#
#   test/gpu/bare_root.sh [DIR]     DIR: where the root is made and kept (/var/tmp/inpaint-bare-root)
set -euo pipefail
cd "$(dirname "$0")/../.."
root=${1:-/var/tmp/inpaint-bare-root}
suite=${SUITE:-bookworm}

eval "$(scripts/cuda_paths.sh | sed -n 's/^\(CUDA_HOME\|CUBLASLT_INC\|CUBLASLT_LIB\) := \(.*\)$/\1="\2"/p')"
if [ -z "${CUDA_HOME:-}" ] || [ -z "${CUBLASLT_LIB:-}" ]; then
    echo "bare_root: skipped, there is no nvcc or no cuBLASLt here (make cuda-libs)"
    exit 0
fi

if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap > /dev/null; then
    echo "bare_root: skipped, it takes root and debootstrap"
    exit 0
fi
if [ ! -e "$root/made" ]; then
    debootstrap --variant=minbase --include=gcc,g++,make,python3 "$suite" "$root" > "$root.log" 2>&1 ||
        { echo "bare_root: skipped, debootstrap cannot make a root here: $(tail -n 1 "$root.log")"; exit 0; }
    touch "$root/made"
fi
if ls "$root"/usr/include/{png.h,curl,openssl,cjson,microhttpd.h,utf8proc.h} 2>/dev/null; then
    echo "bare_root: $root is not bare" >&2
    exit 1
fi
rm -rf "$root/src" "$root/help"
mkdir -p "$root/src" "$root/usr/local/cuda" "$root/src/build/cuda-libs/nvidia/cublas/"{include,lib}
git ls-files -co --exclude-standard -z | tar --null -T - --ignore-failed-read -cf - | tar -C "$root/src" -xf -

# The mounts and the missing network are seen only by the commands within.
# shellcheck disable=SC2016  # the inner shells expand it
unshare -m -n bash -ec '
    mount --bind "$2" "$1/usr/local/cuda"
    mount --bind "$3" "$1/src/build/cuda-libs/nvidia/cublas/include"
    mount --bind "$4" "$1/src/build/cuda-libs/nvidia/cublas/lib"
    mount -t proc proc "$1/proc"
    for d in null zero urandom; do [ -e "$1/dev/$d" ] || mknod "$1/dev/$d" c 1 $([ $d = null ] && echo 3 || { [ $d = zero ] && echo 5 || echo 9; }); done
    chroot "$1" env -i HOME=/root PATH=/usr/local/cuda/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        bash -c "cd /src && make help > /help && scripts/gpu_check.sh"
' bare "$root" "$CUDA_HOME" "$CUBLASLT_INC" "$CUBLASLT_LIB" > "$root.log" 2>&1 && status=0 || status=$?

table=$root/src/build/gpu-check/table.txt
cat "$table" 2>/dev/null || tail -n 20 "$root.log"
if ! ls "$root"/src/build/gpu/gpu-{tests,bench} > /dev/null || ! grep -q '^build .* ok ' "$table"; then
    echo "bare_root: the programs were not built"
    exit 1
fi
if [ "$status" -eq 0 ]; then
    echo "bare_root: passed without a card" >&2
    exit 1
fi
grep -q '^tests of operations .*no GPU' "$table" || { echo "bare_root: it does not say that there is no card" >&2; exit 1; }
[ "$(grep -cE '^  make (all|gpu-check) ' "$root/help")" -eq 2 ] || { echo "bare_root: make help does not list the goals" >&2; exit 1; }
echo "bare_root: both programs are built, without a card every stage says so, and make help lists the goals"
