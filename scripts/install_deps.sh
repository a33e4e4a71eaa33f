#!/bin/bash
# install_deps.sh [SET...] [PACKAGE...]: installs what this repository needs on Debian or Ubuntu, and the packages named.
#
#   build         compiler and libraries: `make`
#   demo          what the demo needs besides: `make run`, `make demo`
#   test          what the unit tests need besides: `make test`
#   integration   what the tests between emulators need besides: `make integration`
#
# Without a SET all of them. It takes root or sudo; anybody else gets the one line that an administrator can run, and exit
# status 1. When everything is there it prints nothing.
set -euo pipefail

# A name with "|" is installed as its first part; any of its parts will do.
build=(
    gcc libc6-dev make "pkg-config|pkgconf" ca-certificates
    libmicrohttpd-dev "libcurl4-openssl-dev|libcurl4-gnutls-dev" libcjson-dev libssl-dev libjwt-dev zlib1g-dev libutf8proc-dev
    libpng-dev "libjpeg-dev|libjpeg62-turbo-dev|libjpeg-turbo8-dev" libdnnl-dev
    liblcms2-dev libwebp-dev libheif-dev libseccomp-dev
)
demo=(python3)
test=(g++ python3)
integration=(python3 python3-venv curl openssl libfaketime)
# nvcc compiles its host code with g++
if command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then build+=(g++); fi

wanted=()
sets=0
for name in "$@"; do
    case $name in
    build | demo | test | integration)
        declare -n set=$name
        wanted+=("${set[@]}")
        sets=1
        ;;
    -*)
        sed -n '2,10s/^# \{0,1\}//p' "$0"
        [ "$name" = --help ] && exit 0
        exit 2
        ;;
    *) wanted+=("$name") ;;
    esac
done
[ $sets -eq 1 ] || wanted+=("${build[@]}" "${demo[@]}" "${test[@]}" "${integration[@]}")

have=$(dpkg-query -W -f='${binary:Package} ${db:Status-Status}\n' 2>/dev/null | sed -n 's/^\([^ :]*\)[^ ]* installed$/\1/p' || true)
installed() { grep -qxF "${1//|/$'\n'}" <<<"$have"; }

missing=()
for names in "${wanted[@]}"; do
    installed "$names" || [[ " ${missing[*]} " == *" ${names%%|*} "* ]] || missing+=("${names%%|*}")
done
[ ${#missing[@]} -eq 0 ] && exit 0
command -v apt-get >/dev/null || {
    echo "install_deps: there is no apt-get here. Install by hand what these Debian packages contain: ${missing[*]}" >&2
    exit 1
}

# Whether this user can become root: at once, or by the password that sudo asks for at a terminal.
may_sudo() {
    command -v sudo >/dev/null || return 1
    sudo -n true 2>/dev/null || { [ -t 0 ] && id -nG | grep -qwE 'sudo|admin|wheel'; }
}
install=(apt-get install -y --no-install-recommends)
sudo=()
if [ "$(id -u)" -ne 0 ]; then
    may_sudo || {
        update=''
        apt-cache show gcc >/dev/null 2>&1 || update='apt-get update && ' # no lists of packages yet
        echo "install_deps: some packages are missing, and installing them takes root or sudo. Ask an administrator to run" >&2
        echo "  $update${install[*]} ${missing[*]}" >&2
        exit 1
    }
    sudo=(sudo)
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
quietly() { # apt's own words are shown only when it fails
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1 </dev/null || { cat "$log" >&2; echo "install_deps: $1 $2 failed" >&2; exit 1; }
}

echo "installing with apt-get, which takes a minute or two: ${missing[*]}"
[ ${#sudo[@]} -eq 0 ] || sudo -v # asks for the password, if it needs one
quietly apt-get update
# oneDNN makes the CPU backend fast, and the program can be built without it
if [[ " ${missing[*]} " == *" libdnnl-dev "* ]] && ! apt-cache show libdnnl-dev >/dev/null 2>&1; then
    echo "there is no package libdnnl-dev here: building without oneDNN, which is much slower on a CPU"
    for i in "${!missing[@]}"; do [ "${missing[i]}" != libdnnl-dev ] || unset "missing[$i]"; done
fi
# where libheif's decoders are packages of their own; without this one HEIC photos are refused
if [[ " ${missing[*]} " == *" libheif-dev "* ]] && apt-cache show libheif-plugin-libde265 >/dev/null 2>&1; then
    missing+=(libheif-plugin-libde265)
fi
[ ${#missing[@]} -eq 0 ] || quietly "${install[@]}" "${missing[@]}"
echo "installed in $SECONDS s"
