#!/bin/bash
# cuda_paths.sh - where the CUDA parts of the build are, as make variables on stdout:
#   CUDA_HOME CUDA_INC CUDA_LIB   the toolkit; nothing at all where there is no nvcc
#   CUBLASLT_INC CUBLASLT_LIB     cuBLASLt: of the toolkit, the system, build/cuda-libs, or PyTorch's packages
set -euo pipefail
cd "$(dirname "$0")/.."

nvcc=${CUDA_HOME:+$CUDA_HOME/bin/nvcc}
for n in ${nvcc:-nvcc} /usr/local/cuda/bin/nvcc; do
    found=$(command -v "$n" || true)
    [ -n "$found" ] && break
done
[ -n "$found" ] || exit 0

# what nvcc itself says its tree is: a wrapper or a link may stand in for it
home=$("$found" --dryrun -x cu -E /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p')
home=$(realpath "${home:-$(dirname "$(dirname "$found")")}")
echo "CUDA_HOME := $home"

inc=$home/include lib=$home/lib64
[ -f "$inc/cuda_runtime_api.h" ] || inc=$home/targets/x86_64-linux/include
[ -f "$lib/libcudart_static.a" ] || lib=$home/targets/x86_64-linux/lib
echo "CUDA_INC := $inc"
echo "CUDA_LIB := $lib"

# nvcc and the library have to be of the same major version
major=$(sed -n 's/^#define CUDART_VERSION *\([0-9]*\)[0-9][0-9][0-9]$/\1/p' "$inc/cuda_runtime_api.h")
lt=libcublasLt.so.$major

say() { # INCLUDE LIB
    if [ -f "$1/cublasLt.h" ] && [ -e "$2/$lt" ]; then
        echo "CUBLASLT_INC := $(realpath "$1")"
        echo "CUBLASLT_LIB := $(realpath "$2")"
        exit 0
    fi
}

say "$inc" "$lib"
say /usr/include /usr/lib/x86_64-linux-gnu
sites() {
    echo build/cuda-libs
    python3 -c 'import site, sys; print(*site.getsitepackages(), site.getusersitepackages(), *sys.path, sep="\n")' \
        2>/dev/null || true
}
while read -r site; do
    say "$site/nvidia/cu$major/include" "$site/nvidia/cu$major/lib"
    say "$site/nvidia/cublas/include" "$site/nvidia/cublas/lib"
done < <(sites)
