#!/bin/bash
# fetch_weights.sh - downloads the weights that scripts/weights.json names into a model folder. Needs bash, curl, coreutils
# and flock (util-linux). --help says how it is called.
#
# A file is fetched in pieces, several at a time, each with a request for a range of bytes. Everything unfinished is in
# OUT/.fetch/NAME: "whole" is the beginning of the file, piece.K the piece that starts at K times the length of a piece. A
# piece that is complete is appended to "whole" when its turn comes, and removed, so the disk holds the file once. The
# lengths of these files are all that says how far a download is: whatever ends the program, the next run continues there.
{ set +x; } 2> /dev/null # a trace would show the token
set -euo pipefail
export LC_ALL=C

readonly here=${BASH_SOURCE[0]%/*}
endpoint=${HF_ENDPOINT:-https://huggingface.co}
endpoint=${endpoint%/}
token=${HF_TOKEN:-}
unset HF_TOKEN # the programs that are started need not have it
retries=${FETCH_RETRIES:-8}
backoff_ms=${FETCH_BACKOFF_MILLISECONDS:-1000}
piece_setting=${FETCH_PIECE_BYTES:-134217728}
speed_limit=${FETCH_MIN_BYTES_PER_SECOND:-20000}
speed_time=${FETCH_STALL_SECONDS:-30}
lock_seconds=${FETCH_LOCK_SECONDS:-5}
progress_seconds=${FETCH_PROGRESS_SECONDS:-10}
protocols='=https' # https alone, after redirections, too
readonly longest_pause_ms=120000 parts='transformer vae clip t5 tokenizers'

transformer=Q8_0 text=t5 out='' token_file='' connections=8 action=fetch table=$here/weights.json
wanted_parts=()
trouble='' # what went wrong, as a sentence without its end

# Return values of everything that asks a server: 0, or one of these.
readonly again=1 fatal=2 changed=3

usage() {
    cat << 'END'
usage: scripts/fetch_weights.sh --out DIR [options]

Downloads a quantised FLUX.1-Fill with everything that it needs into DIR, which is then a model folder: MODEL_DIR=DIR.

  --out DIR              the model folder; it is made if it is not there
  --transformer TYPE     Q8_0 (default), Q6_K, Q5_K_S or Q4_K_S
  --text t5|none         t5 (default): with the text encoders and tokenizers; none: without, for a folder with a prompt pack
  --part PART            only this part: transformer, vae, clip, t5 or tokenizers; may be given several times
  --token-file FILE      file with the access token; without it the variable HF_TOKEN is used, if it is set
  --connections N        ranges fetched at a time, 1 to 32; default 8
  --table FILE           another table than scripts/weights.json
  --list                 print what can be fetched, with sizes and licences; fetches and writes nothing
  --dry-run              print what would be fetched from where; fetches and writes nothing
  --rows                 print the table as it was read: tabs between columns, "-" for what is not known
  --help                 this text

Exit status: 0 all files are there and right, 1 something failed, 2 called wrongly, 130 interrupted. The same command again
continues where the last one stopped. The token is never printed, never in an argument list, and sent to HF_ENDPOINT alone.

Environment: HF_TOKEN; HF_ENDPOINT (https://huggingface.co; http is allowed on loopback alone); FETCH_RETRIES (8; failures
of one piece before the run fails), FETCH_BACKOFF_MILLISECONDS (1000; pause after the first of them, doubled each time, at
most two minutes), FETCH_PIECE_BYTES (134217728), FETCH_MIN_BYTES_PER_SECOND (20000) and FETCH_STALL_SECONDS (30): a
connection that is slower for so long is cut and made anew; FETCH_LOCK_SECONDS (5; how long to wait for another run in the
same folder), FETCH_PROGRESS_SECONDS (10; between lines of progress where there is no terminal).

To put the folder into a bucket, for WEIGHTS=gs://BUCKET/PREFIX:

  gcloud storage rsync DIR gs://BUCKET/PREFIX --recursive
END
}

say() { printf 'fetch_weights: %s\n' "$*" >&2; }
misuse() { say "$*"; say "--help lists the options"; exit 2; }
fail() { say "$*"; exit 1; }
size_of() { local n; n=$(stat -c %s -- "$1" 2> /dev/null) || n=0; echo "$n"; }
pause_ms() { sleep "$(($1 / 1000)).$(printf %03d $(($1 % 1000)))"; }

human() { # BYTES: GB, MB or bytes, with one decimal
    local n=$1 tenths
    if [ "$n" -ge 1000000000 ]; then tenths=$(((n + 50000000) / 100000000)); echo "$((tenths / 10)).$((tenths % 10)) GB"
    elif [ "$n" -ge 1000000 ]; then tenths=$(((n + 50000) / 100000)); echo "$((tenths / 10)).$((tenths % 10)) MB"
    else echo "$n bytes"
    fi
}

# --- the table ---------------------------------------------------------------------------------------------------------

row_part=() row_choice=() row_repository=() row_revision=() row_file=() row_to=() row_bytes=() row_size=() row_sha256=() row_licence=()
licence_name=() licence_page=() licence_consequence=()

read_object() { # LINE KEY...: values[] of an object of strings, numbers and null that is written on one line
    local rest=${1#"${1%%[![:space:]]*}"} key
    shift
    values=()
    [[ $rest == "{"* ]] || return 1
    rest=${rest#"{"}
    for key; do
        [[ $rest =~ ^\"$key\":\ (\"([^\"\\]*)\"|null|[0-9]+)(,\ |\},?$) ]] || return 1
        rest=${rest#"${BASH_REMATCH[0]}"}
        case ${BASH_REMATCH[1]} in
        null) values+=(-) ;;
        \"*) values+=("${BASH_REMATCH[2]}") ;;
        *) values+=("${BASH_REMATCH[1]}") ;;
        esac
    done
    [ -z "$rest" ]
}

add_row() { # the ten values of a file; refuses what could lead out of the model folder or into another request
    local v=("${values[@]}")
    [[ " $parts " == *" ${v[0]} "* && ${v[1]} =~ ^[A-Za-z0-9_-]+$ && ${v[2]} =~ ^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$ &&
        ${v[3]} =~ ^[A-Za-z0-9._-]+$ && ${v[4]} =~ ^[A-Za-z0-9._/-]+$ && ${v[5]} =~ ^[A-Za-z0-9_-][A-Za-z0-9._/-]*$ ]] || return 1
    [[ ${v[4]} != *..* && ${v[5]} != *..* && ${v[5]} != */ && ${v[6]} =~ ^(-|[1-9][0-9]{0,14})$ &&
        ${v[7]} =~ ^(-|[0-9.]+\ GB)$ && ${v[8]} =~ ^(-|[0-9a-f]{64})$ && -n ${v[9]} ]] || return 1
    row_part+=("${v[0]}") row_choice+=("${v[1]}") row_repository+=("${v[2]}") row_revision+=("${v[3]}") row_file+=("${v[4]}")
    row_to+=("${v[5]}") row_bytes+=("${v[6]}") row_size+=("${v[7]}") row_sha256+=("${v[8]}") row_licence+=("${v[9]}")
}

read_table() { # FILE: only JSON that is laid out as scripts/weights.json is
    local line section='' n=0
    [ -r "$1" ] || fail "there is no table '$1'; --table names another"
    while IFS= read -r line || [ -n "$line" ]; do
        n=$((n + 1))
        case $line in
        '{' | '}' | '  ]' | '  ],' | '  "about": "'*'",') ;;
        '  "licences": [') section=licences ;;
        '  "files": [') section=files ;;
        *)
            if [ "$section" = files ]; then
                read_object "$line" part choice repository revision file to bytes size sha256 licence && add_row
            elif [ "$section" = licences ]; then
                read_object "$line" licence page consequence && licence_name+=("${values[0]}") &&
                    licence_page+=("${values[1]}") && licence_consequence+=("${values[2]}")
            else
                false
            fi || fail "$1, line $n: not one file (or licence) a line with the keys of scripts/weights.json in their order"
            ;;
        esac
    done < "$1"
    [ ${#row_to[@]} -gt 0 ] || fail "$1 names no file"
}

print_rows() {
    local i
    for i in "${!row_to[@]}"; do
        printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "${row_part[i]}" "${row_choice[i]}" "${row_repository[i]}" \
            "${row_revision[i]}" "${row_file[i]}" "${row_to[i]}" "${row_bytes[i]}" "${row_size[i]}" "${row_sha256[i]}" \
            "${row_licence[i]}"
    done
}

print_list() {
    local i size
    for i in "${!row_to[@]}"; do
        size=${row_size[i]/#-/size not known}
        [ "${row_bytes[i]}" = - ] || size=$(human "${row_bytes[i]}")
        printf '%-12s %-7s %-30s %-15s %s\n' "${row_part[i]}" "${row_choice[i]/#-/}" "${row_to[i]}" "$size" "${row_licence[i]}"
        printf '%20s from %s, %s\n' '' "${row_repository[i]}" "$(revision_in_words "$i")"
    done
    for i in "${!licence_name[@]}"; do
        printf '\n%s: %s\n    %s\n' "${licence_name[i]}" "${licence_consequence[i]}" "${licence_page[i]}"
    done
}

revision_in_words() { # ROW
    if [[ ${row_revision[$1]} =~ ^[0-9a-f]{40}$ ]]; then echo "commit ${row_revision[$1]}"
    else echo "revision ${row_revision[$1]}, which may change"
    fi
}

is_wanted() { # ROW
    local part=${row_part[$1]}
    [ "${row_choice[$1]}" = - ] || [ "${row_choice[$1]}" = "$transformer" ] || return 1
    if [ ${#wanted_parts[@]} -gt 0 ]; then
        [[ " ${wanted_parts[*]} " == *" $part "* ]]
    else
        [ "$text" = t5 ] || [ "$part" = transformer ] || [ "$part" = vae ]
    fi
}

url_of() { echo "$endpoint/${row_repository[$1]}/resolve/${row_revision[$1]}/${row_file[$1]}"; }

print_plan() {
    local i state
    for i in "${!row_to[@]}"; do
        is_wanted "$i" || continue
        state="would be fetched"
        [ ! -e "$out/${row_to[i]}" ] || state="is there; would be compared"
        printf '%s: %s, from %s\n' "$out/${row_to[i]}" "$state" "$(url_of "$i")"
    done
}

# --- one request ---------------------------------------------------------------------------------------------------------

is_allowed() { # URL: https; plain http on loopback, if the endpoint is there, too
    [[ $1 != *[[:space:]\"\\]* && $1 != *[[:cntrl:]]* ]] || return 1
    case $1 in
    https://[!/]*) ;;
    http://*) is_loopback "$1" && is_loopback "$endpoint" ;;
    *) return 1 ;;
    esac
}

is_loopback() { [[ $1 =~ ^http://(127\.[0-9]+\.[0-9]+\.[0-9]+|localhost|\[::1\])(:[0-9]+)?(/|$) ]]; }

start_request() { # URL WITH_TOKEN curl's options...: its reply, headers first, can be read from descriptor $reply
    local url=$1 with_token=$2
    shift 2
    exec {reply}< <(
        # The address goes this way as well: those of content networks are signed, and whoever has one may fetch.
        {
            printf 'url = "%s"\n' "$url"
            [ "$with_token" = 0 ] || [ -z "$token" ] || printf 'header = "Authorization: Bearer %s"\n' "$token"
        } | curl -q --config - --silent --globoff --include --suppress-connect-headers --proto "$protocols" --connect-timeout 20 \
            --speed-limit "$speed_limit" --speed-time "$speed_time" --user-agent fetch_weights "$@" 2> /dev/null
    )
    request=$!
}

end_request() { # curl_status
    exec {reply}<&-
    curl_status=0
    wait "$request" || curl_status=$?
}

read_head() { # the status line and the headers of a reply, into status and head[]; fails where none comes
    local line name
    status=0
    head=()
    IFS= read -r -u "$reply" line || return 1
    [[ $line =~ ^HTTP/[0-9.]+\ ([0-9]{3}) ]] || return 1
    status=${BASH_REMATCH[1]}
    while IFS= read -r -u "$reply" line; do
        line=${line%$'\r'}
        [ -n "$line" ] || return 0
        name=${line%%:*}
        line=${line#*:}
        head[${name,,}]=${line#"${line%%[![:space:]]*}"}
    done
    return 1
}

explain_curl() { # what curl's exit status means, for those that are not "the connection failed"
    case $curl_status in
    3) trouble="the address of $what is not one"; return $fatal ;;
    1 | 2) trouble="this curl cannot fetch $what (curl's exit status $curl_status)"; return $fatal ;;
    6) trouble="the host of $what has no address" ;;
    7) trouble="nothing listens where $what should be" ;;
    28) trouble="$what came slower than $speed_limit bytes a second for $speed_time s, or not at all" ;;
    60 | 77) trouble="the certificate of the server of $what cannot be verified: install ca-certificates"; return $fatal ;;
    *) trouble="the connection for $what broke (curl's exit status $curl_status)" ;;
    esac
    return $again
}

explain_status() { # OURS: what a status other than the expected one means; OURS: the endpoint said it, not a content network
    case $status in
    408 | 425 | 429 | 5??)
        trouble="the server answered $status for $what"
        [[ ! ${head[retry-after]:-} =~ ^[0-9]{1,5}$ ]] || retry_after_ms=$((10#${head[retry-after]} * 1000))
        return $again
        ;;
    esac
    if [ "$1" = 0 ]; then # a signed address that is no longer valid is the usual reason; a new one is asked for
        trouble="the content network answered $status for $what"
        return $again
    fi
    case $status in
    401 | 403)
        trouble="the server answered $status for $what: accept the licence at $endpoint/${row_repository[row]} with your account, and"
        if [ -n "$token" ]; then trouble+=" check that the token is that account's and may read gated repositories"
        else trouble+=" set HF_TOKEN (or --token-file) to an access token of it"
        fi
        ;;
    404 | 410) trouble="${row_repository[row]} has no file ${row_file[row]} in revision ${row_revision[row]} ($status)" ;;
    *) trouble="the server answered $status for $what, which is not understood" ;;
    esac
    return $fatal
}

origin_of() { [[ $1 =~ ^(https?://[^/]+) ]] && echo "${BASH_REMATCH[1],,}"; }

# --- where a file is -------------------------------------------------------------------------------------------------------

resolve() { # asks the endpoint for $row: place, ours (0: elsewhere, without the token), announced_bytes, announced_sha256
    local url hop next value
    url=$(url_of "$row")
    announced_bytes=- announced_sha256=-
    for ((hop = 0; hop < 5; hop++)); do
        start_request "$url" 1 --head
        read_head || { end_request; explain_curl; return; }
        end_request
        value=${head[x-linked-size]:-}
        [[ ! $value =~ ^[0-9]{1,15}$ ]] || announced_bytes=$value
        value=${head[x-linked-etag]:-}
        value=${value//\"/}
        [[ ! $value =~ ^[0-9a-f]{64}$ ]] || announced_sha256=$value
        case $status in
        200) place=$url ours=1; return 0 ;;
        301 | 302 | 303 | 307 | 308) ;;
        *) explain_status 1; return ;;
        esac
        next=${head[location]:-}
        [[ $next != /* ]] || next=$(origin_of "$url")$next
        is_allowed "$next" || { trouble="the server leads from $what to an address that is not https"; return $fatal; }
        [ "$(origin_of "$next")" = "$(origin_of "$endpoint")" ] || { place=$next ours=0; return 0; }
        url=$next
    done
    trouble="the server leads from $what in a circle"
    return $fatal
}

expect() { # wanted_bytes and wanted_sha256 of $row: of the table, else of the server; both may not differ
    wanted_bytes=${row_bytes[row]} wanted_sha256=${row_sha256[row]} digest_from='the table'
    if [ "$wanted_bytes" != - ] && [ "$announced_bytes" != - ] && [ "$wanted_bytes" != "$announced_bytes" ]; then
        trouble="the server announces $announced_bytes bytes for $what, the table says $wanted_bytes; nothing was fetched"
        return $fatal
    fi
    if [ "$wanted_sha256" != - ] && [ "$announced_sha256" != - ] && [ "$wanted_sha256" != "$announced_sha256" ]; then
        trouble="the server announces the SHA-256 $announced_sha256 for $what, the table says $wanted_sha256; nothing was fetched"
        return $fatal
    fi
    [ "$wanted_bytes" != - ] || wanted_bytes=$announced_bytes
    [ "$wanted_sha256" != - ] || { wanted_sha256=$announced_sha256 digest_from='the server'; }
}

probe() { # asks for one byte: size, etag, and whether the server sends ranges
    conditional=0
    ask_place 0-0 || return
    end_request
    etag=${head[etag]:-} ranges=0 size=-
    [[ -z $etag || $etag == W/* || $etag == *[[:cntrl:]]* ]] || conditional=1
    if [ "$status" = 206 ] && [[ ${head[content-range]:-} =~ ^bytes\ 0-0/([0-9]{1,15})$ ]]; then
        size=${BASH_REMATCH[1]} ranges=1
    elif [ "$status" = 200 ] && [[ ${head[content-length]:-} =~ ^[0-9]{1,15}$ ]]; then
        size=${head[content-length]}
    elif [ "$status" != 200 ] && [ "$status" != 416 ]; then
        trouble="the server answered $status and '${head[content-range]:-no range}' for the first byte of $what"
        return $again
    fi
    if [ "$size" != - ] && [ "$wanted_bytes" != - ] && [ "$size" != "$wanted_bytes" ]; then
        trouble="$what has $size bytes on the server; $wanted_bytes are expected"
        return $fatal
    fi
    [ "$size" != - ] || size=$wanted_bytes
}

ask_place() { # RANGE, or "" for everything: starts a request and reads its head
    local options=()
    [ -z "$1" ] || options+=(--range "$1")
    # A change of the file between two pieces is noticed by this condition; weak validators do not promise the same bytes.
    [ -z "$1" ] || [ "$conditional" = 0 ] || options+=(--header "If-Range: $etag")
    [ "$ours" = 1 ] || options+=(--location --max-redirs 3)
    start_request "$place" "$ours" "${options[@]}"
    while :; do
        read_head || { end_request; explain_curl; return; }
        [[ $status == 3?? && $ours = 0 ]] || break
        is_allowed "${head[location]:-}" || [[ ${head[location]:-} == /* ]] ||
            { end_request; trouble="the content network leads from $what to an address that is not https"; return $fatal; }
    done
    case $status in
    200 | 206 | 416) ;;
    *) end_request; explain_status "$ours" ;;
    esac
}

until_done() { # COMMAND...: until it succeeds or fails for good, with pauses that grow
    local failures=0 code wait_ms=$backoff_ms
    while :; do
        retry_after_ms=0 code=0
        "$@" || code=$?
        [ $code = $again ] || return $code
        failures=$((failures + 1))
        if [ $failures -gt "$retries" ]; then
            trouble+="; gave up after $failures failures. The same command again continues"
            return $fatal
        fi
        [ "$wait_ms" -gt "$retry_after_ms" ] || wait_ms=$retry_after_ms
        [ "$wait_ms" -lt "$longest_pause_ms" ] || wait_ms=$longest_pause_ms
        say "$trouble; again in $((wait_ms / 1000)).$((wait_ms / 100 % 10)) s (failure $failures of at most $retries)"
        pause_ms "$wait_ms"
        [ "$retry_after_ms" = 0 ] || wait_ms=$backoff_ms
        wait_ms=$((wait_ms * 2))
    done
}

# --- the bytes of a file ---------------------------------------------------------------------------------------------------

take() { # COUNT FILE: appends what is read from the reply
    head -c "$1" <&"$reply" >> "$2" 2> /dev/null && return 0
    trouble="cannot write '$2': is the disk full? $(free_bytes) bytes are free"
    return $fatal
}

free_bytes() {
    local line
    line=$(df -Pk -- "$out" | tail -n 1)
    read -r _ _ _ line _ <<< "$line"
    echo $((line * 1024))
}

fetch_piece() { # K: the rest of piece K
    local piece=$state/piece.$1 start=$(($1 * piece_bytes)) first last code=0
    last=$((start + piece_bytes < size ? start + piece_bytes - 1 : size - 1))
    [ "$resolved" = 1 ] || resolve || return
    resolved=0 # the next attempt asks for the place again: a signed address ends after a while
    first=$((start + $(size_of "$piece")))
    [ $first -le $last ] || return 0
    ask_place "$first-$last" || return
    if [ "$status" = 200 ] && [ "$conditional" = 1 ] && [ "${head[etag]:-}" = "$etag" ]; then
        end_request
        conditional=0
        trouble="the server of $what does not know conditions for ranges"
        return $again
    fi
    if [ "$status" != 206 ] || { [ -n "$etag" ] && [ "${head[etag]:-$etag}" != "$etag" ]; }; then
        end_request
        trouble="$what changed on the server while it was fetched"
        return $changed
    fi
    if ! [[ ${head[content-range]:-} =~ ^bytes\ ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15})$ ]] ||
        [ "${BASH_REMATCH[1]}" != $first ] || [ "${BASH_REMATCH[2]}" -lt $first ] || [ "${BASH_REMATCH[2]}" -gt $last ] ||
        [ "${BASH_REMATCH[3]}" != "$size" ]; then
        end_request
        trouble="the server sent '${head[content-range]:-no range}' for the bytes $first to $last of $size of $what"
        return $again
    fi
    take $((BASH_REMATCH[2] - first + 1)) "$piece" || code=$?
    end_request
    [ $code = 0 ] || return $code
    [ $((start + $(size_of "$piece"))) -le $last ] || return 0
    explain_curl
}

fetch_plain() { # everything in one stream, from its beginning
    [ "$resolved" = 1 ] || resolve || return
    resolved=0
    : > "$state/whole"
    ask_place '' || return
    [ "$status" = 200 ] || { end_request; trouble="the server answered $status for $what"; return $again; }
    local code=0
    take "${size/#-/999999999999999}" "$state/whole" || code=$?
    end_request
    [ $code = 0 ] || return $code
    if [ "$size" = - ]; then [ $curl_status != 0 ] || return 0
    elif [ "$(size_of "$state/whole")" = "$size" ]; then return 0
    fi
    explain_curl
}

worker() { # fetches one piece after the other that nobody else has claimed
    local k
    trap - INT TERM EXIT
    if [ "$ranges" = 0 ]; then
        try_and_tell fetch_plain && : > "$state/run/done"
        return
    fi
    for ((k = $(size_of "$state/whole") / piece_bytes; k * piece_bytes < size; k++)); do
        [ ! -e "$state/run/failed" ] || return 0
        set -o noclobber
        { : > "$state/run/claim.$k"; } 2> /dev/null || { set +o noclobber; continue; }
        set +o noclobber
        try_and_tell fetch_piece "$k" || return
        resolved=1
    done
}

try_and_tell() { # COMMAND...: leaves a note for fetch_bytes where it fails for good
    local code=0
    until_done "$@" || code=$?
    [ $code != 0 ] || return 0
    printf '%s\n%s\n' "$code" "$trouble" > "$state/run/failed.$BASHPID"
    mv -f "$state/run/failed.$BASHPID" "$state/run/failed"
    return 1
}

workers=()

start_workers() {
    local n=$connections
    rm -rf "$state/run"
    mkdir "$state/run" || return $fatal
    if [ "$ranges" = 0 ]; then n=1
    elif [ "$n" -gt $(((size + piece_bytes - 1) / piece_bytes)) ]; then n=$(((size + piece_bytes - 1) / piece_bytes))
    fi
    set -m # a process group each, so that a worker can be ended together with its curl
    while [ ${#workers[@]} -lt "$n" ]; do
        worker < /dev/null &
        workers+=($!)
    done
    # If this program is killed, nobody else would end the workers, and they hold the lock.
    (
        trap - INT TERM EXIT
        while kill -0 $$ 2> /dev/null; do sleep 0.3; done
        end_workers
    ) < /dev/null > /dev/null 2>&1 &
    watch=$!
    set +m
}

end_workers() {
    local w
    for w in "${workers[@]}"; do kill -TERM -- "-$w" 2> /dev/null || :; done
}

stop_workers() {
    end_workers
    if [ -n "${watch:-}" ]; then kill -TERM -- "-$watch" 2> /dev/null || :; fi
    wait 2> /dev/null || :
    workers=() watch=''
}

a_worker_lives() {
    local w
    for w in "${workers[@]}"; do ! kill -0 "$w" 2> /dev/null || return 0; done
    return 1
}

join_pieces() { # appends the complete pieces that come next
    local k at piece
    while :; do
        at=$(size_of "$state/whole")
        [ "$at" -lt "$size" ] || return 0
        k=$((at / piece_bytes))
        piece=$state/piece.$k
        [ $((k * piece_bytes + $(size_of "$piece"))) -ge $((size < (k + 1) * piece_bytes ? size : (k + 1) * piece_bytes)) ] || return 0
        if ! tail -c "+$((at - k * piece_bytes + 1))" -- "$piece" >> "$state/whole" 2> /dev/null; then
            trouble="cannot write '$state/whole': is the disk full? $(free_bytes) bytes are free"
            return $fatal
        fi
        rm -f -- "$piece"
    done
}

is_complete() {
    if [ "$ranges" = 1 ]; then [ "$(size_of "$state/whole")" -ge "$size" ]
    else [ -e "$state/run/done" ]
    fi
}

fetch_bytes() { # of $row into $state/whole, by the workers
    local code=0 alive=1
    start_workers || return
    until is_complete || [ $alive = 0 ] || [ -e "$state/run/failed" ]; do
        show_progress
        sleep 0.1
        a_worker_lives || alive=0
        [ "$ranges" = 0 ] || join_pieces || { code=$?; break; }
    done
    stop_workers
    if [ "$code" = 0 ] && ! is_complete; then
        trouble="the processes that fetch $what ended too early"
        code=$fatal
        [ ! -e "$state/run/failed" ] || { read -r code; read -r trouble; } < "$state/run/failed"
    fi
    return "$code"
}

# --- progress --------------------------------------------------------------------------------------------------------------

begin_progress() { began=$SECONDS shown=$SECONDS begin_bytes=$(bytes_here) shown_bytes=$begin_bytes; }

bytes_here() { # of the file in $state
    local n sum=0
    while read -r n; do sum=$((sum + n)); done < <(stat -c %s -- "$state"/whole "$state"/piece.* 2> /dev/null)
    echo $sum
}

show_progress() {
    local every=$progress_seconds now line left rate
    [ ! -t 2 ] || every=1
    [ $((SECONDS - shown)) -ge "$every" ] || return 0
    now=$(bytes_here)
    rate=$(((now - shown_bytes) / (SECONDS - shown)))
    line="$name: $(human "$now")"
    [ "$size" = - ] || line+=" of $(human "$size")"
    line+=", $((rate / 1000000)).$((rate / 100000 % 10)) MB/s"
    left=$(((now - begin_bytes) / (SECONDS - began)))
    [ $left = 0 ] || [ "$size" = - ] || line+=", $(((size - now) / left)) s left"
    if [ -t 2 ]; then printf '\r\033[Kfetch_weights: %s' "$line" >&2
    else say "$line"
    fi
    shown=$SECONDS shown_bytes=$now
}

end_progress() { [ ! -t 2 ] || printf '\r\033[K' >&2; }

# --- a file ----------------------------------------------------------------------------------------------------------------

open_state() { # what an earlier run left is used again, where a digest or an etag tells that it is of the same bytes
    local about="${row_repository[row]} ${row_revision[row]} ${row_file[row]} $size" old_about='' old_piece='' old_mark='' mark=$etag
    [ "$wanted_sha256" = - ] || mark=$wanted_sha256
    if [ -r "$state/about" ]; then { read -r old_about; read -r old_mark; read -r old_piece; } < "$state/about" || :; fi
    piece_bytes=$piece_setting
    if [ "$old_about" = "$about" ] && [ -n "$mark" ] && [ "$old_mark" = "$mark" ] &&
        [[ $old_piece =~ ^[1-9][0-9]{0,14}$ ]] && [ "$ranges" = 1 ]; then
        piece_bytes=$old_piece
    else
        rm -rf -- "$state"
    fi
    mkdir -p -- "$state" && printf '%s\n%s\n%s\n' "$about" "$mark" "$piece_bytes" > "$state/about" && return 0
    trouble="cannot write into '$state': is the disk full? $(free_bytes) bytes are free"
    return $fatal
}

fetch_once() {
    until_done resolve || return
    resolved=1
    expect || return
    until_done probe || return
    open_state || return
    begin_progress
    [ "$begin_bytes" = 0 ] || say "$name: continues after $(human "$begin_bytes")"
    [ "$ranges" = 1 ] ||
        say "$name: the server sends no ranges of bytes; it is fetched in one stream, which cannot be continued"
    fetch_bytes
}

check_digest() { # FILE: compares with wanted_sha256
    local line
    say "$name: computing its SHA-256"
    line=$(sha256sum < "$1") || { trouble="cannot read '$1'"; return $fatal; }
    computed=${line%% *}
    [ "$wanted_sha256" = - ] || [ "$computed" = "$wanted_sha256" ]
}

is_there() { # a file of that name that is right; one that cannot be compared with anything stays, too
    local file=$out/$name
    [ -f "$file" ] || return 1
    if [ "$wanted_bytes" != - ] && [ "$(size_of "$file")" != "$wanted_bytes" ]; then
        say "$name is there with $(size_of "$file") bytes instead of $wanted_bytes; it is fetched again"
        return 1
    fi
    if ! check_digest "$file"; then
        say "$name is there with the SHA-256 $computed instead of $wanted_sha256; it is fetched again"
        return 1
    fi
    if [ "$wanted_sha256" = - ]; then say "$name is there, not verified: no digest is known; its SHA-256 is $computed"
    else say "$name is there and right"
    fi
}

select_row() { # ROW
    row=$1 name=${row_to[$1]} what="${row_repository[$1]}/${row_file[$1]}"
    state=$out/.fetch/${name//\//__}
    wanted_bytes=${row_bytes[row]} wanted_sha256=${row_sha256[row]}
}

fetch_file() {
    local tries=0 code
    while :; do
        code=0
        fetch_once || code=$?
        end_progress
        [ $code != 0 ] || break
        if [ "$code" != "$changed" ] || [ $tries = 2 ]; then fail "$name: $trouble"; fi
        tries=$((tries + 1))
        say "$trouble; it is fetched anew"
        rm -rf -- "$state"
    done
    if ! check_digest "$state/whole"; then
        rm -rf -- "$state"
        fail "$name: its SHA-256 is $computed, but $digest_from says $wanted_sha256; what was fetched is deleted." \
            "The same command again fetches it anew"
    fi
    mv -fT -- "$state/whole" "$out/$name" || fail "$name: cannot be renamed from '$state/whole'"
    local bytes seconds=$((SECONDS - began))
    bytes=$(size_of "$out/$name")
    rm -rf -- "$state"
    [ $seconds -gt 0 ] || seconds=1
    say "$name: $(human "$bytes") in $seconds s, $(((bytes - begin_bytes) / seconds / 1000000)) MB/s"
    if [ "$wanted_sha256" = - ]; then say "$name: not verified: no digest is known; its SHA-256 is $computed"
    elif [ "$digest_from" = 'the server' ]; then say "$name: right by the digest that the server announced; the table has none"
    else say "$name: right by the digest of the table"
    fi
}

# --- all of them -----------------------------------------------------------------------------------------------------------

missing=()

find_missing() { # rows that are to be fetched, and the room that they need
    local i need=0 got free path wanted=0
    for i in "${!row_to[@]}"; do
        is_wanted "$i" || continue
        wanted=1
        select_row "$i"
        # Said now, not when gigabytes have come.
        path=$out/$name
        if [ -d "$path" ] || ! mkdir -p -- "${path%/*}" 2> /dev/null; then
            fail "$name: '$path' cannot be a file, for something else is in its place; remove that, or give another --out"
        fi
        if [ "$wanted_sha256" = - ] || [ ! -f "$out/$name" ]; then
            until_done resolve || fail "$name: $trouble"
            expect || fail "$name: $trouble"
        fi
        ! is_there || continue
        missing+=("$i")
        got=$(bytes_here)
        [ "$wanted_bytes" = - ] || [ "$got" -ge "$wanted_bytes" ] || need=$((need + wanted_bytes - got))
    done
    [ $wanted = 1 ] || fail "no file of '$table' is of the parts and the type that were asked for; --list shows what can be fetched"
    [ ${#missing[@]} -gt 0 ] || return 0
    free=$(free_bytes)
    [ "$need" -le "$free" ] ||
        fail "'$out' has $(human "$free") free, but $(human "$need") are still to be fetched; free some space or give another --out"
    [ "$need" = 0 ] || say "$(human "$need") to fetch, $(human "$free") are free in '$out'"
}

say_licences() { # of what is fetched
    local i k
    for i in "${!licence_name[@]}"; do
        for k in "${missing[@]}"; do
            [ "${row_licence[k]}" = "${licence_name[i]}" ] || continue
            say "${licence_name[i]}: ${licence_consequence[i]} ${licence_page[i]}"
            break
        done
    done
}

lock_folder() {
    local other
    while :; do
        mkdir -p -- "$out/.fetch" || fail "the folder '$out/.fetch' cannot be made; give an --out that can be written"
        exec {lock}>> "$out/.fetch/lock" || fail "cannot write into '$out/.fetch'; give an --out that can be written"
        if ! flock -w "$lock_seconds" "$lock"; then
            read -r other < "$out/.fetch/lock" || other='of unknown number'
            fail "another fetch_weights.sh writes into '$out' (process $other); wait for it, or give another --out"
        fi
        # The run that had the lock may have removed the file.
        [ ! "$out/.fetch/lock" -ef "/proc/self/fd/$lock" ] || break
        exec {lock}>&-
    done
    echo $$ > "$out/.fetch/lock"
}

tidy_up() { # leaves only what another run can continue
    rm -f -- "$out/.fetch/lock"
    rmdir -- "$out/.fetch" 2> /dev/null || :
}

interrupted() { # STATUS
    trap '' INT TERM
    end_progress
    say "interrupted; the same command again continues"
    exit "$1"
}

read_token() {
    if [ -n "$token_file" ]; then
        [ -r "$token_file" ] || misuse "the token file '$token_file' is not there or cannot be read"
        token=$(< "$token_file")
    fi
    token=${token%$'\r'}
    [[ $token =~ ^[A-Za-z0-9_.-]*$ ]] || misuse "the access token contains characters that no token has; it must be one word"
    [ -z "$token_file" ] || [ -n "$token" ] || misuse "the token file '$token_file' is empty"
}

number() { # NAME VALUE LEAST MOST
    if [[ ! $2 =~ ^(0|[1-9][0-9]{0,11})$ ]] || [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ]; then
        misuse "$1 is '$2'; a number from $3 to $4 is allowed"
    fi
}

check_settings() {
    [[ $transformer =~ ^(Q8_0|Q6_K|Q5_K_S|Q4_K_S)$ ]] || misuse "--transformer is '$transformer'; Q8_0, Q6_K, Q5_K_S or Q4_K_S is allowed"
    [[ $text =~ ^(t5|none)$ ]] || misuse "--text is '$text'; t5 or none is allowed"
    number --connections "$connections" 1 32
    number FETCH_RETRIES "$retries" 0 1000
    number FETCH_BACKOFF_MILLISECONDS "$backoff_ms" 1 120000
    number FETCH_PIECE_BYTES "$piece_setting" 1024 17179869184
    number FETCH_MIN_BYTES_PER_SECOND "$speed_limit" 1 1000000000
    number FETCH_STALL_SECONDS "$speed_time" 1 3600
    number FETCH_LOCK_SECONDS "$lock_seconds" 0 86400
    number FETCH_PROGRESS_SECONDS "$progress_seconds" 1 3600
    is_allowed "$endpoint" || misuse "HF_ENDPOINT is '$endpoint'; an https address is allowed, or http on loopback"
    ! is_loopback "$endpoint" || protocols='=http,https'
    [ "$action" = list ] || [ "$action" = rows ] || [ -n "$out" ] || misuse "--out DIR is missing"
}

read_arguments() {
    local part
    while [ $# -gt 0 ]; do
        case $1 in
        --help | -h) usage; exit 0 ;;
        --list | --rows) action=${1#--}; shift; continue ;;
        --dry-run) action=plan; shift; continue ;;
        --transformer | --text | --out | --part | --token-file | --connections | --table) ;;
        *) misuse "'$1' is not an option of this program" ;;
        esac
        [ $# -ge 2 ] || misuse "$1 needs a value"
        case $1 in
        --transformer) transformer=$2 ;;
        --text) text=$2 ;;
        --out) out=$2; [ "$out" = / ] || out=${out%/} ;;
        --part)
            [[ -n $2 && " $parts " == *" $2 "* ]] || misuse "--part is '$2'; one of these is allowed: $parts"
            wanted_parts+=("$2")
            ;;
        --token-file) token_file=$2 ;;
        --connections) connections=$2 ;;
        --table) table=$2 ;;
        esac
        shift 2
    done
}

main() {
    local i tool
    declare -gA head=()
    read_arguments "$@"
    check_settings
    read_table "$table"
    case $action in
    list) print_list; return ;;
    rows) print_rows; return ;;
    plan) print_plan; return ;;
    esac
    for tool in curl flock sha256sum stat; do
        command -v $tool > /dev/null || fail "$tool is not installed; curl, coreutils and util-linux are needed"
    done
    read_token
    lock_folder
    trap 'stop_workers; tidy_up' EXIT
    trap 'interrupted 130' INT
    trap 'interrupted 143' TERM
    find_missing
    say_licences
    for i in "${missing[@]}"; do
        select_row "$i"
        fetch_file
    done
    say "'$out' is complete"
}

main "$@"
