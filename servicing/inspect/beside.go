// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Beside calls fn with each version that is not in force of a path, clean and relative to the root, and of what is
// below it, as a container sees it whose storage stands on in.New.
func Beside(ctx context.Context, in plan.Input, under string, fn func(report.BesideVersion) error) (err error) {
	view, err := tree.Tolerance{LongLists: true, Changes: true}.Open(slices.Concat(in.User, in.New))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	return besideIn(ctx, view, under, fn)
}

func besideIn(ctx context.Context, view *tree.View, under string, fn func(report.BesideVersion) error) error {
	for _, in := range sides.BesideTrees() {
		for _, kind := range []report.BesideKind{report.BesideNew, report.BesideOld} {
			l := &lister{view: view, kind: kind, under: under, fn: fn}
			l.hashed = sides.BesideHashed(in, kind, under)
			top := path.Join(in, string(kind))
			if under != "." {
				if err := l.at(ctx, l.hashed); err != nil {
					return err
				}
			}
			if err := l.dir(ctx, path.Join(top, path.Dir(under))); err != nil {
				return err
			}
		}
	}
	return nil
}

// lister lists versions of one kind.
type lister struct {
	view   *tree.View
	kind   report.BesideKind
	under  string
	hashed string // where that of under is if its own path has no room
	fn     func(report.BesideVersion) error
}

// dir lists those in a directory and below.
func (l *lister) dir(ctx context.Context, dir string) error {
	const deep = 8192 // nothing of molt's is that deep
	if len(dir) > deep {
		return nil
	}
	names, err := sides.ReadDir(l.view, dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if at := path.Join(dir, name); at != l.hashed {
			if err := l.at(ctx, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// at lists what is at a path.
func (l *lister) at(ctx context.Context, at string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n, err := sides.Lookup(l.view, at)
	if err != nil || n.Absent() {
		return err
	}
	if n.Dir() {
		return l.dir(ctx, at)
	}
	_, of, known := sides.BesideOf(at)
	switch {
	case at == l.hashed:
		of = l.under
	case known && !sides.Within(of, l.under), !known && l.under != ".":
		return nil
	case !known:
		of = ""
	}
	return l.fn(report.BesideVersion{
		Path: report.Printable(of), PathBytes: report.RawBytes(of), Kind: l.kind,
		At: report.Printable(at), AtBytes: report.RawBytes(at), What: n.Kind.String(),
		Link: report.Printable(n.Link), Size: n.Size,
	})
}

// ReadBeside writes the content of a version that is not in force, as a container sees it whose storage stands on
// in.New. For what is no regular file where such versions are, the error wraps fs.ErrNotExist.
func ReadBeside(ctx context.Context, in plan.Input, at string, w io.Writer) (err error) {
	view, err := tree.Tolerance{LongLists: true, Changes: true}.Open(slices.Concat(in.User, in.New))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	n, err := sides.Lookup(view, at)
	if err != nil {
		return err
	}
	if !sides.InBeside(at) || !n.Is(tree.Regular) {
		return fmt.Errorf("%s: no file is beside there: %w", tree.Shown(at), fs.ErrNotExist)
	}
	file, err := view.OpenEntry(n.Entry)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(w, &untilDone{ctx, file})
	return err
}

// untilDone reads until a context ends.
type untilDone struct {
	ctx  context.Context //nolint:containedctx // it lives as long as one call
	from io.Reader
}

// Read implements io.Reader.
func (u *untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.from.Read(p)
}
