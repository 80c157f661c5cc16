// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// maxRelease is the size up to which an os-release is read.
const maxRelease = 64 << 10

// holdOther holds a storage with content of its own when the new base is of another distribution or architecture, or has another
// C library: its programs would not find what they need.
func holdOther(_ context.Context, p *planner) error {
	if !p.touched {
		return nil
	}
	old, err := release(p.Old)
	if err != nil {
		return err
	}
	base, err := release(p.New)
	if err != nil {
		return err
	}
	if old != "" && base != "" && old != base {
		p.hold(report.HoldDistribution, "", fmt.Sprintf("the new base is %s, the old one is %s", base, old))
	}
	oldArch, baseArch := p.packages.Architecture(sides.Old), p.packages.Architecture(sides.New)
	if oldArch != "" && baseArch != "" && oldArch != baseArch {
		p.hold(report.HoldArchitecture, "", fmt.Sprintf("the new base is for %s, the old one for %s", baseArch, oldArch))
		return nil
	}
	return p.holdOtherLoader()
}

// holdOtherLoader holds a storage when none of the loaders of the old base, by which its programs are started, is in the new one. A
// loader is named after the C library and the architecture.
func (p *planner) holdOtherLoader() error {
	old, err := loaders(p.Old)
	if err != nil {
		return err
	}
	base, err := loaders(p.New)
	if err != nil {
		return err
	}
	if len(old) == 0 || len(base) == 0 || slices.ContainsFunc(old, func(name string) bool { return slices.Contains(base, name) }) {
		return nil
	}
	code := report.HoldArchitecture
	if isMusl(old[0]) != isMusl(base[0]) {
		code = report.HoldLibrary
	}
	p.hold(code, "", fmt.Sprintf("programs of the new base are started by %s, those of the old one by %s", strings.Join(base, ", "), strings.Join(old, ", ")))
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
