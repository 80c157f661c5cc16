// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/ids"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Verify holds the storage where a file would belong to another account than its owner, or lose a name that it had:
// for example because the account files are pinned. It trusts nothing but the account files of the result.
func (dr *driver) Verify(ctx context.Context, effects []sides.Effect) error {
	if dr.plan.Views().SameBase || dr.plan.Numbering().SameBases && dr.plan.Numbering().Untouched {
		return nil
	}
	mine, lost := dr.plan.UsersOwners(), ids.NewOwners()
	for _, k := range ids.Kinds() {
		var names [4]map[uint32][]string
		result := sides.NewScene(dr.plan.Views().Plain, effects)
		for i, s := range []*sides.Scene{
			sides.NewScene(dr.plan.Views().Old, nil), sides.NewScene(dr.plan.Views().New, nil),
			sides.NewScene(dr.plan.Views().User, nil), result,
		} {
			var err error
			if names[i], err = ids.AccountNames(s, k); err != nil {
				return fmt.Errorf("read /%s: %w", k.Path(), err)
			}
		}
		n := sideNames{old: names[sides.Old], new: names[sides.New], user: names[sides.User], result: names[3]}
		for _, id := range slices.Sorted(maps.Keys(k.Of(mine))) {
			if len(n.user[id]) > 0 && !ids.Overlap(n.user[id], n.result[id]) {
				dr.holdStranger(k, n.result[id], n.user[id][0], id, ids.FilesIn(k.Of(mine)[id])+" of the storage")
			}
		}
		for id := range n.new {
			if n.leaves(id, dr.plan.Numbering().Of(k, id)) {
				k.Of(lost)[id] = 0
			}
		}
	}
	return dr.holdLost(ctx, lost)
}

// sideNames are the names by id on all sides.
type sideNames struct{ old, new, user, result map[uint32][]string }

// leaves reports whether files of the new base with an id, which is perhaps another one in the result, would belong
// to a stranger. Where the user gave the id of an account of the old base to somebody else, its files are theirs, as
// they were.
func (n sideNames) leaves(id, to uint32) bool {
	if ids.Overlap(n.result[to], n.new[id]) || to == id && len(n.result[id]) == 0 {
		return false
	}
	return !ids.Overlap(n.old[id], n.new[id]) || ids.Overlap(n.user[id], n.new[id])
}

// holdLost holds the storage for the files of the new base that are seen and belong to some ids.
func (dr *driver) holdLost(ctx context.Context, lost ids.Owners) error {
	if len(lost.UIDs)+len(lost.GIDs) == 0 {
		return nil
	}
	seen := ids.NewOwners()
	err := dr.plan.Views().New.Tree(ctx, func(e tree.Entry) error {
		at := e.Path
		decided, ok := dr.plan.At(at)
		if ok && decided.View == dr.plan.Views().New {
			seen.Add(e.Meta, 1)
		}
		if ok || dr.plan.Excludes(at) {
			return nil
		}
		shown, err := sides.Lookup(dr.plan.Views().Plain, at)
		if err == nil && sides.SameBacking(shown, sides.Node{View: dr.plan.Views().New, Entry: e}) {
			seen.Add(e.Meta, 1)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("look for files of accounts that are others in the result: %w", err)
	}
	for _, k := range ids.Kinds() {
		content, err := ids.AccountNames(sides.NewScene(dr.plan.Views().New, nil), k)
		if err != nil {
			return err
		}
		for _, id := range slices.Sorted(maps.Keys(k.Of(lost))) {
			if n := k.Of(seen)[id]; n > 0 {
				dr.holdStranger(k, nil, content[id][0], id, ids.FilesIn(n)+" of the new base")
			}
		}
	}
	return nil
}

// holdStranger holds the storage because of the files of an account.
func (dr *driver) holdStranger(k ids.Kind, to []string, name string, id uint32, files string) {
	becomes := "that account is not in the result"
	if len(to) > 0 {
		becomes = "the result gives that id to " + to[0]
	}
	dr.plan.Hold(
		report.HoldAccounts, k.Path(), fmt.Sprintf("%s belong to the %s %s (%d), but %s", files, k.What, name, id,
			becomes),
	)
}
