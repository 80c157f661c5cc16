#!/usr/bin/env bash
# Copyright The molt Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Builds the pinned tools of the named modules (folders beside this script) from the Go module proxy.
# Each module is a go.mod with tool directives and a go.sum, apart from the module of the project so that
# the dependencies of a tool never become dependencies of molt. A module is rebuilt only when its pins,
# this script or the Go toolchain change.
#
# usage: build.sh OUTPUT_DIRECTORY MODULE...
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=$1
shift
mkdir -p "$out"
out=$(cd "$out" && pwd)

# One build at a time; the lock goes with the process.
exec 9>"$out/.lock"
flock 9

# stamp prints what the binaries of module $1 are made from.
stamp() {
	cat "$here/$1/go.mod" "$here/$1/go.sum" "$here/build.sh" | sha256sum
	go env GOVERSION GOOS GOARCH
}

# version prints the version that module $1 pins of the Go module $2.
version() {
	(cd "$here/$1" && go list -m -f '{{.Version}}' "$2")
}

# compile builds every tool of module $1 into directory $2; the rest are environment and flags of its own.
compile() {
	local module=$1 into=$2
	shift 2
	(cd "$here/$module" && env GOWORK=off "$@" -o "$into/" tool)
}

# build compiles module $1 into directory $2 with the flags that it needs.
build() {
	local go=(go build -trimpath -buildvcs=false) v
	case $1 in
	containerd)
		v=$(version containerd github.com/containerd/containerd/v2)
		compile "$1" "$2" CGO_ENABLED=0 "${go[@]}" -tags urfave_cli_no_docs \
			-ldflags "-s -w -X github.com/containerd/containerd/v2/version.Version=$v"
		;;
	runc)
		# runc needs cgo: libseccomp, and C code that runs before the Go runtime.
		compile "$1" "$2" CGO_ENABLED=1 "${go[@]}" -tags "seccomp urfave_cli_no_docs" -ldflags "-s -w"
		;;
	golangci-lint)
		v=$(version golangci-lint github.com/golangci/golangci-lint/v2)
		compile "$1" "$2" CGO_ENABLED=0 "${go[@]}" -ldflags "-s -w -X main.version=${v#v}"
		;;
	*)
		compile "$1" "$2" CGO_ENABLED=0 "${go[@]}" -ldflags "-s -w"
		;;
	esac
}

for module; do
	want=$(stamp "$module")
	if [ "$(cat "$out/.stamp-$module" 2>/dev/null)" = "$want" ]; then
		continue
	fi
	echo "building pinned tools: $module"
	rm -f "$out/.stamp-$module"
	staging=$(mktemp -d "$out/.new-XXXXXX")
	trap 'rm -rf "$staging"' EXIT
	build "$module" "$staging"
	# A rename replaces a binary that is being executed; writing into it would fail.
	mv -f "$staging"/* "$out/"
	rmdir "$staging"
	trap - EXIT
	printf '%s\n' "$want" >"$out/.stamp-$module"
done
