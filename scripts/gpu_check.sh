#!/bin/bash
# gpu_check.sh - all checks that need a GPU, in one call of at most ten minutes: builds the tests and the benchmarks,
# runs them, and ends with a table of one screen. Needs gcc, make, nvcc, cuBLASLt and a driver; no network, no packages.
# A stage that fails or runs out of time does not stop the next. Exit status 0: every stage ran and passed.
#
#   scripts/gpu_check.sh            the check
#   scripts/gpu_check.sh more       after it: failed tests under compute-sanitizer; when all passed, races and profiles
#   scripts/gpu_check.sh pack       where the larger golden sets are: copies them to build/gpu-golden, to travel along
#
#   OUT=DIR       logs and table (build/gpu-check): what.log build.log tests.log bench.log more.log smi.csv table.txt
#   LIMIT_S=560   seconds for everything
set -uo pipefail
cd "$(dirname "$0")/.." || exit

usage() { sed -n '2,13s/^# \{0,1\}//p' "$0"; }

begin=$SECONDS
limit=${LIMIT_S:-560}
out=${OUT:-build/gpu-check}
golden=build/gpu-golden
programs=${PROGRAMS:-build/gpu} # a folder of its own, because the flags are not those of other builds
state=$programs/failed-tests     # here, because `more` may be called with another OUT
bad=0
mkdir -p "$out" "$programs"

[ -d $golden ] && export GOLDEN_DIR=$PWD/$golden
# where containers have the driver's programs and libraries
[ -d /usr/local/nvidia/bin ] && export PATH=$PATH:/usr/local/nvidia/bin
[ -d /usr/local/nvidia/lib64 ] && export LD_LIBRARY_PATH=/usr/local/nvidia/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

# --- stages ---

row() { # NAME RESULT SECONDS TEXT
    printf '%-24s %-8s %4s  %s\n' "$@" >> "$out/rows.tmp"
    printf '%-24s %-8s %4s  %s\n' "$@"
}

# Runs a command for at most SECONDS, or less if the total time runs out, and appends its output to LOG; $out/last.tmp
# holds this output alone. Sets $result to ok, FAIL, TIME (ran out of it) or late (never ran).
attempt() { # LOG SECONDS COMMAND...
    local log=$out/$1 most=$2 left=$((limit - SECONDS + begin)) started=$SECONDS rc
    shift 2
    took=0
    : > "$out/last.tmp"
    [ "$most" -gt "$left" ] && most=$left
    if [ "$most" -lt 5 ]; then
        result=late bad=1
        return
    fi
    echo "=== $* (at $((SECONDS - begin)) s, at most $most s)" >> "$log"
    timeout -k 5 "$most" "$@" > "$out/last.tmp" 2>&1
    rc=$?
    cat "$out/last.tmp" >> "$log"
    echo "=== ended with status $rc after $((SECONDS - started)) s" >> "$log"
    took=$((SECONDS - started))
    case $rc in
    0) result=ok ;;
    124 | 137) result=TIME bad=1 ;;
    *) result=FAIL bad=1 ;;
    esac
}

last_line() { grep -v '^$' "$out/last.tmp" | tail -n 1 | cut -c1-160; }

# A run that tested nothing has not passed: its row says NONE and the reason.
tests() { # NAME SECONDS FILTER...
    local name=$1 count why
    attempt tests.log "$2" "$programs"/gpu-tests "${@:3}"
    count=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped' "$out/last.tmp" | tail -n 1)
    if [[ $count =~ ^0\ passed,\ 0\ failed ]] || [[ $result = ok && ! $count =~ ^[1-9] ]]; then
        result=NONE bad=1
        why=$(grep -E '^(skipped [0-9]+|stopped|nothing was tested): ' "$out/last.tmp" | head -n 1 | cut -c1-160)
    fi
    sed -n 's/^FAIL \([a-z0-9_]*\).*/\1/p' "$out/last.tmp" >> "$state"
    if [ -z "$count" ]; then # the run was cut short in the test that began last
        sed -n 's/^\[.*\] \([a-z0-9_]*\)$/\1/p' "$out/last.tmp" | tail -n 1 >> "$state"
    fi
    row "$name" $result $took "${why:-${count:-$(last_line)}}"
    [ $result = NONE ] ||
        grep -E '^(FAIL |skipped [0-9]+: |stopped: )' "$out/last.tmp" | cut -c1-200 | sed 's/^/    /' | tee -a "$out/rows.tmp"
}

# Runs a benchmark and prints the lines that match PATTERN below its row.
bench() { # NAME SECONDS PATTERN ARGUMENTS...
    local name=$1 pattern=$3
    attempt bench.log "$2" "$programs"/gpu-bench "${@:4}" --backend cuda
    if [ $result = ok ]; then
        row "$name" ok $took ''
        grep -E "$pattern" "$out/last.tmp" | cut -c1-150 | sed 's/^/    /' | tee -a "$out/rows.tmp"
    else
        row "$name" $result $took "$(last_line)"
    fi
}

# --- what there is ---

ask() { nvidia-smi --query-gpu="$1" --format=csv,noheader,nounits 2>/dev/null | head -n 1; }

look_around() {
    date -u '+%d %B %Y, %H:%M UTC'
    nvidia-smi || echo "no nvidia-smi"
    nvidia-smi -q -d CLOCK,POWER,PERFORMANCE 2>/dev/null
    for tool in nvcc compute-sanitizer ncu gcc make python3; do
        printf '%s: %s\n' $tool "$(command -v $tool || echo none) $($tool --version 2>/dev/null | grep -iE '[0-9]+\.[0-9]+' | tail -n 1)"
    done
    grep -m 1 'model name' /proc/cpuinfo
    nproc
    free -g
    df -h . "${TMPDIR:-/tmp}"
    ldconfig -p | grep -E 'libcuda|nvidia-ml|cublasLt|libcudnn' || echo 'ldconfig knows no library of a driver'
}

capability() { ask compute_cap | tr -d ' .'; }

# nvidia-smi reports once a second while everything else runs.
start_smi() {
    command -v nvidia-smi > /dev/null || return
    nvidia-smi --query-gpu=timestamp,pstate,clocks.sm,clocks.mem,power.draw,temperature.gpu,memory.used \
        --format=csv -l 1 > "$out/smi.csv" 2>&1 &
    smi=$!
    trap 'kill $smi 2>/dev/null' EXIT
}

heading() {
    echo "GPU check, $(date -u '+%d %B %Y, %H:%M UTC'), $(git rev-parse --short HEAD 2>/dev/null || echo 'no git')"
    if [ -n "$(ask name)" ]; then
        echo "$(ask name), driver $(ask driver_version), SM clock at most $(ask clocks.max.sm) MHz, $(ask power.limit) W, $(ask memory.total) MiB"
    else
        echo "no card: nvidia-smi names none"
    fi
    grep -h -m 1 '^card ' "$out/bench.log" 2>/dev/null
    grep -h -m 1 '^attention: ' "$out/bench.log" 2>/dev/null
}

table() {
    {
        heading
        cat "$out/rows.tmp"
        [ -s "$state" ] && echo "failed: $(sort -u "$state" | tr '\n' ' ')"
        echo "$([ $bad -eq 0 ] && echo "everything passed" || echo "NOT everything passed") in $((SECONDS - begin)) s"
    } > "$out/table.txt"
    rm -f "$out"/*.tmp
    printf '\n'
    cat "$out/table.txt"
    exit $bad
}

# --- the check ---

groups=(cuda_ gpu_bench gpu_model gpu_real gpu_whole gpu_load gpu_open gpu_precision gpu_card)

# Tests that belong to no group, so that a new one is not forgotten.
others() {
    sed -n 's/^TEST(\([a-z0-9_]*\).*/\1/p' test/gpu/*.c | grep -vE "^($(IFS='|'; echo "${groups[*]}"))"
}

check() {
    local sm other
    rm -f "$out"/*.log "$out"/*.tmp
    : > "$state"
    start_smi
    attempt what.log 30 bash -c look_around
    row "what is there" $result $took "$(grep -E '^nvcc: ' "$out/last.tmp" | cut -c1-120)"
    attempt what.log 30 scripts/cuda_paths.sh
    row "paths" $result $took "$(grep -cE '(CUBLASLT|CUDNN)_LIB' "$out/last.tmp") of cuBLASLt and cuDNN found"
    sm=$(capability)
    attempt build.log 240 make -j"$(nproc)" BUILD="$programs" CUDA_ARCHS="${sm:-90}" ONEDNN=0 WARN='-Wall -Wextra' gpu-programs
    row "build for sm_${sm:-90}" $result $took "$([ $result = ok ] || grep -m 1 -iE 'error|needs' "$out/last.tmp" | cut -c1-120)"
    [ $result = ok ] || table

    tests "tests of operations" 150 cuda_ gpu_bench gpu_precision
    tests "tests of networks" 60 gpu_model
    tests "tests at real sizes" 120 gpu_real
    local step='^(prepare|step|product|  products|  attention|  rest|device memory|refused)'
    bench "step 1024x1024" 60 "$step" step --width 1024 --height 1024 --txt 512 --random
    bench "  own attention" 45 '^step|^  attention' step --width 1024 --height 1024 --txt 512 --random --library never --warm-up 3 --seconds 2
    bench "  stream" 60 '^step|expanding|device memory' step --width 1024 --height 1024 --txt 512 --random --weights stream --warm-up 3 --seconds 2
    # a process of its own: the libraries that other tests load would use memory of the card
    tests "an L4's memory" 90 gpu_card__the_real_model_fits
    bench "step 768x1024" 45 '^step' step --width 768 --height 1024 --txt 512 --random --warm-up 3 --seconds 2
    bench "step 512x512" 45 '^step' step --width 512 --height 512 --txt 512 --random --warm-up 2 --seconds 2
    bench "autoencoder 1024x1024" 30 '^(encode|decode)' vae --width 1024 --height 1024 --warm-up 1 --seconds 2
    bench "text" 45 '^(T5|CLIP) ' text --warm-up 1 --seconds 2
    bench "rates" 60 '/s |none: ' rates --warm-up 2 --seconds 4
    # last, because these compare free memory, which libraries that load lazily may disturb
    tests "tests of whole jobs" 120 gpu_whole
    tests "tests of loading" 60 gpu_load gpu_open gpu_card__a_small gpu_card__the_real_model_is_planned
    other=$(others)
    # shellcheck disable=SC2086  # a list of words
    [ -z "$other" ] || tests "other tests" 60 $other
    table
}

# --- more ---

more() {
    local failed
    : > "$out/rows.tmp"
    failed=$(sort -u "$state" 2>/dev/null | head -n 4)
    if [ ! -x "$programs"/gpu-tests ]; then
        echo "gpu_check: run the check first: there is no $programs/gpu-tests" >&2
        exit 2
    fi
    if ! command -v compute-sanitizer > /dev/null; then
        row "compute-sanitizer" NONE 0 "it is not installed"
        bad=1
    elif [ -n "$failed" ]; then
        # in one process, because compute-sanitizer does not follow the tests into a child
        for test in $failed; do
            attempt more.log 150 env CHECK_TESTS_PER_CHILD=0 compute-sanitizer --tool memcheck --error-exitcode 9 "$programs"/gpu-tests "$test"
            row "memcheck" $result $took "$test: $(grep -m 1 -E 'Invalid|ERROR SUMMARY|Error:' "$out/last.tmp" | cut -c1-100)"
        done
    else
        for test in cuda__attention_takes cuda__conv2d; do
            # the small sizes of the dry run, because the checker makes a kernel about a hundred times slower
            attempt more.log 120 env GPU_TEST_DRY=1 CHECK_TESTS_PER_CHILD=0 compute-sanitizer --tool racecheck --error-exitcode 9 "$programs"/gpu-tests $test
            row "racecheck" $result $took "$test: $(grep -m 1 -E 'RACECHECK SUMMARY|Error:' "$out/last.tmp" | cut -c1-100)"
        done
    fi
    [ -n "$failed" ] || profiles
    table
}

profiles() {
    local ncu=(ncu --clock-control none --set full --launch-count 2)
    if ! command -v ncu > /dev/null; then
        row "ncu" NONE 0 "it is not installed"
        bad=1
        return
    fi
    local step=("$programs"/gpu-bench step --layers 1 --width 1024 --height 1024 --txt 512 --random --weights stream --library never
        --repeats 1 --warm-up 0 --seconds 0)
    attempt more.log 90 "${ncu[@]}" --kernel-name regex:attention_flash "${step[@]}"
    row "profile of attention" $result $took "$(profile)"
    attempt more.log 90 "${ncu[@]}" --kernel-name regex:dequantise "${step[@]}"
    row "profile of dequantise" $result $took "$(profile)"
    attempt more.log 90 "${ncu[@]}" --kernel-name regex:conv_mma --launch-skip 20 "$programs"/gpu-bench vae --width 1024 --height 1024 \
        --repeats 1 --warm-up 0 --seconds 0
    row "profile of conv_mma" $result $took "$(profile)"
}

profile() { grep -E 'Duration|Compute \(SM\) Throughput|DRAM Throughput|Registers Per' "$out/last.tmp" | head -n 4 | tr -s ' ' | tr '\n' ';' | cut -c1-140; }

# --- pack ---

pack() {
    local from=${GOLDEN_DIR:-../shared/golden}
    rm -rf $golden
    mkdir -p $golden
    cp -rL "$from/wide" "$from/comfy" $golden/
    chmod -R u+w $golden
    du -sh $golden
}

export -f look_around # for timeout, which runs programs but no shell functions

case ${1:-check} in
check | more | pack) "${1:-check}" ;;
-h | --help) usage ;;
*)
    usage >&2
    exit 2
    ;;
esac
