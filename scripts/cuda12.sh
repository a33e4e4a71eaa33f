#!/bin/bash
# cuda12.sh - makes a folder build/cuda-12.2 that clang accepts as a CUDA 12.2 toolkit, from NVIDIA's Python packages.
# They have no nvcc 12, but its headers, cuBLASLt and its assembler. The `fatbinary` is a wrapper around that of the
# installed nvcc, whose options have other names. Safe to repeat; takes 1.3 GB.
set -euo pipefail
cd "$(dirname "$0")/.."

tree=build/cuda-12.2
[ -f $tree/complete ] && exit 0
home=$(scripts/cuda_paths.sh | sed -n 's/^CUDA_HOME := //p')
[ -n "$home" ] || { echo "cuda12: there is no nvcc here, whose fatbinary is needed" >&2; exit 1; }

rm -rf $tree
mkdir -p $tree/{bin,include,lib64,nvvm/libdevice}
# cccl 12.2.140 lacks the headers without a file name extension
python3 -m pip install --quiet --no-deps --no-compile --target $tree/packages nvidia-cuda-runtime-cu12==12.2.140 \
    nvidia-cuda-nvcc-cu12==12.2.140 nvidia-cuda-cccl-cu12==12.3.101.post1 nvidia-cublas-cu12==12.2.5.6 \
    nvidia-curand-cu12==10.3.3.141
for i in "$tree"/packages/nvidia/*/include; do cp -r "$i"/. "$tree"/include/; done
mv $tree/packages/nvidia/*/lib/*.so.* $tree/lib64/
mv $tree/packages/nvidia/cuda_nvcc/bin/ptxas $tree/bin/
mv $tree/packages/nvidia/cuda_nvcc/nvvm/libdevice/*.bc $tree/nvvm/libdevice/
rm -rf $tree/packages
cat > $tree/bin/fatbinary <<SH
#!/bin/bash
# clang writes --image=profile=sm_89,file=X, but the fatbinary of CUDA 13 takes --image3=kind=elf,sm=89,file=X
for a; do
    a=\${a/#--image=profile=sm_/--image3=kind=elf,sm=}
    args+=("\${a/#--image=profile=compute_/--image3=kind=ptx,sm=}")
done
exec $home/bin/fatbinary "\${args[@]}"
SH
chmod +x $tree/bin/*
touch $tree/complete
