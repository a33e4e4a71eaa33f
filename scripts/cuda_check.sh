#!/bin/bash
# cuda_check.sh - compiles the CUDA files for every generation: with the installed nvcc, with clang against CUDA 12.2,
# the version of Cloud Run's driver, and with the compiler of CUDA 12.6, with which the image is built. A kernel that
# spills registers to memory is an error, because the sizes of the kernels are chosen so that none spills. Prints what
# it skips and why. Takes a few minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
out=build/cuda-check
jobs=${JOBS:-$(nproc)}
generations=(sm_80 sm_89 sm_90)
mkdir -p $out

if [ -z "$(scripts/cuda_paths.sh)" ]; then
    echo "cuda-check: skipped, there is no nvcc here"
    exit 0
fi

# Runs the command for each file, $jobs at a time, with the file's name as its last argument.
through() { # COMMAND... < names of files
    # shellcheck disable=SC2016  # the inner shell expands it
    tr '\n' '\0' | xargs -0 -n 1 -P "$jobs" bash -c '"$@" || { echo "in ${!#}" >&2; exit 255; }' check "$@"
}

compile() { # COMMAND... FILE: writes the object to $out
    "${@:1:$#-1}" -c "${!#}" -o "$out/$(basename "${!#}").o"
}
export -f compile
export out

each() { # KIND COMMAND...
    local kind=$1
    shift
    find kernels/cuda -name "*.$kind" | through compile "$@"
}

echo "cuda-check: nvcc $(nvcc --version | sed -n 's/.*release \([0-9.]*\),.*/\1/p'), ${generations[*]}"
each cu nvcc -std=c++17 -O3 -I. -Xcompiler -Wall,-Wextra -Werror all-warnings -Xptxas --warn-on-spills \
    -gencode arch=compute_80,code=sm_80 -gencode arch=compute_89,code=sm_89 -gencode arch=compute_90,code=sm_90 -gencode arch=compute_90,code=compute_90

# NVIDIA's Python packages have no nvcc 12.6, but NVRTC, which has the same front end, and ptxas, which allocates the
# registers. Together they are closer to nvcc 12.6 than PTX of a newer nvcc or of clang in the same ptxas: the front end
# decides what is unrolled and how many values are alive at a time.
check_spills() {
    local tree=build/cuda-12.6 log=$out/cuda12.6.log
    local nvrtc=$tree/nvidia/cuda_nvrtc/lib/libnvrtc.so.12 ptxas=$tree/nvidia/cuda_nvcc/bin/ptxas

    if ! { [ -f $nvrtc ] && [ -f $ptxas ]; } && ! python3 -m pip install --quiet --no-deps --no-compile --upgrade \
        --target $tree nvidia-cuda-nvrtc-cu12==12.6.85 nvidia-cuda-nvcc-cu12==12.6.85 >$log 2>&1; then
        echo "cuda-check: CUDA 12.6 skipped, its packages cannot be installed: $(grep -v '^WARNING' $log | tail -n 1)"
        return
    fi
    echo "cuda-check: NVRTC and ptxas of CUDA 12.6, ${generations[*]}"
    grep -l 'include "kernels/cuda/gpu/kernel.cuh"' kernels/cuda/gpu/*.cu | through spills $nvrtc $ptxas >$out/registers
    sort -rn $out/registers | sed -n '1s/^\([0-9]*\) \([^ ]*\) \(.*\)/cuda-check: no spills; most registers: \1 of 255, \3 on \2/p'
}

spills() { # NVRTC PTXAS FILE: prints a line for each kernel
    scripts/nvrtc_check.py "$1" "$2" "$3" sm_80 sm_89 sm_90
}
export -f spills

check_clang() {
    local tree=build/cuda-12.2

    if ! command -v clang++-19 >/dev/null; then
        echo "cuda-check: CUDA 12.2 skipped, there is no clang++-19 here"
        return
    fi
    if ! scripts/cuda12.sh >$out/cuda12.log 2>&1; then
        echo "cuda-check: CUDA 12.2 skipped, its packages cannot be installed: $(tail -n 1 $out/cuda12.log)"
        return
    fi
    echo "cuda-check: clang 19 and CUDA 12.2, ${generations[*]}"
    each cu clang++-19 -x cuda --cuda-path=$tree -std=c++17 -O2 -I. -Wall -Wno-unknown-cuda-version --cuda-gpu-arch=sm_80 \
        --cuda-gpu-arch=sm_89 --cuda-gpu-arch=sm_90
    each c gcc -std=gnu17 -O1 -I. -D_GNU_SOURCE -isystem $tree/include -Wall -Wextra -Werror
}

check_spills
check_clang
echo "cuda-check: everything that was not skipped compiles"
