#!/bin/bash
# cuda_paths.sh - prints where the CUDA parts of the build are, as make variables:
#   CUDA_HOME CUDA_INC CUDA_LIB   the toolkit; without nvcc nothing is printed at all
#   CUBLASLT_INC CUBLASLT_LIB     cuBLASLt: from the toolkit, the system, build/cuda-libs, or PyTorch's packages
#   CUDNN_LIB CUDNN_INC           cuDNN 9, from the same places; both are optional, and the headers serve only to check
#                                 our own declarations
set -euo pipefail
cd "$(dirname "$0")/.."

nvcc=${CUDA_HOME:+$CUDA_HOME/bin/nvcc}
for n in ${nvcc:-nvcc} /usr/local/cuda/bin/nvcc; do
    found=$(command -v "$n" || true)
    [ -n "$found" ] && break
done
[ -n "$found" ] || exit 0

# nvcc itself is asked for its folder: the one that was found may be a wrapper or a link
home=$("$found" --dryrun -x cu -E /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p')
home=$(realpath "${home:-$(dirname "$(dirname "$found")")}")
echo "CUDA_HOME := $home"

inc=$home/include lib=$home/lib64
[ -f "$inc/cuda_runtime_api.h" ] || inc=$home/targets/x86_64-linux/include
[ -f "$lib/libcudart_static.a" ] || lib=$home/targets/x86_64-linux/lib
echo "CUDA_INC := $inc"
echo "CUDA_LIB := $lib"

# nvcc and the library must have the same major version
major=$(sed -n 's/^#define CUDART_VERSION *\([0-9]*\)[0-9][0-9][0-9]$/\1/p' "$inc/cuda_runtime_api.h")
lt=libcublasLt.so.$major

# Prefers a place with both header and library, else takes the first of each: a toolkit may have only the header.
lt_pair='' lt_inc='' lt_lib='' dnn_found=''
look_in() { # INCLUDE LIB
    local inc='' lib=''
    if [[ -d $2 && $(realpath "$2") == *' '* ]]; then
        echo "cuda: $(realpath "$2") is left out, because make cannot use a path with a space" >&2
        return
    fi
    [ ! -f "$1/cublasLt.h" ] || inc=$(realpath "$1")
    [ ! -e "$2/$lt" ] || lib=$(realpath "$2")
    if [ -z "$lt_pair" ] && [ -n "$inc" ] && [ -n "$lib" ]; then
        lt_pair=1 lt_inc=$inc lt_lib=$lib
    fi
    lt_inc=${lt_inc:-$inc} lt_lib=${lt_lib:-$lib}
    if [ -z "$dnn_found" ] && [ -e "$2/libcudnn.so.9" ]; then
        dnn_found=1
        [ ! -f "$1/cudnn_graph.h" ] || echo "CUDNN_INC := $(realpath "$1")"
        echo "CUDNN_LIB := $(realpath "$2")"
    fi
}

look_in "$inc" "$lib"
look_in "$home/../cudnn/include" "$home/../cudnn/lib" # where nvcc itself comes from Python's packages
look_in /usr/include /usr/lib/x86_64-linux-gnu
sites() {
    echo build/cuda-libs
    python3 -c 'import site, sys; print(*site.getsitepackages(), site.getusersitepackages(), *sys.path, sep="\n")' \
        2>/dev/null || true
    # a PyTorch installation whose python3 is not in the PATH
    printf '%s\n' /opt/*/.venv/lib/python3*/site-packages /opt/*/lib/python3*/site-packages
}
while read -r site; do
    for i in "cu$major" cublas cudnn; do
        look_in "$site/nvidia/$i/include" "$site/nvidia/$i/lib"
    done
done < <(sites)
if [ -n "$lt_inc" ] && [ -n "$lt_lib" ]; then
    echo "CUBLASLT_INC := $lt_inc"
    echo "CUBLASLT_LIB := $lt_lib"
fi
