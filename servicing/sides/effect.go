// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package sides

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Effect is one path of the delta storage: a whiteout, or what is to be shown.
type Effect struct {
	At       string
	Whiteout bool
	Outcome
}

// What names the effect for a report.
func (e Effect) What() string {
	switch {
	case e.Whiteout:
		return "whiteout"
	case e.LinkTo != "":
		return "hard link"
	default:
		return e.Kind.String()
	}
}

func (e Effect) write(w *tree.Writer) error {
	switch {
	case e.Whiteout:
		return w.Whiteout(e.At)
	case e.LinkTo != "":
		return w.Link(e.LinkTo, e.At)
	case e.Made:
		return w.WriteFile(e.At, e.Meta, bytes.NewReader(e.Content))
	case e.Absent():
		return fmt.Errorf("write %s: %w", tree.Shown(e.At), fs.ErrNotExist)
	default:
		return w.CopyAs(e.View, e.Entry, e.At)
	}
}

// WriteEffects writes the delta storage.
func WriteEffects(ctx context.Context, dir string, effects []Effect) (err error) {
	w, err := tree.NewWriter(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for _, e := range slices.SortedStableFunc(slices.Values(effects), linksLast) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := e.write(w); err != nil {
			return err
		}
	}
	return nil
}

// linksLast orders hard links behind what they are links to.
func linksLast(a, b Effect) int {
	switch {
	case (a.LinkTo == "") == (b.LinkTo == ""):
		return 0
	case a.LinkTo == "":
		return -1
	default:
		return 1
	}
}
