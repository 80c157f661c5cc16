// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/accounts"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
)

// checkAccounts reports what the update does to the owners of files: those whom the base dropped and who stay, those who
// have another id than in the base, and ids that had no name and have one now.
func (c *checker) checkAccounts() error {
	if c.ignores(policy.ConcernAccount) {
		return nil
	}
	for _, k := range idKinds() {
		files := k.of(c.owners)
		for _, kept := range c.ids.merged.Kept {
			if kept.File == k.file {
				c.find(policy.ConcernAccount, k.path(), "",
					"the base dropped the %s %s (%d); it stays, because %s of the storage belong to it", k.what, kept.Name, kept.ID, filesIn(files[kept.ID]))
			}
		}
		if err := c.checkNewNames(k, files); err != nil {
			return err
		}
	}
	for _, r := range c.remaps {
		c.findMove(r)
	}
	return nil
}

// findMove reports an account of the new base that has another id in the result.
func (c *checker) findMove(r report.IDRemap) {
	for _, k := range idKinds() {
		if k.kind != r.Kind || r.Files == 0 && accountIs(c.ids.o[k.file], k.file, r.Name, r.From) {
			continue // it was so before, and nothing follows
		}
		c.find(policy.ConcernAccount, k.path(), "", "the %s %s is %d in the base and %d here; %s of the base follow",
			k.what, r.Name, r.From, r.To, filesIn(r.Files))
	}
}

// accountIs reports whether a file of accounts has a name with an id.
func accountIs(content []byte, f accounts.File, name string, id uint32) bool {
	return slices.Contains(accounts.Names(f, content)[id], name)
}

// checkNewNames reports ids of the storage's files that had no name and have one in the result.
func (c *checker) checkNewNames(k idKind, files map[uint32]int) error {
	before, err := c.before.accountNames(k)
	if err != nil {
		return err
	}
	after, err := c.after.accountNames(k)
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(files)) {
		if len(before[id]) == 0 && len(after[id]) > 0 && files[id] > 0 {
			c.find(policy.ConcernAccount, k.path(), "", "%s of the storage belong to the %s %d, who had no name and is %s now",
				filesIn(files[id]), k.what, id, after[id][0])
		}
	}
	return nil
}

// filesIn counts files; 0 is for an unknown number.
func filesIn(n int) string {
	switch n {
	case 0:
		return "files"
	case 1:
		return "1 file"
	}
	return fmt.Sprintf("%d files", n)
}

// checkPackageFiles finds packages of the user's of which the result lacks files that are there now: database and files must
// agree.
func (c *checker) checkPackageFiles() error {
	if c.ignores(policy.ConcernPackageFiles) {
		return nil
	}
	for _, choice := range c.packages.choices() {
		if !differs(choice) || !choice.User.Installed() {
			continue
		}
		list, err := c.packages.list(choice, sideUser)
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
			c.find(policy.ConcernPackageFiles, gone[0], choice.Key, "of the package %s is not there any more%s", choice.Key, others)
		}
	}
	return nil
}

// lostPath tells whether something was at a path and is not any more, not even by way of a directory that is a link now.
func (c *checker) lostPath(name string) (bool, error) {
	before, err := c.before.at(name)
	if err != nil || before.absent() || c.pins.excludes(name) {
		return false, err
	}
	after, err := c.after.at(name)
	if err != nil || !after.absent() {
		return false, err
	}
	where, dir, err := c.after.follow(path.Dir(name))
	if err != nil || !dir.dir() {
		return err == nil, err
	}
	after, err = c.after.at(path.Join(where, path.Base(name)))
	return after.absent(), err
}
