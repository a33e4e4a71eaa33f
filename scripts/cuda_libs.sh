#!/bin/bash
# cuda_libs.sh - cuBLASLt with its headers into build/cuda-libs, from NVIDIA's Python packages, of nvcc's version.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(nvcc --version | sed -n 's/.*release \([0-9]*\.[0-9]*\),.*/\1/p')
case $version in
13.0) packages=(nvidia-cublas==13.0.2.14) ;;
12.2) packages=(nvidia-cublas-cu12==12.2.5.6) ;;
12.6) packages=(nvidia-cublas-cu12==12.6.4.1) ;;
*)
    echo "cuda_libs: no version of cuBLAS is known to fit nvcc '$version'; install it with the toolkit" >&2
    exit 1
    ;;
esac
python3 -m pip install --quiet --no-deps --no-compile --upgrade --target build/cuda-libs "${packages[@]}"
echo "cuBLAS for CUDA $version is in build/cuda-libs; run make again"
