#!/bin/bash
# lint.sh: the rules that a compiler does not check: layers, the order of folders, one library a file, no exit outside
# main, no fast-math, headers that say what they are, files short enough to read in one sitting, layout, shell. A rule
# that cannot be checked is an offence, too: a folder or a file that it names may have moved. With CI set in the
# environment a missing tool is an offence as well.
# shellcheck disable=SC2317  # the functions are called through refuse
set -uo pipefail
bad=0
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT

refuse() { # TEXT COMMAND...: each line it prints is an offence; status 2, or text on stderr: it could not check
    local text=$1 found status=0
    shift
    found=$("$@" 2> "$errors") || status=$?
    if [ $status -ge 2 ] || [ -s "$errors" ]; then
        echo "lint: cannot check the rule \"$text\" (status $status of $1)"
        head -n 20 "$errors"
        bad=1
    fi
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
exits() {
    local found status=0
    found=$(grep -nwE '(exit|abort|_exit|quick_exit)\(' -r worker models kernels --include='*.c' --include='*.cu') || status=$?
    [ -f worker/main.c ] || echo "worker/main.c is not there" >&2
    grep -v '^worker/main.c:' <<< "$found"
    [ "$status" -lt 2 ] || return 2
}
refuse "exit or abort outside main" exits
refuse "models/ and kernels/ do not print" search '\b(printf|puts|perror)\(|fprintf\((stdout|stderr)' models kernels
refuse "copies without a bound" search '\b(strcpy|strcat|sprintf|gets|strncat|alloca|tmpnam|mktemp)\(' worker models kernels
refuse "fast-math" grep -nE -- '-ffast-math|-Ofast|use_fast_math' Makefile test/gpu/gpu.mk
refuse "a document that is cited wrongly or leads nowhere" python3 scripts/lint_docs.py
refuse "docs/PROTOCOL.md tells of other answers or errors than the code" python3 scripts/lint_protocol.py
refuse "docs/OPERATIONS.md lacks an answer or a line of the log, or has one too many" python3 scripts/lint_operations.py
refuse "unfinished" search '\b(TODO|FIXME|XXX)\b' worker models kernels test

users_but() { # PATTERN FILES...: prints the files that include such a header and are not among FILES
    local pattern=$1 found status=0
    shift
    found=$(grep -rlE --include='*.c' --include='*.h' --include='*.cu' "#include <$pattern" worker models kernels) || status=$?
    ls "$@" > /dev/null
    grep -vxF "$(printf '%s\n' "$@")" <<< "$found" | grep .
    [ "$status" -lt 2 ] || return 2
}
only_in() { # PATTERN FILES...: only these files may include the library's header
    refuse "<$1> belongs to ${*:2} alone" users_but "$@"
}
only_in 'curl/' worker/http/http_client.c
only_in 'microhttpd' worker/http/http_server.c
only_in 'cjson/' worker/base/json.c
only_in 'openssl/' worker/base/crypto.c
only_in 'jwt\.h' worker/base/libjwt.c
only_in 'zlib' worker/base/gunzip.c
only_in 'png\.h' models/codec/png.c
only_in '(jpeglib|jerror)' models/codec/jpeg.c models/codec/jpeg_{output.{c,h},splice.c}
only_in 'webp/' models/codec/webp.c
only_in 'libheif' models/codec/heif.c
only_in 'seccomp' models/jail/sandbox.c
only_in 'lcms2' models/notes/colour.c
only_in 'utf8proc' models/text/unicode.c
only_in 'dnnl' kernels/cpu/onednn.c
only_in 'cublasLt' kernels/cuda/cublaslt.h
only_in 'cudnn' kernels/cuda/cudnn/cudnn.c

refuse "the order of folders, a circle of files, a crowded folder" python3 scripts/lint_tree.py

sources() { # PATTERN...: prints the files that match; each pattern must match at least one
    local pattern files
    for pattern in "$@"; do
        files=$(git ls-files -co --exclude-standard "$pattern" | while read -r f; do [ ! -f "$f" ] || echo "$f"; done)
        if [ -z "$files" ]; then
            echo "there is no file $pattern" >&2
            return 2
        fi
        echo "$files"
    done
}

headers_without_comment() { # a header begins with a comment that says what it is
    local files f
    files=$(sources 'worker/*.h' 'models/*.h' 'kernels/*.h' 'kernels/*.cuh' 'test/*.h') || return 2
    for f in $files; do
        head -n 1 "$f" | grep -q '^/\*' || echo "$f"
    done
}
refuse "a header that does not begin with what it is" headers_without_comment

long_files() {
    local files
    files=$(sources '*.c' '*.h' '*.cu' '*.cuh' '*.cc') || return 2
    xargs wc -l <<< "$files" | awk -v most=800 '$2 != "total" && $1 > most'
}
refuse "over 800 lines: that is more than one noun" long_files

blind_goals() { # a goal that starts make again must be in AGAIN_GOALS, or it ends on a machine without the libraries
    local goals
    goals=$(sed -n 's/^AGAIN_GOALS := //p' Makefile)
    [ -n "$goals" ] || { echo "Makefile: there is no AGAIN_GOALS" >&2; return 2; }
    awk -v goals=" $goals " '/^[a-z-]+:/ { split($1, part, ":"); goal = part[1] }
        /^\t\$\(AGAIN\)/ && !index(goals, " " goal " ") { print "Makefile: " goal }' Makefile
}
refuse "a goal that starts make again and is not in AGAIN_GOALS" blind_goals

badly_laid_out() {
    local files warnings
    files=$(sources '*.c' '*.h' '*.cu' '*.cuh') || return 2
    warnings=$(xargs clang-format-19 --dry-run <<< "$files" 2>&1) || return 2
    sed -n 's/^\([a-z][^ :]*\):[0-9]*:.*warning:.*/\1/p' <<< "$warnings" | uniq
}

absent=''
for tool in clang-format-19 shellcheck; do
    command -v $tool > /dev/null || absent+=" $tool"
done
if [ -n "$absent" ]; then
    echo "lint: not installed, so its rules were not checked:$absent"
    [ -z "${CI:-}" ] || bad=1
fi
[[ $absent == *clang-format* ]] || refuse "make fmt would change" badly_laid_out
# Parts that a script reads in have no first line of their own: -a checks them as parts of it.
[[ $absent == *shellcheck* ]] || grep -lm1 '^#!' scripts/*.sh scripts/*/*.sh test/*/*.sh .ci/run | xargs shellcheck -x || bad=1
[[ $absent == *shellcheck* ]] || shellcheck -x -a scripts/deploy.sh || bad=1
scripts/deploy/lint.sh || bad=1
[ $bad -eq 0 ] && echo "lint: clean"
exit $bad
