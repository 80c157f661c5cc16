// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/diff3"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/dpkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// keepRuntime keeps what is mounted over in a running container. An empty stub that the runtime left is nobody's change.
func keepRuntime(_ *planner, t three) (decision, bool, error) {
	if t.u.dir() || t.u.absent() {
		return decision{}, false, nil
	}
	d := decision{verdict: report.Keep, rule: "F9", reason: "mounted by the runtime", result: shows(t.u), quiet: true}
	stub := t.u.is(tree.Regular) && t.u.Size == 0 && (t.o.absent() || t.o.is(tree.Regular) && t.o.Size == 0)
	if stub && t.n.file() {
		d = decision{verdict: report.Take, rule: "F9", reason: "an empty stub of the runtime", result: shows(t.n)}
	}
	return d, true, nil
}

// keepIdentity keeps what the user has, changed or not.
func keepIdentity(p *planner, t three) (decision, bool, error) {
	if !t.u.file() || t.n.dir() {
		return decision{}, false, nil
	}
	same, err := sameContent(t.u, t.n)
	if err != nil || same {
		return decision{}, false, err
	}
	d := decision{
		verdict: report.Keep, rule: "F8", reason: "the identity of this instance", result: shows(merged(t, t.u)),
		quiet: t.n.absent() && t.o.absent(),
	}
	if same, err := sameContent(t.o, t.n); err != nil || same {
		return d, err == nil, err // the base has nothing to say about it
	}
	return p.settle(policy.ConcernIdentity, t, d), true, nil
}

// pinIdentities gives the storage a copy of the identities that it had from the old base, where the new base has others.
func pinIdentities(_ context.Context, p *planner) error {
	for _, entry := range identityPaths {
		names, err := expand(p.old, entry)
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
	names, err := readDir(view, dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, name := range names {
		if full := path.Join(dir, name); matches(pattern, full) {
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
	untouched := t.u.file() && fileID{t.u.Dev, t.u.Ino} == fileID{t.o.Dev, t.o.Ino}
	if _, decided := p.want[name]; decided || !untouched || t.n.dir() || p.options.Policy[policy.ConcernIdentity] == policy.ActionTake {
		return nil
	}
	if same, err := sameContent(t.o, t.n); err != nil || same {
		return err
	}
	blank, err := isBlank(t.o)
	if err != nil {
		return err
	}
	if blank { // to be made at the first start: how that is asked for is the base's, but never what all would share
		if blank, err = isBlank(t.n); err != nil || blank || t.n.absent() {
			return err
		}
	}
	return p.apply(t, p.settle(policy.ConcernIdentity, t, decision{
		verdict: report.Keep, rule: "F8", driver: "identity", reason: "the identity that this instance had from its old base",
		result: shows(t.u),
	}))
}

// isBlank tells whether an identity is still to be made.
func isBlank(n node) (bool, error) {
	content, err := read(n, 4096)
	if errors.Is(err, tree.ErrTooLarge) {
		return false, nil
	}
	return n.is(tree.Regular) && (len(bytes.TrimSpace(content)) == 0 || string(content) == "uninitialized\n"), err
}

// extendedStates is where apt notes which packages were installed as dependencies.
const extendedStates = "var/lib/apt/extended_states"

func isRecords(p string) bool {
	_, ok := dpkg.MergeRecords(p, nil, nil, nil)
	return ok || p == extendedStates
}

// mergeRecords merges lists of records of the package managers.
func mergeRecords(_ *planner, t three) (decision, bool, error) {
	contents, err := readThree(t, maxDatabase)
	if err != nil || contents == nil {
		return decision{}, false, err
	}
	o, n, u := contents[0], contents[1], contents[2]
	var content []byte
	ok := true
	if t.path == extendedStates {
		content = dpkg.MergeStanzas(o, n, u, "Package", "Architecture")
	} else {
		content, ok = dpkg.MergeRecords(t.path, o, n, u)
	}
	return decision{verdict: report.Merge, rule: "D8", reason: "merged by record", result: makes(t, content)}, ok, nil
}

// readThree reads the contents of a path where both the user and the new base have a regular file; nil if they do not or
// if one is too large.
func readThree(t three, limit int64) ([][]byte, error) {
	if !t.u.is(tree.Regular) || !t.n.is(tree.Regular) || t.o.file() && !t.o.is(tree.Regular) {
		return nil, nil
	}
	var out [][]byte
	for _, n := range []node{t.o, t.n, t.u} {
		content, err := read(n, limit)
		if errors.Is(err, tree.ErrTooLarge) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, content)
	}
	return out, nil
}

// makes is the outcome of a merged content: with merged metadata, and the newer of the two times.
func makes(t three, content []byte) outcome {
	n := merged(t, t.u)
	if newer(t.n.Mtime, n.Mtime) {
		n.Mtime = t.n.Mtime
	}
	return outcome{node: n, made: true, content: content}
}

func newer(a, b unix.Timespec) bool { return a.Sec > b.Sec || a.Sec == b.Sec && a.Nsec > b.Nsec }

func isText(p string) bool { return !dataPaths.has(p) }

// mergeText merges texts by lines.
func mergeText(_ *planner, t three) (decision, bool, error) {
	if !t.o.is(tree.Regular) {
		return decision{}, false, nil
	}
	contents, err := readThree(t, diff3.MaxSize)
	if err != nil || contents == nil {
		return decision{}, false, err
	}
	content, err := diff3.Merge(contents[0], contents[1], contents[2])
	if err != nil {
		return decision{}, false, nil //nolint:nilerr // why it cannot is all the same: the user's stays
	}
	return decision{verdict: report.Merge, rule: "A4", reason: "the changes of both sides are apart", result: makes(t, content)}, true, nil
}

// isBinary tells whether a regular file begins like something that is not a text.
func isBinary(n node) (bool, error) {
	if !n.is(tree.Regular) {
		return false, nil
	}
	file, err := n.view.OpenEntry(n.Entry)
	if err != nil {
		return false, err
	}
	defer file.Close()
	head, err := io.ReadAll(io.LimitReader(file, 8192))
	if err != nil {
		return false, fmt.Errorf("read %s: %w", tree.Shown(n.Path), err)
	}
	return bytes.IndexByte(head, 0) >= 0, nil
}
