#!/bin/bash
# size.sh [--cublaslt FILE] [--base BYTES] IMAGE: a table of the layers of an image, compressed as a registry keeps them.
#
# IMAGE is what skopeo takes: docker://REGION-docker.pkg.dev/..., docker-archive:FILE, oci:FOLDER. Layers that are not compressed
# yet, as in containers-storage: and docker-daemon:, are packed by gzip in a copy, which takes disk and time. Weights (layers of
# /models) have a sum of their own.
#
#   --cublaslt FILE   adds a layer with this libcublasLt.so.12, packed by gzip -6: for an image of the CPU form on a machine that
#                     cannot make the CUDA form
#   --base BYTES      what the lowest layer counts for, where a stand-in for the base is below the image
#   --most BYTES      exit status 1 if all layers but the weights are larger together
set -euo pipefail
cd "$(dirname "$0")/../.."

usage() { sed -n '2,11s/^# \{0,1\}//p' "$0"; }
cublaslt='' base='' most='' image=''
while [ $# -gt 0 ]; do
    case $1 in
    --help | -h) usage && exit 0 ;;
    --cublaslt | --base | --most)
        [ $# -ge 2 ] || { echo "size: $1 needs a value" >&2; exit 2; }
        declare "${1#--}=$2" && shift
        ;;
    -*) { echo "size: there is no option $1"; usage; } >&2 && exit 2 ;;
    *) image=$1 ;;
    esac
    shift
done
[ -n "$image" ] || { usage >&2; exit 2; }
for number in $base $most; do
    [[ $number =~ ^[0-9]+$ ]] || { echo "size: '$number' is not a number of bytes" >&2; exit 2; }
done
for tool in skopeo python3; do
    command -v $tool >/dev/null || { echo "size: $tool is not installed: scripts/install_deps.sh $tool" >&2; exit 1; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
case $image in
docker://* | oci:* | oci-archive:*) source=$image ;;
*)
    echo "packing the layers of $image" >&2
    skopeo --insecure-policy copy --quiet --format oci "$image" "oci:$work/oci" >&2
    source=oci:$work/oci
    ;;
esac
skopeo inspect --raw "$source" >"$work/manifest"
skopeo inspect --config --raw "$source" >"$work/config"

added=0
if [ -n "$cublaslt" ]; then
    echo "packing $cublaslt, which takes half a minute" >&2
    added=$(tar -C "$(dirname "$cublaslt")" --owner=0 --group=0 -ch "$(basename "$cublaslt")" | gzip -6 | wc -c)
fi
python3 scripts/image/size_table.py "$work/manifest" "$work/config" --cublaslt "$added" --base "${base:-0}" --most "${most:-0}"
