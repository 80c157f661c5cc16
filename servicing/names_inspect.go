// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/inspect"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
)

// Input is what a plan is made of. Each stack names directories, the topmost first.
type Input = plan.Input

// DiffInput are the stacks of an update that was, or will be, done.
type DiffInput = inspect.DiffInput

// Explain explains a path of a container, see [inspect.Explain].
func Explain(ctx context.Context, in Input, path string, names []string) (*Explanation, error) {
	return inspect.Explain(ctx, in, path, names)
}

// Audit finds what of its base a storage hides, see [inspect.Audit].
func Audit(ctx context.Context, in Input) (*AuditReport, error) { return inspect.Audit(ctx, in) }

// AuditHeld finds what a storage lacks whose update is held, see [inspect.AuditHeld].
func AuditHeld(ctx context.Context, in Input) (*AuditReport, error) {
	return inspect.AuditHeld(ctx, in)
}

// DiffPath shows how a path changed in an update, see [inspect.DiffPath].
func DiffPath(ctx context.Context, in DiffInput, name, was string) (*PathDiff, error) {
	return inspect.DiffPath(ctx, in, name, was)
}
