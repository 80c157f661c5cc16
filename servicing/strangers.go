// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/accounts"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// accountNames returns, by id, who has it in a scene.
func (s *scene) accountNames(k idKind) (map[uint32][]string, error) {
	content, err := s.read(k.path(), maxAccounts)
	return accounts.Names(k.file, content), err
}

// holdStrangers holds the storage where a file would belong to another account than its owner, or lose a name that it had:
// for example because the account files are pinned. It trusts nothing but the account files of the result.
func (p *planner) holdStrangers(ctx context.Context, effects []effect) error {
	if p.sameBase || p.ids.sameBases && p.ids.untouched {
		return nil
	}
	mine, lost := p.usersOwners(), newFileOwners()
	for _, k := range idKinds() {
		var names [4]map[uint32][]string
		result := newScene(p.plain, effects)
		for i, s := range []*scene{newScene(p.old, nil), newScene(p.new, nil), newScene(p.user, nil), result} {
			var err error
			if names[i], err = s.accountNames(k); err != nil {
				return fmt.Errorf("read /%s: %w", k.path(), err)
			}
		}
		n := sideNames{old: names[sideOld], new: names[sideNew], user: names[sideUser], result: names[3]}
		for _, id := range slices.Sorted(maps.Keys(k.of(mine))) {
			if len(n.user[id]) > 0 && !overlap(n.user[id], n.result[id]) {
				p.holdStranger(k, n.result[id], n.user[id][0], id, filesIn(k.of(mine)[id])+" of the storage")
			}
		}
		for id := range n.new {
			if n.leaves(id, p.ids.of(k, id)) {
				k.of(lost)[id] = 0
			}
		}
	}
	return p.holdLost(ctx, lost)
}

// sideNames are the names by id on all sides.
type sideNames struct{ old, new, user, result map[uint32][]string }

// leaves reports whether files of the new base with an id, which is perhaps another one in the result, would belong to a
// stranger. Where the user gave the id of an account of the old base to somebody else, its files are theirs, as they were.
func (n sideNames) leaves(id, to uint32) bool {
	if overlap(n.result[to], n.new[id]) || to == id && len(n.result[id]) == 0 {
		return false
	}
	return !overlap(n.old[id], n.new[id]) || overlap(n.user[id], n.new[id])
}

// of returns which id an id of the new base is in the result.
func (n *numbering) of(k idKind, id uint32) uint32 {
	if k.file == accounts.Group {
		return n.gids.of(id, nil)
	}
	return n.uids.of(id, nil)
}

// holdLost holds the storage for the files of the new base that are seen and belong to some ids.
func (p *planner) holdLost(ctx context.Context, lost fileOwners) error {
	if len(lost.uids)+len(lost.gids) == 0 {
		return nil
	}
	seen := newFileOwners()
	err := p.new.Tree(ctx, func(e tree.Entry) error {
		at := e.Path
		decided, ok := p.want[at]
		if ok && decided.view == p.new {
			seen.add(e.Meta, 1)
		}
		if ok || p.pins.excludes(at) {
			return nil
		}
		shown, err := lookup(p.plain, at)
		if err == nil && sameBacking(shown, node{p.new, e}) {
			seen.add(e.Meta, 1)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("look for files of accounts that are others in the result: %w", err)
	}
	for _, k := range idKinds() {
		content, err := newScene(p.new, nil).accountNames(k)
		if err != nil {
			return err
		}
		for _, id := range slices.Sorted(maps.Keys(k.of(lost))) {
			if n := k.of(seen)[id]; n > 0 {
				p.holdStranger(k, nil, content[id][0], id, filesIn(n)+" of the new base")
			}
		}
	}
	return nil
}

// holdStranger holds the storage because of the files of an account.
func (p *planner) holdStranger(k idKind, to []string, name string, id uint32, files string) {
	becomes := "that account is not in the result"
	if len(to) > 0 {
		becomes = "the result gives that id to " + to[0]
	}
	p.hold(report.HoldAccounts, k.path(), fmt.Sprintf("%s belong to the %s %s (%d), but %s", files, k.what, name, id, becomes))
}
