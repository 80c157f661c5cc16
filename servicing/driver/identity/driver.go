// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package identity lets an instance stay what it is: machine-id, host keys, seeds.
package identity

import (
	"bytes"
	"context"
	"errors"
	"path"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// identityPaths make an instance what it is.
var identityPaths = sides.PathTable{
	"etc/machine-id", "etc/hostname", "etc/ssh/ssh_host_*_key", "etc/ssh/ssh_host_*_key.pub", "var/lib/dbus/machine-id",
	"var/lib/dhcp/*.duid", "var/lib/dhcpcd/duid", "etc/dhcpcd.duid", "var/lib/NetworkManager/secret_key",
	"var/lib/systemd/random-seed",
	"var/lib/urandom/random-seed", "var/lib/random-seed", "etc/hostid", "etc/iscsi/initiatorname.iscsi",
}

// driverName is what the driver is called in reports.
const driverName = "identity"

// What the driver does besides having a name.
var (
	_ plan.Decider   = (*driver)(nil)
	_ plan.Finisher  = (*driver)(nil)
	_ plan.Concerned = (*driver)(nil)
)

// driver lets an instance stay what it is.
type driver struct{ plan plan.Plan }

// New makes the driver of a plan.
func New(p plan.Plan) plan.Driver { return &driver{p} }

// Name returns what the driver is called.
func (dr *driver) Name() string { return driverName }

// Takes takes what makes an instance what it is.
func (dr *driver) Takes(path string) bool { return identityPaths.Has(path) }

// Concern names the conflict about these paths.
func (dr *driver) Concern() policy.Concern { return policy.ConcernIdentity }

// First keeps what the user has, changed or not.
func (dr *driver) First(t sides.Three) (plan.Decision, bool, error) {
	if !t.U.File() || t.N.Dir() {
		return plan.Decision{}, false, nil
	}
	same, err := sides.SameContent(t.U, t.N)
	if err != nil || same {
		return plan.Decision{}, false, err
	}
	d := plan.Decision{
		Verdict: report.Keep, Rule: "F8", Reason: "the identity of this instance",
		Result: sides.Shows(sides.Merged(t, t.U)),
		Quiet:  t.N.Absent() && t.O.Absent(),
	}
	if same, err := sides.SameContent(t.O, t.N); err != nil || same {
		return d, err == nil, err // the base has nothing to say about it
	}
	return dr.plan.Settle(policy.ConcernIdentity, t, d), true, nil
}

// Finish gives the storage a copy of the identities that it had from the old base, where the new base has others.
func (dr *driver) Finish(context.Context) error {
	for _, entry := range identityPaths {
		names, err := expand(dr.plan.Views().Old, entry)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := dr.keepIdentity(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// expand returns the paths in a view that match a pattern in its last name.
func expand(view *tree.View, pattern string) ([]string, error) {
	if !strings.Contains(pattern, "*") {
		return []string{pattern}, nil
	}
	dir := path.Dir(pattern)
	names, err := sides.ReadDir(view, dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		if full := path.Join(dir, name); sides.Matches(pattern, full) {
			out = append(out, full)
		}
	}
	return out, nil
}

func (dr *driver) keepIdentity(name string) error {
	t, err := dr.plan.Look(name)
	if err != nil {
		return err
	}
	untouched := t.U.File() && sides.SameBacking(t.U, t.O)
	_, decided := dr.plan.At(name)
	if decided || !untouched || t.N.Dir() || dr.plan.Policy()[policy.ConcernIdentity] == policy.ActionTake {
		return nil
	}
	if same, err := sides.SameContent(t.O, t.N); err != nil || same {
		return err
	}
	blank, err := isBlank(t.O)
	if err != nil {
		return err
	}
	if blank { // to be made at the first start: how that is asked for is the base's, but never what all would share
		if blank, err = isBlank(t.N); err != nil || blank || t.N.Absent() {
			return err
		}
	}
	return dr.plan.Decide(t, dr.plan.Settle(policy.ConcernIdentity, t, plan.Decision{
		Verdict: report.Keep, Rule: "F8", Driver: driverName,
		Reason: "the identity that this instance had from its old base",
		Result: sides.Shows(t.U),
	}))
}

// isBlank reports whether an identity is still to be made.
func isBlank(n sides.Node) (bool, error) {
	content, err := sides.Read(n, 4096)
	if errors.Is(err, tree.ErrTooLarge) {
		return false, nil
	}
	return n.Is(tree.Regular) && (len(bytes.TrimSpace(content)) == 0 || string(content) == "uninitialized\n"), err
}
