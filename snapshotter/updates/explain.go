// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/nodes"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// Inspector looks into storages for people.
type Inspector struct {
	state   *state.State
	nodes   *nodes.Dir
	stager  *Stager
	reports *Reports
}

// Explain tells where what a container with a storage sees at a path comes from, and what it hides. Nodes go by their
// ids.
func (i *Inspector) Explain(ctx context.Context, storage, path string) (e *servicing.Explanation, err error) {
	err = i.lookInto(storage, func(in servicing.Input, names []string) error {
		e, err = servicing.Explain(ctx, in, path, names)
		return err
	})
	return e, err
}

// Beside calls fn with each version of a path, and of what is below it, that an update put into a storage and that is
// not in force.
func (i *Inspector) Beside(
	ctx context.Context, storage, path string, fn func(servicing.BesideVersion) error,
) error {
	return i.lookInto(storage, func(in servicing.Input, _ []string) error {
		return servicing.ListBeside(ctx, in, path, fn)
	})
}

// ReadBeside writes the content of one of these.
func (i *Inspector) ReadBeside(ctx context.Context, storage, at string, w io.Writer) error {
	err := i.lookInto(storage, func(in servicing.Input, _ []string) error {
		return servicing.ReadBeside(ctx, in, at, w)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("storage %q: %w: %w", storage, err, errdefs.ErrNotFound)
	}
	return err
}

// Audit tells which packages and files of its base a storage hides. What the base changed since the oldest state that
// the storage can return to is known to be a fix. A storage of which an update is held is compared with the base that
// it would be on.
func (i *Inspector) Audit(ctx context.Context, storage string) (r *servicing.AuditReport, err error) {
	var to dag.NodeID
	i.state.Graph(func(g *dag.Graph) {
		u, _ := g.Update(g.HeldBy()[storage])
		if n, there := g.Node(u.To); there && i.state.Usable(g, g.Chain(n.ID)) == nil {
			to = n.ID
		}
	})
	if to != 0 {
		return i.auditHeld(ctx, storage, to)
	}
	err = i.lookInto(storage, func(in servicing.Input, _ []string) error {
		var last string
		i.state.Graph(func(g *dag.Graph) {
			st, _ := g.Storage(storage)
			last = lastReport(g, st)
		})
		left, err := i.reports.leftBehind(last)
		if err != nil {
			return err
		}
		in.Waiting = left.Waiting
		r, err = servicing.Audit(ctx, in)
		return err
	})
	return r, err
}

// auditHeld compares a storage with the base on which it would stand.
func (i *Inspector) auditHeld(
	ctx context.Context, storage string, to dag.NodeID,
) (r *servicing.AuditReport, err error) {
	var layers []dag.NodeID
	defer i.state.Lease(func(g *dag.Graph) []dag.NodeID {
		layers = g.Chain(to)
		err = i.state.Usable(g, layers)
		return layers
	})()
	if err != nil {
		return nil, err
	}
	err = i.lookInto(storage, func(in servicing.Input, _ []string) error {
		in.Old, in.New = in.New, i.nodes.Stack(layers)
		r, err = servicing.AuditHeld(ctx, in)
		return err
	})
	return r, err
}

// lookInto calls fn with a storage on the base it stands on, and the names of its nodes and layers, topmost first.
func (i *Inspector) lookInto(storage string, fn func(in servicing.Input, names []string) error) error {
	var (
		st dag.Storage
		k  stacks
		ok bool
	)
	defer i.state.Lease(func(g *dag.Graph) []dag.NodeID {
		if st, ok = g.Storage(storage); !ok {
			return nil
		}
		k = stacks{next: g.Chain(g.Base(st)), user: g.Stack(st.Head)}
		if len(st.Points) > 0 {
			oldest, _ := g.Node(st.Points[0].Head)
			k.old = g.Chain(oldest.Base)
		}
		return k.all()
	})()
	if !ok {
		return fmt.Errorf("storage %q: %w", storage, errdefs.ErrNotFound)
	}
	in, err := i.stager.input(st, k)
	if err != nil {
		return err
	}
	in.Live = true // it may be in use
	var names []string
	for _, id := range append(k.user, k.next...) {
		names = append(names, id.String())
	}
	return fn(in, names)
}
