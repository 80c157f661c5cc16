// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package sides

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Node is what a view shows at a path: an entry, or nothing (then view is nil).
type Node struct {
	View *tree.View
	tree.Entry
}

// Lookup returns what a view shows at a path. Nothing stands at what cannot be a path, or has too long a name:
// databases and links of a user hold anything.
func Lookup(view *tree.View, path string) (Node, error) {
	e, err := view.Lookup(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) || errors.Is(err, unix.ENAMETOOLONG) {
		return Node{}, nil
	}
	if err != nil {
		return Node{}, err
	}
	return Node{view, e}, nil
}

// Absent reports whether there is nothing.
func (n Node) Absent() bool { return n.View == nil }

// Is reports whether there is something of a kind.
func (n Node) Is(k tree.Kind) bool {
	return n.View != nil && n.Kind == k
}

// Dir reports whether there is a directory.
func (n Node) Dir() bool { return n.Is(tree.Directory) }

// File reports whether there is something that is not a directory.
func (n Node) File() bool { return n.View != nil && n.Kind != tree.Directory }

// SameContent reports whether two nodes have the same content. Nothing has the same content as nothing.
func SameContent(a, b Node) (bool, error) {
	if a.Absent() || b.Absent() {
		return a.Absent() && b.Absent(), nil
	}
	return tree.SameContent(a.View, a.Entry, b.View, b.Entry)
}

// SameBacking reports whether two nodes are one file, or both nothing.
func SameBacking(a, b Node) bool {
	if a.Absent() || b.Absent() {
		return a.Absent() && b.Absent()
	}
	return a.Dev == b.Dev && a.Ino == b.Ino
}

// ReadDir returns the names that a view shows in a directory; none when there is no directory.
func ReadDir(view *tree.View, dir string) ([]string, error) {
	n, err := Lookup(view, dir)
	if err != nil || !n.Dir() {
		return nil, err
	}
	return view.ReadDir(dir)
}

// Read returns the content of a regular file; nil when there is none. Larger ones than limit give tree.ErrTooLarge.
func Read(n Node, limit int64) ([]byte, error) {
	if !n.Is(tree.Regular) {
		return nil, nil
	}
	content, err := n.View.ReadFile(n.Path, limit)
	if err == nil && content == nil {
		content = []byte{}
	}
	return content, err
}

// DigestOf returns the digest of a regular file's content.
func DigestOf(n Node, h hash.Hash) ([]byte, error) {
	err := n.View.Feed(h, n.Entry)
	return h.Sum(nil), err
}

// IsBinary reports whether a regular file begins like something that is not a text.
func IsBinary(n Node) (bool, error) {
	if !n.Is(tree.Regular) {
		return false, nil
	}
	file, err := n.View.OpenEntry(n.Entry)
	if err != nil {
		return false, err
	}
	defer file.Close()
	head, err := io.ReadAll(io.LimitReader(file, 8192))
	if err != nil {
		return false, fmt.Errorf("read %s: %w", tree.Shown(n.Path), err)
	}
	return bytes.IndexByte(head, 0) >= 0, nil
}

// WithoutAttributes returns a node for a report, which says nothing of extended attributes.
func (n Node) WithoutAttributes() Node {
	n.Xattrs = nil
	return n
}

// Describe describes a content in a few characters.
func Describe(n Node) (report.Content, error) {
	switch {
	case n.Absent():
		return "", nil
	case n.Is(tree.Symlink):
		return report.Content("symlink:" + report.Printable(n.Link)), nil
	case !n.Is(tree.Regular):
		return report.Content(n.Kind.String()), nil
	case n.Size > maxDigested:
		return report.Content(fmt.Sprintf("size:%d", n.Size)), nil
	}
	h := sha256.New()
	if err := n.View.Feed(h, n.Entry); err != nil {
		return "", err
	}
	return report.Content(digest.NewDigest(digest.SHA256, h)), nil
}

// maxDigested is the size up to which a file is read to be told apart in a report. A file with holes costs its owner
// nothing and may be so large that reading it takes hours.
const maxDigested = 4 << 30
