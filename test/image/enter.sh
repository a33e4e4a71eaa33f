#!/bin/bash
# enter.sh ROOT UID:GID [NAME=VALUE...] PROGRAM [ARGUMENT...]: runs a program of an image as a strict platform does.
#
# The root is read-only, there is no shell and no other program of /usr/bin and /usr/sbin, the environment is the one that is
# given, and the network is this machine's. What is mounted is gone when the program has ended. The program keeps this
# process's id.
set -euo pipefail
# shellcheck disable=SC2016  # the inner shell expands it
exec unshare --mount --propagation private bash -euc '
    root=$1 user=$2
    shift 2
    settings=()
    while [[ $1 == *=* ]]; do
        settings+=("$1")
        shift
    done
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount --bind /dev "$root/dev"
    for folder in bin sbin; do mount -t tmpfs -o ro,size=4k none "$root/usr/$folder"; done
    mount -o remount,ro,bind "$root"
    exec env -i "${settings[@]}" "$(command -v chroot)" --userspec="$user" --groups= "$root" "$@"' bash "$@"
