#!/usr/bin/env bash
# Copyright The molt Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Checks that Go is there, and new enough for go.mod, before anything is built: an older one fails with errors about go.mod
# that name no remedy.
#
# usage: go-version.sh [GO]
set -euo pipefail

go=${1:-go}
top=$(cd "$(dirname "$0")/../.." && pwd)
want=$(sed -n 's/^go //p' "$top/go.mod")

if ! command -v "$go" >/dev/null; then
	echo "Go is missing: install $want or newer from https://go.dev/dl/ and put its bin directory into PATH." >&2
	exit 1
fi
# Outside of the module a Go that is too old answers, too. Inside, one of 1.21 or newer fetches the version that go.mod names,
# if GOTOOLCHAIN lets it.
have=$(cd "$top" && "$go" env GOVERSION 2>/dev/null || true)
case $have in
go*) ;;
*) have=$(cd / && "$go" env GOVERSION 2>/dev/null || true) ;;
esac
have=${have#go}
if [ "$(printf '%s\n%s\n' "$want" "${have%% *}" | sort -V | head -n 1)" != "$want" ]; then
	echo "Go ${have:-of an unknown version} ($(command -v "$go")) is too old: go.mod needs $want or newer." \
		"Install it from https://go.dev/dl/ and put its bin directory first into PATH; Debian 12's golang-go is 1.19." >&2
	exit 1
fi
