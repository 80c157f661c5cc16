#!/usr/bin/env bash
# Copyright The molt Authors.
# SPDX-License-Identifier: Apache-2.0
#
# Runs every native fuzz target of the project, one after the other.
#
# usage: fuzz.sh TIME_PER_TARGET      for example 30s
set -euo pipefail

found=0
for package in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
		found=$((found + 1))
		echo "fuzzing $package $target for $1"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" "$package"
	done
done
echo "$found fuzz targets passed"
