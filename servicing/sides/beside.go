// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package sides

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// BesideTree is where updates put the versions of files that are not in force, each below the name of its kind and
// under the path that it is a version of: nothing reads these, and no name has to be changed for it.
const BesideTree = "var/lib/molt/beside"

// spareTree is in place of BesideTree where /var or /var/lib is no directory.
const spareTree = ".molt/beside"

// BesideTrees returns where the versions that are not in force can be, in the order in which the trees are tried.
func BesideTrees() []string { return []string{BesideTree, spareTree} }

// InBeside reports whether a path is in one of these trees, which are molt's own, or is one.
func InBeside(p string) bool { return Within(p, BesideTree) || Within(p, spareTree) }

// MoltDirectory reports whether a path is a directory that only molt makes, and only root may enter.
func MoltDirectory(p string) bool {
	return InBeside(p) || p == path.Dir(BesideTree) || p == path.Dir(spareTree)
}

// BesideAt returns where a version of a path is in BesideTree.
func BesideAt(kind report.BesideKind, p string) string {
	return path.Join(BesideTree, string(kind), p)
}

// hashed begins the names of versions whose own paths have no room in a tree.
const hashed = "sha256-"

// BesideHashed returns where a version of a path is in a tree if its own path has no room there.
func BesideHashed(in string, kind report.BesideKind, p string) string {
	sum := sha256.Sum256([]byte(p))
	return path.Join(in, string(kind), hashed+hex.EncodeToString(sum[:]))
}

// maxName is how long a name can be.
const maxName = 255

// numbered matches what the names of the second and further versions of one kind have at the end.
var numbered = regexp.MustCompile(`\.~[0-9]+~$`)

// BesideNumbered returns the path of another version of the same kind.
func BesideNumbered(at string, number int) string {
	if number == 0 {
		return at
	}
	suffix := fmt.Sprintf(".~%d~", number)
	dir, name := path.Split(at)
	if len(name)+len(suffix) > maxName {
		sum := sha256.Sum256([]byte(name))
		name = hashed + hex.EncodeToString(sum[:])
	}
	return dir + name + suffix
}

// BesideOf returns which version of which path stands at a path in one of the trees. It reports false for what says
// neither.
func BesideOf(at string) (kind report.BesideKind, p string, ok bool) {
	for _, in := range BesideTrees() {
		if rest, within := strings.CutPrefix(at, in+"/"); within {
			first, name, below := Cut(rest)
			kind, p = report.BesideKind(first), numbered.ReplaceAllString(name, "")
			known := kind == report.BesideNew || kind == report.BesideOld
			return kind, p, known && below && !strings.HasPrefix(path.Base(p), hashed)
		}
	}
	return "", "", false
}

// KeptBeside reports whether a file can be put beside: a device or a socket is not, for what it is depends on where it
// stands.
func KeptBeside(n Node) bool {
	return n.Is(tree.Regular) || n.Is(tree.Symlink) || n.Is(tree.FIFO) || n.Dir()
}

// The suffixes of what earlier versions of molt put into the directory of the path itself. They are used where no tree
// can be made.
const (
	suffixNew = ".molt-new"
	suffixOld = ".molt-old"
)

// earlierName matches them, with the number that they have where the name was in use.
var earlierName = regexp.MustCompile(`^(.+)\.molt-(new|old)(\.[0-9]+)?$`)

// BesideEarlier returns which version of which path an earlier version of molt would have put at a path. It reports
// false where it would have put none.
func BesideEarlier(at string) (kind report.BesideKind, p string, ok bool) {
	m := earlierName.FindStringSubmatch(path.Base(at))
	if m == nil {
		return "", "", false
	}
	return report.BesideKind(m[2]), path.Join(path.Dir(at), m[1]), true
}

// BesideLive returns the name for a version of a path in its own directory; of a long name only the beginning, so that
// a number has room, too.
func BesideLive(kind report.BesideKind, p string) string {
	const number = 8
	suffix := suffixNew
	if kind == report.BesideOld {
		suffix = suffixOld
	}
	dir, name := path.Split(p)
	if room := maxName - number - len(suffix); len(name) > room {
		name = name[:room]
		for utf8.ValidString(p) && !utf8.ValidString(name) {
			name = name[:len(name)-1] // not in the middle of a character
		}
	}
	return dir + name + suffix
}
