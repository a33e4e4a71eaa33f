#!/bin/bash
# lint.sh: the rules a compiler does not know. Layers, one library a file, no exit outside main, no fast-math, shell.
set -uo pipefail
bad=0

refuse() { # TEXT COMMAND...: whatever the command finds is an offence
    local text=$1 found
    shift
    found=$("$@" 2>/dev/null)
    [ -z "$found" ] && return
    echo "lint: $text"
    echo "$found" | head -n 20
    bad=1
}

# shellcheck disable=SC2317  # called through refuse
search() { grep -rnE --include='*.c' --include='*.h' --include='*.cu' --include='*.cuh' "$@"; }

refuse "an arrow back: models/ or kernels/ includes worker/" search '#include "worker/' models kernels
refuse "an arrow back: kernels/ includes models/" search '#include "models/' kernels
refuse "models/ looks behind the operation table" search '#include "kernels/(cpu|cuda)/' models worker
refuse "product code includes test/ or scripts/" search '#include "(test|scripts|tools)/' worker models kernels
refuse "exit or abort outside main" bash -c "grep -nwE '(exit|abort|_exit|quick_exit)\(' -r worker models kernels --include='*.c' --include='*.cu' | grep -v '^worker/main.c'"
refuse "models/ and kernels/ do not print" search '\b(printf|puts|perror)\(|fprintf\((stdout|stderr)' models kernels
refuse "fast-math" grep -nE -- '-ffast-math|-Ofast|use_fast_math' Makefile
refuse "unfinished" search '\b(TODO|FIXME|XXX)\b' worker models kernels tools test

only_in() { # PATTERN FILES...: a library's header is included by these files alone
    local pattern=$1 found
    shift
    found=$(grep -rlE --include='*.c' --include='*.h' --include='*.cu' "#include <$pattern" worker models kernels | grep -vxF "$(printf '%s\n' "$@")")
    [ -z "$found" ] || { echo "lint: <$pattern> belongs to $*, and is in: $found"; bad=1; }
}
only_in 'curl/' worker/http_client.c
only_in 'microhttpd' worker/http_server.c
only_in 'cjson/' worker/json.c
only_in 'openssl/' worker/crypto.c
only_in 'png\.h' models/image/png.c
only_in '(jpeglib|jerror)' models/image/jpeg.c
only_in 'utf8proc' models/unicode.c
only_in 'dnnl' kernels/cpu/onednn.c
only_in 'cublasLt' kernels/cuda/cublaslt.h

if command -v shellcheck >/dev/null; then
    shellcheck scripts/*.sh .ci/run || bad=1
else
    echo "lint: shellcheck is not installed: shell scripts were not checked"
fi
[ $bad -eq 0 ] && echo "lint: clean"
exit $bad
