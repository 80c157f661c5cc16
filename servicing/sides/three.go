// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package sides

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Three is one path in the three stacks.
type Three struct {
	Path    string      // in the new base and the result
	Was     string      // in the old base and the storage; differs when it is relocated
	O, N, U Node        // the old base, the new base, and what the user saw
	Own     Owner       // the packages that have it
	shift   Renumbering // that the new base is read in; nil for its own numbering
}

// WithoutAttributes returns a path as it is kept for the report.
func (t Three) WithoutAttributes() Three {
	t.O, t.N, t.U = t.O.WithoutAttributes(), t.N.WithoutAttributes(), t.U.WithoutAttributes()
	return t
}

// Comparison says which contents are the same: of the old base and the new one, of the old base and the user, of the
// new base and the user.
type Comparison struct{ ON, OU, NU bool }

// Compare compares the three contents of a path.
func Compare(t Three) (c Comparison, err error) {
	if c.ON, err = SameContent(t.O, t.N); err != nil {
		return c, err
	}
	if c.OU, err = SameContent(t.O, t.U); err != nil {
		return c, err
	}
	if c.ON && c.OU {
		c.NU = true
		return c, nil
	}
	c.NU, err = SameContent(t.N, t.U)
	return c, err
}

// Merged returns the node with merged metadata.
func Merged(t Three, content Node) Node {
	content.Meta = MergeMeta(t, content)
	return content
}

// ReadThree reads the contents of a path where both the user and the new base have a regular file; nil if they do not
// or if one is too large.
func ReadThree(t Three, limit int64) ([][]byte, error) {
	if !t.U.Is(tree.Regular) || !t.N.Is(tree.Regular) || t.O.File() && !t.O.Is(tree.Regular) {
		return nil, nil
	}
	var out [][]byte
	for _, n := range []Node{t.O, t.N, t.U} {
		content, err := Read(n, limit)
		if errors.Is(err, tree.ErrTooLarge) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, content)
	}
	return out, nil
}

// Makes is the outcome of a merged content: with merged metadata, and the newer of the two times.
func Makes(t Three, content []byte) Outcome {
	n := Merged(t, t.U)
	if newer(t.N.Mtime, n.Mtime) {
		n.Mtime = t.N.Mtime
	}
	return Outcome{Node: n, Made: true, Content: content}
}

func newer(a, b unix.Timespec) bool { return a.Sec > b.Sec || a.Sec == b.Sec && a.Nsec > b.Nsec }
