// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Changed is how a path of a storage differs from the base.
type Changed string

// The ways in which a path differs.
const (
	Added   Changed = "added"
	Altered Changed = "changed"
	Deleted Changed = "deleted"
)

// Difference is what a storage says about a path.
type Difference struct {
	tree.Change
	Node dag.NodeID // the one that says it
	How  Changed
	// MountPoint is set for what a runtime makes to mount something there: nothing says that the container wrote it.
	MountPoint bool
}

// Directories and files that runtimes of containers make, where the base has none, to mount something on them,
// whatever the specification of the container says.
var (
	mountedDirectories = []string{"dev", "dev/mqueue", "dev/pts", "dev/shm", "proc", "run", "sys"}
	mountedFiles       = []string{"dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf"}
)

// MountPoints are the paths at which a container has something mounted, relative to its root.
type MountPoints []string

// has reports whether something is mounted at a path, or below it.
func (m MountPoints) has(path string) bool {
	return slices.ContainsFunc(m, func(point string) bool {
		return point == path ||
			strings.HasPrefix(point, path+"/")
	})
}

// Diff calls fn for every path that a storage says something about, parents first. The storage may be in use; then it
// is told what was there when it was looked at. mounted is what the container has mounted, as far as that is known.
// Paths that cannot be looked at are passed over: the error at the end names them.
func (s *State) Diff(ctx context.Context, name string, mounted MountPoints, fn func(Difference) error) (err error) {
	var (
		ids, chain []dag.NodeID
		ok         bool
	)
	defer s.Lease(func(g *dag.Graph) []dag.NodeID {
		var st dag.Storage
		if st, ok = g.Storage(name); ok {
			ids, chain = g.Stack(st.Head), g.Chain(g.Base(st))
		}
		return slices.Concat(ids, chain)
	})()
	if !ok {
		return fmt.Errorf("storage %q: %w", name, errdefs.ErrNotFound)
	}
	view, err := tree.Tolerance{Changes: true}.Open(s.nodes.Stack(ids))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	base, err := tree.Tolerance{}.Open(s.nodes.Stack(chain))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, base.Close()) }()
	passed := passedPaths{}
	err = view.Survey(ctx, func(c tree.Change) error {
		d := differenceOf(base, mounted, c)
		d.Node = ids[c.Layer]
		return fn(d)
	}, passed.add)
	if err != nil {
		return err
	}
	return passed.err()
}

// differenceOf says how a path differs from the base. Where the base cannot be looked at, the path is there, and so
// changed.
func differenceOf(base *tree.View, mounted MountPoints, c tree.Change) Difference {
	d := Difference{Change: c, How: Altered}
	if c.Deleted {
		d.How = Deleted
		return d
	}
	if _, err := base.Lookup(c.Path); errors.Is(err, fs.ErrNotExist) {
		d.How = Added
	}
	d.MountPoint = d.How == Added &&
		(c.Kind == tree.Directory && (slices.Contains(mountedDirectories, c.Path) || mounted.has(c.Path)) ||
			c.Kind == tree.Regular && c.Size == 0 && (slices.Contains(mountedFiles, c.Path) || mounted.has(c.Path)))
	return d
}

// maxPassed is how many paths an error names.
const maxPassed = 10

// passedPaths are the paths that could not be looked at.
type passedPaths struct {
	errs []error
	more int
}

func (p *passedPaths) add(why error) {
	if len(p.errs) == maxPassed {
		p.more++
		return
	}
	p.errs = append(p.errs, why)
}

func (p *passedPaths) err() error {
	if len(p.errs) == 0 {
		return nil
	}
	return fmt.Errorf("all but these paths and %d more could be looked at: %w: %w", p.more, errors.Join(p.errs...),
		errdefs.ErrFailedPrecondition)
}
