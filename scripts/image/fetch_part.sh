#!/bin/bash
# fetch_part.sh PART: fetches one part of the weights, for one layer of the image, into /parts/PART.
#
# PART is vae, clip, tokenizers, t5 or transformer; the environment's MODEL says which transformer. The token is read from
# /run/secrets/hf_token, where the builder mounts the secret for this one command: it is in no layer.
set -euo pipefail
cd "$(dirname "$0")/../.."

case "${1:---help}" in
vae | clip | tokenizers | t5 | transformer) part=$1 ;;
--help | -h)
    sed -n '2,5s/^# \{0,1\}//p' "$0"
    [ $# -gt 0 ] && exit 0
    exit 2
    ;;
*)
    echo "fetch_part: there is no part '$1': vae, clip, tokenizers, t5 or transformer" >&2
    exit 2
    ;;
esac
parts=/parts
secret=/run/secrets/hf_token
[ -n "${HF_ENDPOINT:-}" ] || unset HF_ENDPOINT # a build argument that is not given is empty here

options=(--transformer "${MODEL:-Q8_0}" --text t5 --part "$part" --out "$parts/$part")
[ ! -s "$secret" ] || options+=(--token-file "$secret")
scripts/fetch_weights.sh "${options[@]}"
[ -n "$(find "$parts/$part" -type f -print -quit)" ] || { echo "fetch_part: there is no file for $part" >&2; exit 1; }
cp scripts/weights.json "$parts/licences/"

# The same files are the same layer, whenever they are fetched, and any user may read them.
chmod -R u=rwX,go=rX "$parts"
find "$parts" -exec touch -d @0 {} +
