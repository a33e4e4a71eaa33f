#!/usr/bin/env python3
"""nvrtc_check.py LIBNVRTC PTXAS SOURCE.cu sm_80 ... - compiles the kernels of a file with NVRTC, the front end of one
version of CUDA, and its assembler, for each generation. Prints a line for each kernel: registers, generation, name.
Fails if a kernel spills registers to memory or does not compile.

NVRTC compiles device code only, so host functions become device functions that are never called. LAUNCH, which launches
all kernels, only takes the address of the kernel, so templates are instantiated as in the product.
"""
import ctypes
import re
import subprocess
import sys
import tempfile

HEADERS = {
    "cuda_runtime.h": "",
    "stdbool.h": "",
    "stddef.h": "typedef unsigned long size_t;\n#define NULL 0\n",
    "limits.h": "#define INT_MAX 2147483647\n",
    "math.h": "#define INFINITY __int_as_float(0x7f800000)\n",
    "stdint.h": "typedef signed char int8_t; typedef unsigned char uint8_t; typedef short int16_t;\n"
    "typedef unsigned short uint16_t; typedef int int32_t; typedef unsigned uint32_t; typedef long int64_t;\n"
    "typedef unsigned long uint64_t, uintptr_t;\n",
    "instantiate.h": '#include "kernels/cuda/gpu/isa.cuh"\n'
    "#undef LAUNCH\n#undef ALLOW_SHARED\n"
    "template <typename... T> int instantiate(void (*kernel)(T...)) { return kernel != 0; }\n"
    "#define LAUNCH(kernel, ...) instantiate(kernel)\n"
    "#define ALLOW_SHARED(kernel, bytes) instantiate(kernel)\n",
}


def texts(strings):
    return (ctypes.c_char_p * len(strings))(*[s.encode() for s in strings])


def fetched(size_of, bytes_of, program):
    n = ctypes.c_size_t()
    size_of(program, ctypes.byref(n))
    buffer = ctypes.create_string_buffer(max(1, n.value))
    bytes_of(program, buffer)
    return buffer.value


def ptx(nvrtc, source, generation):
    options = [generation.replace("sm_", "--gpu-architecture=compute_"), "-std=c++17", "-lineinfo", "-I.",
               "-default-device", "-DCUDA_SHIM=<instantiate.h>"]
    program = ctypes.c_void_p()
    with open(source, encoding="utf-8") as f:
        made = nvrtc.nvrtcCreateProgram(ctypes.byref(program), f.read().encode(), source.encode(), len(HEADERS),
                                        texts(list(HEADERS.values())), texts(list(HEADERS)))
    if made or nvrtc.nvrtcCompileProgram(program, len(options), texts(options)):
        log = fetched(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program)
        sys.exit(f"{source}, {generation}: NVRTC failed\n{log.decode()}")
    return fetched(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX, program)


def assembler_log(ptxas, code, generation):
    with tempfile.NamedTemporaryFile(suffix=".ptx") as f:
        f.write(code)
        f.flush()
        done = subprocess.run([ptxas, "-v", "-arch", generation, f.name, "-o", "/dev/null"], capture_output=True,
                              text=True, check=False)
    if done.returncode:
        sys.exit(f"{generation}: ptxas failed\n{done.stderr}")
    return done.stderr


def plain_name(mangled):
    done = subprocess.run(["c++filt", mangled], capture_output=True, text=True, check=False)
    return re.sub(r"\(.*|^void ", "", done.stdout.strip() or mangled)


def kernels(log):
    """The name, the bytes of spill stores and loads, and the registers of each kernel."""
    return re.findall(r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads"
                      r".*?Used (\d+) registers", log, re.DOTALL)


def main():
    library, ptxas, source, *generations = sys.argv[1:]
    nvrtc = ctypes.CDLL(library)
    spills = []
    for generation in generations:
        code = ptx(nvrtc, source, generation)
        found = kernels(assembler_log(ptxas, code, generation))
        if not found or len(found) != code.count(b".entry"):
            sys.exit(f"{source}, {generation}: ptxas reports {len(found)} kernels of {code.count(b'.entry')}")
        for name, stored, loaded, registers in found:
            print(registers, generation, plain_name(name))
            if int(stored) or int(loaded):
                spills.append(f"{source}, {generation}: {plain_name(name)} spills {stored} bytes, loads {loaded}")
    if spills:
        sys.exit("\n".join(spills))


main()
