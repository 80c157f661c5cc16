// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"io"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/inspect"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
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

// ListBeside lists the versions of files that are not in force, see [inspect.Beside].
func ListBeside(ctx context.Context, in Input, under string, fn func(BesideVersion) error) error {
	return inspect.Beside(ctx, in, under, fn)
}

// ReadBeside writes the content of one of them, see [inspect.ReadBeside].
func ReadBeside(ctx context.Context, in Input, at string, w io.Writer) error {
	return inspect.ReadBeside(ctx, in, at, w)
}

// MoltsOwn reports whether a path is where these versions are, or a directory that was made for that.
func MoltsOwn(path string) bool { return sides.MoltDirectory(path) }
