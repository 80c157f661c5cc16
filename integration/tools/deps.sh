#!/usr/bin/env bash
# Copyright The molt Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Makes sure that what Go modules cannot bring is there: says what is missing and why it is needed, and
# installs it with apt-get. What is already there, from wherever, is left alone and needs no root.
#
# usage: deps.sh GROUP...      groups: build demo test debian evidence proto
set -euo pipefail

missing=()

# need PACKAGE WHY CHECK...: the package is missing unless the check succeeds.
need() {
	local package=$1 why=$2
	shift 2
	if ! "$@" >/dev/null 2>&1; then
		missing+=("$package")
		printf '  %-18s %s\n' "$package" "$why"
	fi
}

have() { command -v "$1"; }

# A busybox that needs libraries of the host would not start in an image that holds nothing else.
static_busybox() { local b && b=$(command -v busybox) && ! ldd "$b"; }

c_headers() { echo '#include <stdlib.h>' | gcc -E -; }

"$(dirname "$0")/go-version.sh" "${GO:-go}"

for group; do
	case $group in
	build)
		need gcc "C compiler: runc and the race detector are built with cgo" have gcc
		need libc6-dev "C headers for the same" c_headers
		need pkg-config "finds libseccomp when runc is built" have pkg-config
		need libseccomp-dev "runc filters system calls with it" pkg-config --exists libseccomp
		need ca-certificates "certificates to fetch Go modules with" test -e /etc/ssl/certs/ca-certificates.crt
		need git "version of the build" have git
		;;
	demo)
		need busybox-static "userland of the images that the demonstration makes" static_busybox
		;;
	test)
		need e2fsprogs "file systems whose power is cut in tests" have mkfs.ext4
		need xfsprogs "the same" have mkfs.xfs
		need busybox-static "userland of the images that tests make on the spot" static_busybox
		;;
	debian)
		need debootstrap "makes the Debian images of the demonstration" have debootstrap
		;;
	evidence)
		need debootstrap "makes the trees that are upgraded" have debootstrap
		need ostree "whose merge of /etc molt's is compared with" have ostree
		;;
	proto)
		need protobuf-compiler "generates Go code from .proto files" have protoc
		need libprotobuf-dev "the .proto files that come with it" test -e /usr/include/google/protobuf/timestamp.proto
		;;
	*)
		echo "deps.sh: no such group: $group" >&2
		exit 2
		;;
	esac
done

if [ ${#missing[@]} -eq 0 ]; then
	exit 0
fi
install=(apt-get install -y --no-install-recommends "${missing[@]}")
if ! have apt-get >/dev/null; then
	echo "The packages above (Debian's names) are missing: install them with the package manager of this system." >&2
	exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
	echo "The packages above are missing and installing them needs root. Run: sudo ${install[*]}" >&2
	exit 1
fi
echo "Installing the packages above: ${install[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
"${install[@]}"
