// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"unicode/utf8"

	"github.com/aymanbagabas/go-udiff"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// DiffInput are the stacks of an update that was, or will be, done. Result is nil when it was not applied.
type DiffInput struct{ Old, New, User, Result tree.Stack }

// DiffPath shows how a path, clean and relative to the root, changed. In the old base and the storage it was called
// was; an empty was means the same path. Content that not everybody in the container may read is not told. Nothing is
// written.
func DiffPath(ctx context.Context, in DiffInput, name, was string) (*report.PathDiff, error) {
	if was == "" {
		was = name
	}
	d := report.NewPathDiff(name, "")
	var sides []*diffSide
	for _, side := range []struct {
		name, path string
		stack      tree.Stack
	}{{"old base", was, in.Old}, {"new base", name, in.New}, {"storage", was, in.User}, {"result", name, in.Result}} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if side.name == "result" && side.stack == nil {
			break
		}
		s, err := readSide(side.name, side.stack, side.path)
		if err != nil {
			return nil, fmt.Errorf("compare %s: %w", tree.Shown(name), err)
		}
		if side.path != name {
			s.At = report.Printable(side.path)
		}
		sides, d.Sides = append(sides, s), append(d.Sides, s.PathSide)
	}
	secret := secretIn(sides)
	d.Diffs = append(d.Diffs, diffOf(secret, sides[0], sides[1]), diffOf(secret, sides[0], sides[2]))
	if in.Result != nil {
		d.Diffs = append(d.Diffs, diffOf(secret, sides[2], sides[3]))
	}
	return d, nil
}

// maxCompared is the size of the largest file that is compared, maxDiff that of the largest diff, in bytes: as JSON,
// where a byte can take six, three of them fit in one message.
const maxCompared, maxDiff = 256 << 10, 128 << 10

// diffSide is what one side has at a path, with its content.
type diffSide struct {
	report.PathSide
	content []byte // of a regular file that is not too large
	secret  string // why its content is not told, empty if it may be
	why     string // why it is not compared, empty if it can be
}

// readSide looks at one side. What overlayfs alone could make sense of is no error, but a reason.
func readSide(side string, stack tree.Stack, name string) (s *diffSide, err error) {
	s = &diffSide{PathSide: report.PathSide{Side: side}}
	view, err := tree.Tolerance{LongLists: true, Changes: true}.Open(stack)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	n, err := sides.Lookup(view, name)
	if refused, ok := errors.AsType[*tree.RefusedError](err); ok {
		s.why = report.Printable(refused.Error())
		return s, nil
	}
	if err != nil || n.Absent() {
		return s, err
	}
	s.What, s.Link, s.Size, s.UID, s.GID = n.Kind.String(), report.Printable(n.Link), n.Size, n.UID, n.GID
	s.Mode = fmt.Sprintf("%04o", n.Mode)
	if n.Kind != tree.Regular {
		s.why = fmt.Sprintf("it is a %s in the %s", n.Kind, side)
		return s, nil
	}
	content, err := readPart(n)
	if unread, is := errors.AsType[*tree.UnreadableError](err); is {
		s.why = fmt.Sprintf("it %s in the %s", unread.Why, side)
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	switch {
	case len(content) > maxCompared:
		s.why = fmt.Sprintf("it is larger than %d KiB in the %s", maxCompared>>10, side)
	case bytes.IndexByte(content, 0) >= 0 || !utf8.Valid(content):
		s.why = fmt.Sprintf("it is binary in the %s", side)
		fallthrough
	default:
		s.content = content
	}
	s.secret, err = secretOf(view, n, content)
	return s, err
}

// readPart returns the content of a regular file, or a little more than is compared of a larger one.
func readPart(n sides.Node) ([]byte, error) {
	file, err := n.View.OpenEntry(n.Entry)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxCompared+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", tree.Shown(n.Path), err)
	}
	return content, nil
}

// secretPaths are the files that hold secrets, whoever may read them.
var secretPaths = [...]string{"etc/shadow*", "etc/gshadow*", "etc/ssh/ssh_host_*_key"}

// secretOf says why the content of a regular file is not told, empty if it may be.
func secretOf(view *tree.View, n sides.Node, content []byte) (string, error) {
	for _, pattern := range secretPaths {
		// The patterns are well formed: there is no other error.
		if match, _ := path.Match(pattern, n.Path); match {
			return "it is one of those that hold secrets", nil
		}
	}
	if bytes.Contains(content, []byte("PRIVATE KEY")) {
		return "it holds a private key", nil
	}
	if n.Mode&0o004 == 0 {
		return "not everybody may read it", nil
	}
	// The mode of the root itself is often but an accident of how an image was built.
	for dir := path.Dir(n.Path); dir != "."; dir = path.Dir(dir) {
		d, err := sides.Lookup(view, dir)
		if err != nil {
			return "", err
		}
		if d.Mode&0o001 == 0 {
			return "it is in a directory that not everybody may enter", nil
		}
	}
	return "", nil
}

// secretIn says why no content is told at all, empty if it may be: what is a secret on one side is one on each.
func secretIn(sides []*diffSide) string {
	for _, s := range sides {
		if s.secret != "" {
			return s.secret + " in the " + s.Side
		}
	}
	return ""
}

// diffOf compares the content of two sides, of which nothing is the same as an empty file.
func diffOf(secret string, a, b *diffSide) report.TextDiff {
	d := report.TextDiff{From: a.Side, To: b.Side}
	regular := a.content != nil && b.content != nil
	switch {
	case secret != "":
		d.Why = secret
	case a.What == "" && b.What == "" && a.why == "" && b.why == "":
		d.Why = "it is in neither of them"
	case regular && bytes.Equal(a.content, b.content):
		d.Why = "the content is the same"
	case a.why != "":
		d.Why = a.why
	case b.why != "":
		d.Why = b.why
	default:
		d.Text, d.Why = unified(a, b)
	}
	return d
}

// unified returns a unified diff, or why there is none. The library gives up to look for the shortest one after a
// number of differences: what takes long is bounded, whatever the content.
func unified(a, b *diffSide) (text, why string) {
	before, after := string(a.content), string(b.content)
	text, err := udiff.ToUnified(a.Side, b.Side, before, udiff.Lines(before, after), udiff.DefaultContextLines)
	switch {
	case err != nil:
		return "", "it cannot be compared: " + err.Error()
	case text == "":
		return "", "one of them is empty, and the other one is not there"
	case len(text) > maxDiff:
		return "", fmt.Sprintf("the diff is larger than %d KiB", maxDiff>>10)
	}
	return text, ""
}
