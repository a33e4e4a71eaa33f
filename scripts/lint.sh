#!/bin/bash
# lint.sh: the rules a compiler does not know. Layers, one library a file, no exit outside main, no fast-math, headers that
# say what they are, files that can be read at a sitting, layout, shell.
# shellcheck disable=SC2317  # the functions are called through refuse
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

search() { grep -rnE --include='*.c' --include='*.h' --include='*.cu' --include='*.cuh' "$@"; }

refuse "an arrow back: models/ or kernels/ includes worker/" search '#include "worker/' models kernels
refuse "an arrow back: kernels/ includes models/" search '#include "models/' kernels
refuse "models/ looks behind the operation table" search '#include "kernels/(plain|cpu|cuda)/' models worker
refuse "product code includes test/ or scripts/" search '#include "(test|scripts)/' worker models kernels
refuse "exit or abort outside main" bash -c "grep -nwE '(exit|abort|_exit|quick_exit)\(' -r worker models kernels --include='*.c' --include='*.cu' | grep -v '^worker/main.c'"
refuse "models/ and kernels/ do not print" search '\b(printf|puts|perror)\(|fprintf\((stdout|stderr)' models kernels
refuse "copies without a bound" search '\b(strcpy|strcat|sprintf|gets|strncat|alloca|tmpnam|mktemp)\(' worker models kernels
refuse "fast-math" grep -nE -- '-ffast-math|-Ofast|use_fast_math' Makefile
refuse "a document that is cited wrongly or leads nowhere" python3 scripts/lint_docs.py
refuse "unfinished" search '\b(TODO|FIXME|XXX)\b' worker models kernels test

only_in() { # PATTERN FILES...: a library's header is included by these files alone
    local pattern=$1 found
    shift
    found=$(grep -rlE --include='*.c' --include='*.h' --include='*.cu' "#include <$pattern" worker models kernels | grep -vxF "$(printf '%s\n' "$@")")
    [ -z "$found" ] || { echo "lint: <$pattern> belongs to $*, and is in: $found"; bad=1; }
}
only_in 'curl/' worker/http/http_client.c
only_in 'microhttpd' worker/http/http_server.c
only_in 'cjson/' worker/base/json.c
only_in 'openssl/' worker/base/crypto.c
only_in 'png\.h' models/image/png.c
only_in '(jpeglib|jerror)' models/image/jpeg.c
only_in 'utf8proc' models/text/unicode.c
only_in 'dnnl' kernels/cpu/onednn.c
only_in 'cublasLt' kernels/cuda/cublaslt.h
only_in 'cudnn' kernels/cuda/cudnn/cudnn.c

sources() { git ls-files -co --exclude-standard "$@" | while read -r f; do [ -f "$f" ] && echo "$f"; done; }

headers_without_comment() { # what it is, before anything else
    sources 'worker/*.h' 'models/*.h' 'kernels/*.h' 'kernels/*.cuh' 'test/*.h' | while read -r f; do
        head -n 1 "$f" | grep -q '^/\*' || echo "$f"
    done
}
refuse "a header that does not begin with what it is" headers_without_comment

long_files() {
    sources '*.c' '*.h' '*.cu' '*.cuh' '*.cc' | xargs wc -l | awk -v most=800 '$2 != "total" && $1 > most'
}
refuse "over 800 lines: that is more than one noun" long_files

badly_laid_out() {
    sources '*.c' '*.h' '*.cu' '*.cuh' | xargs clang-format-19 --dry-run 2>&1 | sed -n 's/^\([a-z][^ :]*\):[0-9]*:.*warning:.*/\1/p' | uniq
}
if command -v clang-format-19 >/dev/null; then
    refuse "make fmt would change" badly_laid_out
else
    echo "lint: clang-format-19 is not installed: the layout was not checked"
fi

if command -v shellcheck >/dev/null; then
    shellcheck scripts/*.sh test/*/*.sh .ci/run || bad=1
else
    echo "lint: shellcheck is not installed: shell scripts were not checked"
fi
[ $bad -eq 0 ] && echo "lint: clean"
exit $bad
