// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// checkAccounts finds owners of the storage's files that had a name and have none any more.
func (c *checker) checkAccounts() error {
	if c.ignores(ConcernAccount) {
		return nil
	}
	for _, kind := range []struct {
		what, file string
		ids        map[uint32]bool
	}{{"user", "etc/passwd", c.uids}, {"group", "etc/group", c.gids}} {
		before, err := namesOf(c.before, kind.file)
		if err != nil {
			return err
		}
		after, err := namesOf(c.after, kind.file)
		if err != nil {
			return err
		}
		for _, id := range slices.Sorted(maps.Keys(kind.ids)) {
			if before[id] != "" && after[id] == "" {
				c.find(ConcernAccount, kind.file, "", "has no %s %s (%d) any more, who owns files of the storage", kind.what, before[id], id)
			}
		}
	}
	return nil
}

// namesOf returns the names of ids in a file of accounts or groups, in which the third field is the id.
func namesOf(s *scene, name string) (map[uint32]string, error) {
	content, err := s.read(name, maxAccounts)
	if err != nil {
		return nil, err
	}
	out := make(map[uint32]string)
	for line := range strings.SplitSeq(string(content), "\n") {
		fields := strings.Split(line, ":")
		if len(fields) < 4 {
			continue
		}
		if id, err := strconv.ParseUint(fields[2], 10, 32); err == nil && out[uint32(id)] == "" {
			out[uint32(id)] = fields[0]
		}
	}
	return out, nil
}

// checkPackageFiles finds packages of the user's of which the result lacks files that are there now: database and files must
// agree.
func (c *checker) checkPackageFiles() error {
	if c.ignores(ConcernPackageFiles) {
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
			c.find(ConcernPackageFiles, gone[0], choice.Key, "of the package %s is not there any more%s", choice.Key, others)
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
