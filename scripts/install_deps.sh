#!/bin/bash
# install_deps.sh [PACKAGE...]: installs what the build and the tests need on Debian or Ubuntu, and the packages named.
# Prints nothing when all of it is installed.
set -euo pipefail

packages=(
    gcc g++ make pkg-config ca-certificates curl python3 python3-venv openssl libfaketime
    libmicrohttpd-dev libcurl4-openssl-dev libcjson-dev libssl-dev zlib1g-dev libutf8proc-dev
    libpng-dev libjpeg62-turbo-dev libdnnl-dev
    "$@"
)
installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'; }
have_package() { apt-cache show "$1" >/dev/null 2>&1; }

missing=()
for p in "${packages[@]}"; do
    [ "$p" != libjpeg62-turbo-dev ] || ! installed libjpeg-turbo8-dev || continue # Ubuntu's name for this package
    installed "$p" || missing+=("$p")
done
[ ${#missing[@]} -eq 0 ] && exit 0
command -v apt-get >/dev/null || {
    echo "install_deps: there is no apt-get here. Install by hand what these Debian packages contain: ${missing[*]}" >&2
    exit 1
}
sudo=()
[ "$(id -u)" -eq 0 ] || sudo=(sudo)
echo "installing: ${missing[*]}"
"${sudo[@]}" apt-get update -qq
wanted=()
for p in "${missing[@]}"; do
    case $p in
    libjpeg62-turbo-dev) have_package "$p" || p=libjpeg-turbo8-dev ;;
    libdnnl-dev) have_package "$p" || { echo "there is no package libdnnl-dev here: building without oneDNN"; continue; } ;;
    esac
    wanted+=("$p")
done
[ ${#wanted[@]} -eq 0 ] || DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null
