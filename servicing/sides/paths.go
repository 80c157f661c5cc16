// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package sides

import (
	"bytes"
	"path"
	"slices"
	"strings"
)

// The kinds of paths. An entry that ends with a slash stands for everything below, one with a pattern character for
// what matches it, any other for itself and everything below.
var (
	// DataPaths hold the user's data, or what may be lost at any time: a conflict there leaves no file beside.
	DataPaths = PathTable{
		"home", "root", "run", "srv", "tmp", "var/backups", "var/cache", "var/lib/apt/lists", "var/log", "var/mail",
		"var/spool",
		"var/tmp", "var/lib/dpkg/available", "var/lib/dpkg/available-old", "var/lib/dpkg/status-old",
		"var/lib/dpkg/diversions-old", "var/lib/dpkg/statoverride-old", "var/lib/dpkg/lock",
		"var/lib/dpkg/lock-frontend",
		"var/lib/dpkg/triggers/Lock", "var/lib/dpkg/cmethopt", "lib/apk/db/lock", "usr/lib/apk/db/lock", "etc/passwd-",
		"etc/shadow-", "etc/group-", "etc/gshadow-",
		"etc/subuid-", "etc/subgid-", "etc/.pwd.lock",
	}
	// ConfigPaths are kept when the new base does not have them any longer and the user changed them.
	ConfigPaths = PathTable{"etc", "usr/local", "opt", "boot"}
)

// PathTable is a set of paths.
type PathTable []string

// Has reports whether a path is in the table.
func (t PathTable) Has(p string) bool {
	return slices.ContainsFunc(t, func(entry string) bool {
		switch {
		case strings.HasSuffix(entry, "/"):
			return strings.HasPrefix(p, entry)
		case strings.ContainsAny(entry, "*?["):
			return Matches(entry, p)
		default:
			return Within(p, entry)
		}
	})
}

// Matches a path with a pattern; one without a slash matches names in any directory.
func Matches(pattern, p string) bool {
	if !strings.Contains(pattern, "/") {
		p = path.Base(p)
	}
	ok, err := path.Match(pattern, p)
	return err == nil && ok
}

// Within reports whether a path is a directory or below it.
func Within(p, dir string) bool {
	return dir == "." || p == dir || strings.HasPrefix(p, dir) && p[len(dir)] == '/'
}

// Cut splits a path after its first name.
func Cut(p string) (first, rest string, more bool) { return strings.Cut(p, "/") }

// TrimRoot makes an absolute path relative to the root.
func TrimRoot(p string) string {
	p = strings.TrimLeft(path.Clean(p), "/")
	if p == "" {
		return "."
	}
	return p
}

// PossiblePath reports whether a path that a database names could be one below the root.
func PossiblePath(p string) bool {
	for name := range strings.SplitSeq(p, "/") {
		if name == "" || name == "." || name == ".." || len(name) > 255 || strings.IndexByte(name, 0) >= 0 {
			return false
		}
	}
	return true
}

// PossibleTarget reports whether a symbolic link could have a target, or whether there is none.
func PossibleTarget(target string) bool {
	return len(target) < 4096 && strings.IndexByte(target, 0) < 0
}

// ComparePaths orders parents before what is below them, and siblings by their bytes.
func ComparePaths(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == ".":
		return -1
	case b == ".":
		return 1
	}
	return slices.Compare(
		bytes.ReplaceAll([]byte(a), []byte("/"), []byte{0}), bytes.ReplaceAll([]byte(b), []byte("/"), []byte{0}),
	)
}
