// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bytecode drops what Python compiled from a source that is another one now, or gone.
package bytecode

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/shared"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

const (
	byteCodeRule  = "F3"
	byteCodeCache = "__pycache__"
)

// movedPath is a path, and what it was before.
type movedPath struct{ was, path string }

// driverName is what the driver is called in reports.
const driverName = "bytecode"

// What the driver does besides having a name.
var (
	_ plan.Decider  = (*driver)(nil)
	_ plan.Finisher = (*driver)(nil)
)

// driver drops what Python compiled from a source that is another one now, or gone.
type driver struct {
	plan     plan.Plan
	compiled []movedPath // what Python compiled
}

// New makes the driver of a plan.
func New(p plan.Plan) plan.Driver { return &driver{plan: p} }

// Name returns what the driver is called.
func (dr *driver) Name() string { return driverName }

// Takes takes the paths of this driver.
func (dr *driver) Takes(name string) bool { return strings.HasSuffix(name, ".pyc") }

// First remembers what Python compiled for when the sources are decided.
func (dr *driver) First(t sides.Three) (plan.Decision, bool, error) {
	if t.U.Is(tree.Regular) {
		dr.compiled = append(dr.compiled, movedPath{t.Was, t.Path})
	}
	return plan.Decision{}, false, nil
}

// Finish drops what was compiled from a source that is another one now, or gone. Python would not look at most of
// it, but imports what lies where a source would, and takes a directory with nothing else in it for a package.
func (dr *driver) Finish(context.Context) error {
	for _, one := range dr.compiled {
		t, err := dr.plan.Views().Moved(one.was, one.path)
		if err != nil {
			return err
		}
		if t, err = dr.plan.Owned(t); err != nil {
			return err
		}
		if err := dr.settleCompiled(t); err != nil {
			return err
		}
	}
	caches, around := make(map[string]bool), make(map[string]bool)
	for _, t := range dr.compiled {
		if dir := path.Dir(t.path); path.Base(dir) == byteCodeCache {
			caches[dir], around[path.Dir(dir)] = true, true
		}
	}
	return errors.Join(dr.dropEmpty(caches), dr.dropEmpty(around))
}

// sourceOf returns the path of the source that something was compiled from.
func sourceOf(compiled string) string {
	dir, name := path.Split(compiled)
	if path.Base(dir) != byteCodeCache {
		return strings.TrimSuffix(compiled, "c")
	}
	module, _, _ := strings.Cut(name, ".")
	return path.Join(path.Dir(path.Clean(dir)), module+".py")
}

func (dr *driver) settleCompiled(t sides.Three) error {
	before, err := sides.Lookup(dr.plan.Views().User, sourceOf(t.Was))
	if err != nil {
		return err
	}
	after, err := dr.plan.Seen(sourceOf(t.Path))
	if err != nil {
		return err
	}
	if before.Absent() || sides.SameBacking(before, after) {
		return nil // there never was a source, or it is the same
	}
	shown, err := dr.plan.Seen(t.Path)
	if err != nil || shown.Absent() {
		return err
	}
	for _, candidate := range []sides.Node{shown, t.N, t.U} {
		ok, err := compiledFrom(candidate, after)
		if ok && err == nil {
			ok, err = dr.sameSource(t, candidate, before, after)
		}
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if sides.SameBacking(candidate, shown) {
			return nil
		}
		return shared.Again(dr.plan, t, plan.Decision{
			Verdict: report.Take, Rule: byteCodeRule, Driver: driverName,
			Reason: "compiled from the source in the result",
			Result: sides.Shows(candidate),
		})
	}
	d := plan.Decision{
		Verdict: report.Drop, Rule: byteCodeRule, Driver: driverName,
		Reason: "compiled from a source that is another one now, or gone", Result: sides.Nothing(),
	}
	dr.plan.Reopen(t.Path)
	return dr.plan.DecideAlways(t, d)
}

// sameSource reports whether the source that something was compiled from has the content of another one. Time and
// size, which Python looks at, may be the same where contents are not.
func (dr *driver) sameSource(t sides.Three, compiled, before, after sides.Node) (bool, error) {
	source := before // of the user's
	if sides.SameBacking(compiled, t.N) {
		var err error
		if source, err = sides.Lookup(dr.plan.Views().New, sourceOf(t.Path)); err != nil {
			return false, err
		}
	}
	if source.Absent() {
		return true, nil
	}
	return sides.SameContent(source, after)
}

// compiledFrom reports whether something was compiled from a source, as Python does: by the source's time and size. If
// it has a hash instead, the source is looked at, or nobody cares.
func compiledFrom(compiled, source sides.Node) (bool, error) {
	const size, hashed, checked = 16, 1, 2
	if !compiled.Is(tree.Regular) || !source.Is(tree.Regular) {
		return false, nil
	}
	file, err := compiled.View.OpenEntry(compiled.Entry)
	if err != nil {
		return false, err
	}
	defer file.Close()
	var header [size]byte
	if _, err := io.ReadFull(file, header[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return false, nil
		}
		return false, fmt.Errorf("read %s: %w", tree.Shown(compiled.Path), err)
	}
	flags := binary.LittleEndian.Uint32(header[4:])
	if flags&hashed != 0 {
		return flags&checked != 0, nil
	}
	time, length := binary.LittleEndian.Uint32(header[8:]), binary.LittleEndian.Uint32(header[12:])
	return time == uint32(source.Mtime.Sec) && length == uint32(source.Size), nil
}

// dropEmpty drops directories in which nothing is left, if the new base does not have them.
func (dr *driver) dropEmpty(dirs map[string]bool) error {
	result := dr.plan.SoFar()
	for dir := range dirs {
		base, err := sides.Lookup(dr.plan.Views().New, dir)
		if err != nil {
			return err
		}
		names, err := result.Names(dir)
		if err != nil {
			return err
		}
		if base.Absent() && len(names) == 0 {
			dr.plan.Hide(dir)
		}
	}
	return nil
}
