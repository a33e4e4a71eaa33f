#!/bin/bash
# cuda_check.sh - the CUDA files compile for every generation: with the nvcc that is installed, and with clang against
# CUDA 12.2, the version of Cloud Run's driver. A kernel that spills registers to memory is an error: those that are
# near the limit count on it. Says what it skips and why. A few minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
out=build/cuda-check
jobs=${JOBS:-$(nproc)}
mkdir -p $out

if [ -z "$(scripts/cuda_paths.sh)" ]; then
    echo "cuda-check: skipped, there is no nvcc"
    exit 0
fi

# All files of a kind through one command, some at a time; the file's name is put behind it.
each() { # KIND COMMAND...
    local kind=$1
    shift
    # shellcheck disable=SC2016  # the inner shell expands it
    printf '%s\0' kernels/cuda/*."$kind" |
        xargs -0 -n 1 -P "$jobs" bash -c 'f=${!#}; "${@:1:$#-1}" -c "$f" -o '"$out"'/$(basename "$f").o || { echo "in $f" >&2; exit 255; }' check "$@"
}

echo "cuda-check: nvcc $(nvcc --version | sed -n 's/.*release \([0-9.]*\),.*/\1/p'), sm_80 sm_89 sm_90"
each cu nvcc -std=c++17 -O3 -I. -Xcompiler -Wall,-Wextra -Werror all-warnings -Xptxas --warn-on-spills \
    -gencode arch=compute_80,code=sm_80 -gencode arch=compute_89,code=sm_89 -gencode arch=compute_90,code=sm_90 -gencode arch=compute_90,code=compute_90

if ! command -v clang++-19 >/dev/null; then
    echo "cuda-check: CUDA 12.2 skipped, there is no clang++-19"
    exit 0
fi
if ! scripts/cuda12.sh >$out/cuda12.log 2>&1; then
    echo "cuda-check: CUDA 12.2 skipped, its packages cannot be had here: $(tail -n 1 $out/cuda12.log)"
    exit 0
fi
tree=build/cuda-12.2
echo "cuda-check: clang 19 and CUDA 12.2, sm_80 sm_89 sm_90"
each cu clang++-19 -x cuda --cuda-path=$tree -std=c++17 -O2 -I. -Wall -Wno-unknown-cuda-version --cuda-gpu-arch=sm_80 \
    --cuda-gpu-arch=sm_89 --cuda-gpu-arch=sm_90
each c gcc -std=gnu17 -O1 -I. -D_GNU_SOURCE -isystem $tree/include -Wall -Wextra -Werror
echo "cuda-check: both compile"
