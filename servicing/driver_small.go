// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"bytes"
	"context"
	"errors"
	"path"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/diff3"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/dpkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/pkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// keepRuntime keeps what is mounted over in a running container. An empty stub that the runtime left is nobody's change.
func keepRuntime(_ *planner, t sides.Three) (decision, bool, error) {
	if t.U.Dir() || t.U.Absent() {
		return decision{}, false, nil
	}
	d := decision{verdict: report.Keep, rule: "F9", reason: "mounted by the runtime", result: sides.Shows(t.U), quiet: true}
	stub := t.U.Is(tree.Regular) && t.U.Size == 0 && (t.O.Absent() || t.O.Is(tree.Regular) && t.O.Size == 0)
	if stub && t.N.File() {
		d = decision{verdict: report.Take, rule: "F9", reason: "an empty stub of the runtime", result: sides.Shows(t.N)}
	}
	return d, true, nil
}

// keepIdentity keeps what the user has, changed or not.
func keepIdentity(p *planner, t sides.Three) (decision, bool, error) {
	if !t.U.File() || t.N.Dir() {
		return decision{}, false, nil
	}
	same, err := sides.SameContent(t.U, t.N)
	if err != nil || same {
		return decision{}, false, err
	}
	d := decision{
		verdict: report.Keep, rule: "F8", reason: "the identity of this instance", result: sides.Shows(sides.Merged(t, t.U)),
		quiet: t.N.Absent() && t.O.Absent(),
	}
	if same, err := sides.SameContent(t.O, t.N); err != nil || same {
		return d, err == nil, err // the base has nothing to say about it
	}
	return p.settle(policy.ConcernIdentity, t, d), true, nil
}

// pinIdentities gives the storage a copy of the identities that it had from the old base, where the new base has others.
func pinIdentities(_ context.Context, p *planner) error {
	for _, entry := range identityPaths {
		names, err := expand(p.Old, entry)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := p.pinIdentity(name); err != nil {
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

func (p *planner) pinIdentity(name string) error {
	t, err := p.look(name)
	if err != nil {
		return err
	}
	untouched := t.U.File() && fileID{t.U.Dev, t.U.Ino} == fileID{t.O.Dev, t.O.Ino}
	if _, decided := p.want[name]; decided || !untouched || t.N.Dir() || p.options.Policy[policy.ConcernIdentity] == policy.ActionTake {
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
	return p.apply(t, p.settle(policy.ConcernIdentity, t, decision{
		verdict: report.Keep, rule: "F8", driver: "identity", reason: "the identity that this instance had from its old base",
		result: sides.Shows(t.U),
	}))
}

// isBlank tells whether an identity is still to be made.
func isBlank(n sides.Node) (bool, error) {
	content, err := sides.Read(n, 4096)
	if errors.Is(err, tree.ErrTooLarge) {
		return false, nil
	}
	return n.Is(tree.Regular) && (len(bytes.TrimSpace(content)) == 0 || string(content) == "uninitialized\n"), err
}

// extendedStates is where apt notes which packages were installed as dependencies.
const extendedStates = "var/lib/apt/extended_states"

func isRecords(p string) bool {
	_, ok := dpkg.MergeRecords(p, nil, nil, nil)
	return ok || p == extendedStates
}

// mergeRecords merges lists of records of the package managers.
func mergeRecords(_ *planner, t sides.Three) (decision, bool, error) {
	contents, err := sides.ReadThree(t, pkg.MaxDatabase)
	if err != nil || contents == nil {
		return decision{}, false, err
	}
	o, n, u := contents[0], contents[1], contents[2]
	var content []byte
	ok := true
	if t.Path == extendedStates {
		content = dpkg.MergeStanzas(o, n, u, "Package", "Architecture")
	} else {
		content, ok = dpkg.MergeRecords(t.Path, o, n, u)
	}
	return decision{verdict: report.Merge, rule: "D8", reason: "merged by record", result: sides.Makes(t, content)}, ok, nil
}

func isText(p string) bool { return !sides.DataPaths.Has(p) }

// mergeText merges texts by lines.
func mergeText(_ *planner, t sides.Three) (decision, bool, error) {
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

// The paths of these drivers.
var (
	// runtimePaths are mounted over by whoever runs the container; what is below is an empty stub.
	runtimePaths = sides.PathTable{"etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/", "proc/", "sys/", ".dockerenv"}
	// identityPaths make an instance what it is.
	identityPaths = sides.PathTable{
		"etc/machine-id", "etc/hostname", "etc/ssh/ssh_host_*_key", "etc/ssh/ssh_host_*_key.pub", "var/lib/dbus/machine-id",
		"var/lib/dhcp/*.duid", "var/lib/dhcpcd/duid", "etc/dhcpcd.duid", "var/lib/NetworkManager/secret_key", "var/lib/systemd/random-seed",
		"var/lib/urandom/random-seed", "var/lib/random-seed", "etc/hostid", "etc/iscsi/initiatorname.iscsi",
	}
)
