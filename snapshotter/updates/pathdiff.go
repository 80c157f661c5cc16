// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/errtext"
)

// DiffPath tells how a path, clean and relative to the root, changed in an update of a storage. While the update is
// applied this takes its rollback point; before that, or when it was held, the storage is compared as it is now.
// Where the nodes are gone it is no error: what is returned says so. It fails with errdefs.ErrNotFound when the
// storage is not in the update.
func (i *Inspector) DiffPath(ctx context.Context, id dag.UpdateID, storage, path string) (*servicing.PathDiff, error) {
	was, err := i.pathBefore(id, storage, path)
	if err != nil {
		return nil, err
	}
	var (
		k   compared
		why string
	)
	defer i.state.Lease(func(g *dag.Graph) []dag.NodeID {
		k, why, err = i.comparedIn(g, id, storage)
		return k.all()
	})()
	if err != nil {
		return nil, err
	}
	if why != "" {
		return servicing.NewPathDiff(path, why), nil
	}
	in := servicing.DiffInput{Old: i.nodes.Stack(k.old), New: i.nodes.Stack(k.next), User: i.nodes.Stack(k.user)}
	if k.result != nil {
		in.Result = i.nodes.Stack(k.result)
	}
	return servicing.DiffPath(ctx, in, path, was)
}

// pathBefore returns what the report calls a path in the old base and the storage; empty when it says nothing of that.
func (i *Inspector) pathBefore(id dag.UpdateID, storage, path string) (string, error) {
	var p servicing.PathReport
	err := i.reports.with(id, storage, func(name string) (err error) {
		p, _, err = i.reports.dir.Path(name, path)
		return err
	})
	if errdefs.IsNotFound(err) {
		return "", nil
	}
	return p.Was, err
}

// compared are the nodes that show a path before and after an update. The last is nil when the update was not applied.
type compared struct{ old, next, user, result []dag.NodeID }

func (k compared) all() []dag.NodeID { return slices.Concat(k.old, k.next, k.user, k.result) }

// comparedIn returns what an update is to be compared by, or why that cannot be.
func (i *Inspector) comparedIn(g *dag.Graph, id dag.UpdateID, storage string) (k compared, why string, err error) {
	u, _ := g.Update(id)
	o, part := u.Outcomes[storage]
	st, ok := g.Storage(storage)
	if !part || !ok {
		return k, "", fmt.Errorf("storage %q in update %v: %w", storage, id, errdefs.ErrNotFound)
	}
	const digests = "; only digests can be told"
	head, above := st.Head, dag.NodeID(0)
	switch o.State {
	case dag.RolledBack:
		return k, "the update was rolled back" + digests, nil
	case dag.Applied:
		at := slices.IndexFunc(st.Points, func(p dag.Point) bool { return p.Update == id })
		if at < 0 {
			return k, "the state from before the update is not kept any more" + digests, nil
		}
		head = st.Points[at].Head
		if above = o.Delta; above == 0 {
			above = head
		}
	case dag.Held, dag.Aborted:
		if !g.SameBase(g.Base(st), u.From) {
			return k, "the storage does not stand on the old base of the update" + digests, nil
		}
	}
	node, there := g.Node(head)
	_, next := g.Node(u.To)
	if _, made := g.Node(above); !there || !next || above != 0 && !made {
		return k, "nodes of the update are not kept any more" + digests, nil
	}
	k = compared{old: g.Chain(node.Base), next: g.Chain(u.To), user: append(g.Stack(head), g.Chain(node.Base)...)}
	if above != 0 {
		k.result = append(g.Stack(above), k.next...)
	}
	if damage := i.unusable(g, k.all()); damage != "" {
		return k, damage + digests, nil
	}
	return k, "", nil
}

// unusable says why nodes cannot be used, empty if they can.
func (i *Inspector) unusable(g *dag.Graph, ids []dag.NodeID) string {
	if err := i.state.Usable(g, ids); err != nil {
		return errtext.Of(err)
	}
	return ""
}
