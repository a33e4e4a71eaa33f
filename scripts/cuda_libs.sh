#!/bin/bash
# cuda_libs.sh - installs cuBLASLt and its headers into build/cuda-libs, from NVIDIA's Python packages, in the version of
# nvcc; with CUDNN=1 also cuDNN and the compiler that it loads at run time (0.7 GB unpacked).
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(nvcc --version | sed -n 's/.*release \([0-9]*\.[0-9]*\),.*/\1/p')
case $version in
13.0)
    packages=(nvidia-cublas==13.0.2.14)
    cudnn=(nvidia-cudnn-cu13==9.19.0.56 nvidia-cuda-nvrtc==13.0.88)
    ;;
12.2)
    packages=(nvidia-cublas-cu12==12.2.5.6)
    cudnn=(nvidia-cudnn-cu12==9.19.0.56 nvidia-cuda-nvrtc-cu12==12.2.140)
    ;;
12.6)
    packages=(nvidia-cublas-cu12==12.6.4.1)
    cudnn=(nvidia-cudnn-cu12==9.19.0.56 nvidia-cuda-nvrtc-cu12==12.6.77)
    ;;
*)
    echo "cuda_libs: which cuBLAS fits nvcc '$version' is not known here; install it with the toolkit" >&2
    exit 1
    ;;
esac
[ "${CUDNN:-0}" = 0 ] || packages+=("${cudnn[@]}")
python3 -m pip install --quiet --no-deps --no-compile --upgrade --target build/cuda-libs "${packages[@]}"
echo "installed into build/cuda-libs: ${packages[*]}. Run make again."
