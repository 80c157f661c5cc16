// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package languages

import (
	"context"
	"errors"
	"path"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// The bounds on what is read.
const (
	maxRecord  = 32 << 20 // of one record, in bytes
	maxRecords = 1 << 30  // of all records of one root, in bytes
	maxFiles   = 1 << 20  // of the packages of one root
)

// errTooMuch is the error about a root with more than is read.
var errTooMuch = errors.New("too much to compare")

// reader reads records and directories of the three sides.
type reader struct {
	plan plan.Plan
	ctx  context.Context //nolint:containedctx // a reader is for one call of Finish

	files int   // how many files were counted
	bytes int64 // how much of records was read
}

// count counts files, and returns errTooMuch when there are too many.
func (rd *reader) count(files int) error {
	if rd.files += files; rd.files > maxFiles {
		return errTooMuch
	}
	return rd.ctx.Err()
}

// read returns the content of a record on one side, nil where there is none. It reports false for one that is too
// large.
func (rd *reader) read(side int, name string) ([]byte, bool, error) {
	n, err := sides.Lookup(rd.plan.Views().Sides()[side], name)
	if err != nil {
		return nil, false, err
	}
	content, err := sides.Read(n, maxRecord)
	if errors.Is(err, tree.ErrTooLarge) {
		return nil, false, nil
	}
	if rd.bytes += int64(len(content)); err == nil && rd.bytes > maxRecords {
		err = errTooMuch
	}
	return content, err == nil, err
}

// names returns the names that one side has in a directory.
func (rd *reader) names(side int, dir string) ([]string, error) {
	return sides.ReadDir(rd.plan.Views().Sides()[side], dir)
}

// below adds what any side has below a directory and is no directory, or in place of one. Directories that skip
// reports are passed over.
func (rd *reader) below(dir string, paths map[string]bool, skip func(dir string) bool) error {
	if err := rd.count(1); err != nil {
		return err
	}
	var inner []string
	seen := make(map[string]bool)
	for _, view := range rd.plan.Views().Sides() {
		n, err := sides.Lookup(view, dir)
		if err != nil || n.Absent() {
			if err != nil {
				return err
			}
			continue
		}
		if n.File() {
			paths[dir] = true
			continue
		}
		names, err := view.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, name := range names {
			if full := path.Join(dir, name); !seen[full] && (skip == nil || !skip(full)) {
				seen[full] = true
				inner = append(inner, full)
			}
		}
	}
	for _, full := range inner {
		if err := rd.below(full, paths, skip); err != nil {
			return err
		}
	}
	return nil
}
