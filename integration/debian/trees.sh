#!/usr/bin/env bash
# Copyright The molt Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Makes the Debian trees of the real scenario, from the archive that this machine's apt uses:
#
#   DIRECTORY/old     bookworm as released, minbase with ca-certificates and openssl
#   DIRECTORY/new     the same with bookworm-updates and bookworm-security applied
#   DIRECTORY/upper   what makes new out of old, as the upper directory of an overlay
#
# They are made once; remove the directory to make them anew.
#
# usage: trees.sh DIRECTORY
set -euo pipefail

[ "$(id -u)" -eq 0 ] || { echo 'trees.sh needs root: debootstrap makes devices and changes root' >&2; exit 1; }
target=$1
if [ -e "$target/new" ]; then exit 0; fi

# site SUITE: where this machine's apt gets a suite from.
sites() { apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages'; }
site() { sites | awk -v suite="$1" '$2 == suite {print $1; exit}'; }
[ -n "$(site bookworm)" ] || apt-get update -q
for suite in bookworm bookworm-updates bookworm-security; do
	[ -n "$(site $suite)" ] || { echo "trees.sh: apt on this machine has no source for $suite; add it to /etc/apt/sources.list" >&2; exit 1; }
done

mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$target.XXXXXX")
cleanup() {
	umount -l "$work/merged/proc" "$work/merged" 2>/dev/null || true
	rm -rf "$work"
}
trap cleanup EXIT

echo "Making a Debian tree with debootstrap; this takes a minute" >&2
debootstrap --variant=minbase --include=ca-certificates,openssl bookworm "$work/old" "$(site bookworm)" >"$work/log" 2>&1 ||
	{ tail -n 20 "$work/log" >&2; exit 1; }
tidy() { rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/cache/apt/archives/*.deb; }
tidy "$work/old"

echo "Applying the updates" >&2
mkdir "$work/upper" "$work/work" "$work/merged"
mount -t overlay overlay -o "lowerdir=$work/old,upperdir=$work/upper,workdir=$work/work,index=off,metacopy=off,redirect_dir=nofollow" "$work/merged"
mount -t proc proc "$work/merged/proc"
for suite in bookworm-updates bookworm-security; do
	echo "deb $(site $suite) $suite main"
done >"$work/merged/etc/apt/sources.list.d/updates.list"
in_tree() { chroot "$work/merged" env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@" >>"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }; }
in_tree apt-get update -q
in_tree apt-get upgrade -y -q
in_tree apt-get clean
tidy "$work/merged"
umount "$work/merged/proc"
cp -a "$work/merged" "$work/new"
umount "$work/merged"
rm -rf "$work/work" "$work/merged"
mkdir -p "$target"
mv "$work"/old "$work"/upper "$target"
mv "$work/new" "$target" # last: it says that all is there
