// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/diff3"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// textDriver merges texts by lines.
type textDriver struct{}

func newText(plan) driver { return textDriver{} }

// Name implements the driver.
func (textDriver) Name() string { return "text" }

// Takes takes everything but data.
func (textDriver) Takes(p string) bool { return !sides.DataPaths.Has(p) }

// Explains reports whether a path is a text now.
func (textDriver) Explains(t sides.Three) (bool, error) {
	binary, err := sides.IsBinary(t.U)
	return !binary && t.U.Is(tree.Regular), err
}

// Resolve merges texts by lines.
func (textDriver) Resolve(t sides.Three) (decision, bool, error) {
	if !t.O.Is(tree.Regular) {
		return decision{}, false, nil
	}
	contents, err := sides.ReadThree(t, diff3.MaxSize)
	if err != nil || contents == nil {
		return decision{}, false, err
	}
	content, err := diff3.Merge(contents[0], contents[1], contents[2])
	if err != nil {
		return decision{}, false, nil //nolint:nilerr // why it cannot is all the same: the user's stays
	}
	return decision{verdict: report.Merge, rule: "A4", reason: "the changes of both sides are apart", result: sides.Makes(t, content)}, true, nil
}
