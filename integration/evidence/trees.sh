#!/usr/bin/env bash
# Copyright The molt Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Makes the trees of the distribution upgrade, from the archive that this machine's apt uses for bookworm:
#
#   DIRECTORY/old     bookworm, minbase with ca-certificates and openssl
#   DIRECTORY/new     trixie, the same
#
# They are made once; remove the directory to make them anew.
#
# usage: trees.sh DIRECTORY
set -euo pipefail

[ "$(id -u)" -eq 0 ] || { echo 'trees.sh needs root: debootstrap makes devices and changes root' >&2; exit 1; }
target=$1
if [ -e "$target/new" ]; then exit 0; fi

site=$(apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' | awk '$2 == "bookworm" {print $1; exit}')
[ -n "$site" ] || { echo 'trees.sh: apt on this machine has no source for bookworm; add it to /etc/apt/sources.list' >&2; exit 1; }

mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$target.XXXXXX")
trap 'rm -rf "$work"' EXIT
for tree in old:bookworm new:trixie; do
	suite=${tree#*:}
	echo "Making a $suite tree with debootstrap; this takes a minute" >&2
	debootstrap --variant=minbase --include=ca-certificates,openssl "$suite" "$work/${tree%:*}" "$site" >"$work/log" 2>&1 ||
		{ tail -n 20 "$work/log" >&2; exit 1; }
	rm -rf "$work/${tree%:*}"/var/lib/apt/lists/* "$work/${tree%:*}"/var/cache/apt/*.bin "$work/${tree%:*}"/var/cache/apt/archives/*.deb
done
mkdir -p "$target"
mv "$work/old" "$target"
mv "$work/new" "$target" # last: it says that all is there
