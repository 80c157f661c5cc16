// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package check

import (
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/accounts"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/ids"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// checkAccounts reports what the update does to the owners of files: those whom the base dropped and who stay, those
// who have another id than in the base, and ids that had no name and have one now.
func (c *checker) checkAccounts() error {
	for _, k := range ids.Kinds() {
		files := k.Of(c.in.Owners)
		for _, kept := range c.in.Numbering.Merged.Kept {
			if kept.File == k.File {
				c.find(policy.ConcernAccount, k.Path(), "",
					"the base dropped the %s %s (%d); it stays, because %s of the storage belong to it",
					k.What, kept.Name, kept.ID, ids.FilesIn(files[kept.ID]))
			}
		}
		if err := c.checkNewNames(k, files); err != nil {
			return err
		}
	}
	for _, r := range c.in.Remaps {
		c.findMove(r)
	}
	return nil
}

// findMove reports an account of the new base that has another id in the result.
func (c *checker) findMove(r report.IDRemap) {
	for _, k := range ids.Kinds() {
		if k.Kind != r.Kind || r.Files == 0 && accountIs(c.in.Numbering.O[k.File], k.File, r.Name, r.From) {
			continue // it was so before, and nothing follows
		}
		c.find(policy.ConcernAccount, k.Path(), "", "the %s %s is %d in the base and %d here; %s of the base follow",
			k.What, r.Name, r.From, r.To, ids.FilesIn(r.Files))
	}
}

// accountIs reports whether a file of accounts has a name with an id.
func accountIs(content []byte, f accounts.File, name string, id uint32) bool {
	return slices.Contains(accounts.Names(f, content)[id], name)
}

// checkNewNames reports ids of the storage's files that had no name and have one in the result.
func (c *checker) checkNewNames(k ids.Kind, files map[uint32]int) error {
	before, err := ids.AccountNames(c.before, k)
	if err != nil {
		return err
	}
	after, err := ids.AccountNames(c.after, k)
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(files)) {
		if len(before[id]) == 0 && len(after[id]) > 0 && files[id] > 0 {
			c.find(policy.ConcernAccount, k.Path(), "",
				"%s of the storage belong to the %s %d, who had no name and is %s now",
				ids.FilesIn(files[id]), k.What, id, after[id][0])
		}
	}
	return nil
}

// checkPackageFiles finds packages of the user's of which the result lacks files that are there now: database and
// files must agree.
func (c *checker) checkPackageFiles() error {
	for _, choice := range c.in.Packages.All() {
		if !choice.Differs() || !choice.User.Installed() {
			continue
		}
		list, err := c.in.Packages.List(choice, sides.User)
		if err != nil {
			return err
		}
		var gone []string
		for _, name := range list {
			lost, err := c.lostPath(name)
			if err != nil {
				return err
			}
			if lost {
				gone = append(gone, name)
			}
		}
		if len(gone) > 0 {
			others := ""
			if n := len(gone) - 1; n > 0 {
				others = fmt.Sprintf(", with %d more of that package", n)
			}
			c.find(
				policy.ConcernPackageFiles, gone[0], choice.Key, "of the package %s is not there any more%s",
				choice.Key, others,
			)
		}
	}
	return nil
}

// lostPath reports whether something was at a path and is not any longer, not even by way of a directory that is a link
// now.
func (c *checker) lostPath(name string) (bool, error) {
	before, err := c.before.At(name)
	if err != nil || before.Absent() || c.in.Excludes(name) {
		return false, err
	}
	after, err := c.after.At(name)
	if err != nil || !after.Absent() {
		return false, err
	}
	where, dir, err := c.after.Follow(path.Dir(name))
	if err != nil || !dir.Dir() {
		return err == nil, err
	}
	after, err = c.after.At(path.Join(where, path.Base(name)))
	return after.Absent(), err
}
