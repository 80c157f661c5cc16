// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package distribution holds a storage whose new base is another system: another distribution, architecture or C
// library.
package distribution

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// maxRelease is the size up to which an os-release is read.
const maxRelease = 64 << 10

// driverName is what the driver is called in reports.
const driverName = "distribution"

// What the driver does besides having a name.
var _ plan.Finisher = (*driver)(nil)

// driver holds a storage whose new base is of another kind.
type driver struct{ plan plan.Plan }

// New makes the driver of a plan.
func New(p plan.Plan) plan.Driver { return &driver{p} }

// Name returns what the driver is called.
func (dr *driver) Name() string { return driverName }

// Takes takes no path: the driver decides when the walk is over.
func (dr *driver) Takes(string) bool { return false }

// Finish holds a storage with content of its own when the new base is of another distribution or architecture, or has
// another C library: its programs would not find what they need.
func (dr *driver) Finish(context.Context) error {
	if !dr.plan.Touched() {
		return nil
	}
	old, err := release(dr.plan.Views().Old)
	if err != nil {
		return err
	}
	base, err := release(dr.plan.Views().New)
	if err != nil {
		return err
	}
	if old != "" && base != "" && old != base {
		dr.plan.Hold(report.HoldDistribution, "", fmt.Sprintf("the new base is %s, the old one is %s", base, old))
	}
	oldArch, baseArch := dr.plan.Packages().Architecture(sides.Old), dr.plan.Packages().Architecture(sides.New)
	if oldArch != "" && baseArch != "" && oldArch != baseArch {
		dr.plan.Hold(
			report.HoldArchitecture, "", fmt.Sprintf("the new base is for %s, the old one for %s", baseArch, oldArch),
		)
		return nil
	}
	return dr.holdOtherLoader()
}

// holdOtherLoader holds a storage when none of the loaders of the old base, by which its programs are started, is in
// the new one. A loader is named after the C library and the architecture.
func (dr *driver) holdOtherLoader() error {
	old, err := loaders(dr.plan.Views().Old)
	if err != nil {
		return err
	}
	base, err := loaders(dr.plan.Views().New)
	if err != nil {
		return err
	}
	shared := func(name string) bool { return slices.Contains(base, name) }
	if len(old) == 0 || len(base) == 0 || slices.ContainsFunc(old, shared) {
		return nil
	}
	code := report.HoldArchitecture
	if isMusl(old[0]) != isMusl(base[0]) {
		code = report.HoldLibrary
	}
	dr.plan.Hold(code, "", fmt.Sprintf(
		"programs of the new base are started by %s, those of the old one by %s", strings.Join(base, ", "),
		strings.Join(old, ", "),
	))
	return nil
}

const muslLoader = "ld-musl-"

func isMusl(loader string) bool { return strings.HasPrefix(loader, muslLoader) }

// loaders returns the names of the loaders of dynamic programs, of glibc and musl, in a base.
func loaders(view *tree.View) ([]string, error) {
	var out []string
	for _, dir := range []string{"lib", "lib64", "usr/lib", "usr/lib64"} {
		names, err := sides.ReadDir(view, dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if isMusl(name) || strings.HasPrefix(name, "ld-linux") || strings.HasPrefix(name, "ld64.so.") {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// release returns the name of the distribution, as os-release has it; "" when it is not known.
func release(view *tree.View) (string, error) {
	for _, name := range []string{"usr/lib/os-release", "etc/os-release"} {
		n, err := sides.Lookup(view, name)
		if err != nil {
			return "", err
		}
		content, err := sides.Read(n, maxRelease)
		if errors.Is(err, tree.ErrTooLarge) {
			continue
		}
		if err != nil {
			return "", err
		}
		for line := range strings.SplitSeq(string(content), "\n") {
			if id, ok := strings.CutPrefix(line, "ID="); ok {
				return strings.Trim(strings.TrimSpace(id), `"'`), nil
			}
		}
	}
	return "", nil
}
