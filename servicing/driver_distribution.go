// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// maxRelease is the size up to which an os-release is read.
const maxRelease = 64 << 10

// holdOther holds a storage with content of its own when the new base is of another distribution or architecture: its
// programs would not find what they need.
func holdOther(_ context.Context, p *planner) error {
	if !p.touched {
		return nil
	}
	old, err := release(p.old)
	if err != nil {
		return err
	}
	base, err := release(p.new)
	if err != nil {
		return err
	}
	if old != "" && base != "" && old != base {
		p.hold(HoldDistribution, "", fmt.Sprintf("the new base is %s, the old one is %s", base, old))
	}
	oldArch, baseArch := p.packages.architecture(sideOld), p.packages.architecture(sideNew)
	if oldArch != "" && baseArch != "" && oldArch != baseArch {
		p.hold(HoldArchitecture, "", fmt.Sprintf("the new base is for %s, the old one for %s", baseArch, oldArch))
	}
	return nil
}

// release returns the name of the distribution, as os-release has it; "" when it is not known.
func release(view *tree.View) (string, error) {
	for _, name := range []string{"usr/lib/os-release", "etc/os-release"} {
		n, err := lookup(view, name)
		if err != nil {
			return "", err
		}
		content, err := read(n, maxRelease)
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
