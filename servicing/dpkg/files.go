// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// InfoName splits the name of a file in dpkg's info directory into the package it is about, as it is written there
// ("libc6:amd64"), and what it is ("list"). It reports false for other files.
func InfoName(name string) (pkg, kind string, ok bool) {
	dot := strings.LastIndexByte(name, '.')
	if dot <= 0 {
		return "", "", false
	}
	return name[:dot], name[dot+1:], true
}

// InfoNames returns the names by which the info directory may know a package: with its architecture if several can be
// installed at once, else without.
func InfoNames(p *unit.Package) []string { return []string{p.Name + ":" + p.Arch, p.Name} }

// ParseList returns the paths in a package's list, without the leading slash and without the root.
func ParseList(content []byte) []string {
	var out []string
	for line := range strings.SplitSeq(string(content), "\n") {
		path := strings.TrimPrefix(line, "/")
		if path != "" && path != "." {
			out = append(out, path)
		}
	}
	return out
}

// ParseDigests returns the digests (MD5, in hex) in a package's md5sums, by path without a leading slash.
func ParseDigests(content []byte) map[string]string {
	out := make(map[string]string)
	for line := range strings.SplitSeq(string(content), "\n") {
		digest, path, ok := strings.Cut(line, "  ")
		if ok {
			out[strings.TrimPrefix(path, "/")] = digest
		}
	}
	return out
}
