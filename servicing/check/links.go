// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package check

import (
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// checkLink finds a link that leads nowhere any longer.
func (c *checker) checkLink(t sides.Three, o sides.Outcome) error {
	if o.Link != t.U.Link {
		return nil
	}
	_, before, err := c.before.Follow(t.Was)
	if err != nil || before.Absent() {
		return err
	}
	_, after, err := c.after.Follow(t.Path)
	if err != nil || !after.Absent() {
		return err
	}
	return c.findAt(policy.ConcernLink, policy.ConcernLink, t, "leads nowhere any more: to %s", t.U.Link)
}
