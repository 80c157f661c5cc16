// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// root is the path of the root of a tree.
const root = "."

// checkPath refuses whatever is not a clean path relative to the root: the empty one, absolute ones, ones with "." or
// ".." or empty components, and ones with a NUL, which a system call would cut short. fs.ValidPath would do, but for
// its insisting on UTF-8.
func checkPath(path string) error {
	if path == root {
		return nil
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." || name == ".." || strings.IndexByte(name, 0) >= 0 {
			return fmt.Errorf("path %q: %w", path, fs.ErrInvalid)
		}
	}
	return nil
}

// splitPath returns the directory that a path other than the root is in, and its name there.
func splitPath(path string) (dir, name string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return root, path
}

// joinPath is the inverse of splitPath.
func joinPath(dir, name string) string {
	if dir == root {
		return name
	}
	return dir + "/" + name
}

// nextPath returns the path that is one name longer than at, on the way from there to path.
func nextPath(at, path string) string {
	start := 0
	if at != root {
		start = len(at) + 1
	}
	if i := strings.IndexByte(path[start:], '/'); i >= 0 {
		return path[:start+i]
	}
	return path
}

// comparePaths orders paths as a walk meets them: parents before children, and the names of a directory by their bytes.
// That is the order of the bytes if the slash comes before all others.
func comparePaths(a, b string) int {
	if a == root || b == root {
		return boolToInt(b == root) - boolToInt(a == root)
	}
	for i := range min(len(a), len(b)) {
		x, y := a[i], b[i]
		switch {
		case x == y:
		case x == '/':
			return -1
		case y == '/' || x > y:
			return 1
		default:
			return -1
		}
	}
	return len(a) - len(b)
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Shown returns a path in a tree as people read it: absolute, as in the container, and quoted.
func Shown(path string) string {
	if path == root {
		return `"/"`
	}
	return strconv.Quote("/" + strings.TrimPrefix(path, "/"))
}
