// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package updates

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// Announcer begins the updates that layers are, by what their labels and images say.
type Announcer struct {
	state  *state.State
	tasks  *background.Tasks
	host   Host // nil without a containerd
	policy CommitPolicy
	runner *Runner
}

// supersedes is what a layer that is about to be committed updates.
type supersedes struct {
	base   dag.NodeID
	ref    string // what the label calls it, empty without one
	policy OnCommit
	// claimed is a layer of which only its image says so.
	claimed bool
}

// supersedes returns what the layer of a key updates, and what is to be done about it. It asks containerd only for the
// name of an image, which waits for nothing.
func (a *Announcer) supersedes(ctx context.Context, n dag.Name, labels map[string]string) (supersedes, error) {
	unpacked := keys.Parse(n.Key).Unpacks(n.Labels)
	ref := cmp.Or(labels[LabelUpdateOf], n.Labels[LabelUpdateOf])
	switch {
	case ref == "" && unpacked:
		return supersedes{policy: IgnoreCommit}, nil
	case ref == "":
		var parent dag.Name
		a.state.Graph(func(g *dag.Graph) { parent, _ = g.Name(n.Parent) })
		return supersedes{base: parent.Node, policy: a.policy.Written}, nil
	}
	u := supersedes{ref: ref, policy: a.policy.Client}
	if unpacked {
		u.policy, u.claimed = a.policy.Image, true
	}
	if u.policy == IgnoreCommit {
		return u, nil
	}
	var err error
	u.base, err = a.layerCalled(ctx, keys.Parse(n.Key).Namespace, ref)
	return u, err
}

// layerCalled returns the layer that a label calls by its key, its chain ID, or the name of an image.
func (a *Announcer) layerCalled(ctx context.Context, namespace, ref string) (dag.NodeID, error) {
	if id := a.layerWithKey(namespace, ref); id != 0 {
		return id, nil
	}
	unknown := fmt.Errorf("label %s: %q is neither a layer here nor an image that is unpacked: %w",
		LabelUpdateOf, ref, errdefs.ErrNotFound)
	if a.host == nil {
		return 0, unknown
	}
	ctx, cancel := context.WithTimeout(ctx, use.AskTimeout)
	defer cancel()
	key, err := a.host.Topmost(ctx, namespace, ref)
	if errdefs.IsNotFound(err) {
		return 0, unknown
	}
	if err != nil {
		return 0, fmt.Errorf("label %s: look for image %q: %w", LabelUpdateOf, ref, err)
	}
	if id := a.layerWithKey(namespace, key); id != 0 {
		return id, nil
	}
	return 0, unknown
}

// layerWithKey returns the latest layer with a key or a chain ID, 0 without one. The image of a layer on which storages
// stand may have been removed, with the key.
func (a *Announcer) layerWithKey(namespace, key string) (id dag.NodeID) {
	a.state.Graph(func(g *dag.Graph) {
		for _, n := range g.Names() {
			if k := keys.Parse(n.Key); n.Kind == dag.Committed && k.Namespace == namespace && k.Key == key {
				id = max(id, n.Node)
			}
		}
		for _, n := range g.Nodes() {
			if keys.IsDigest(key) && n.Origin == keys.Origin(namespace, key) {
				id = max(id, n.ID)
			}
		}
	})
	return id
}

// begun is what records that a layer is an update, with the change that commits it.
type begun struct {
	changes []dag.Transformation
	updates []dag.UpdateID
}

// begun returns how the update that a layer is begins for the storages that it concerns, see [dag.Announcement].
func (a *Announcer) begun(ctx context.Context, n dag.Name, name string, labels map[string]string) (b begun) {
	key := keys.Parse(name)
	entry := log.G(ctx).WithField("layer", key.Key)
	u, err := a.supersedes(ctx, n, labels)
	if err == nil && u.policy != IgnoreCommit && u.base != 0 {
		a.state.Graph(func(g *dag.Graph) {
			own, _ := g.Storage(n.Storage)
			b.changes, b.updates, err = dag.Announcement{
				Of: u.base, To: own.Head, Origin: key.Origin(), FromRef: u.ref, ToRef: key.Key, Until: u.policy.until(),
				Claimed: u.claimed,
				Concerns: func(st dag.Storage) bool {
					namespace, _, _ := strings.Cut(st.Name, "/")
					return namespace == key.Namespace
				},
				NewUpdate: a.state.NewUpdate, Now: clock.Now(),
			}.On(g)
		})
	}
	if err != nil {
		entry.WithError(err).Warn("a layer says that it is an update, but not of what molt can update; no storage " +
			"is updated")
	}
	return b
}

// Commit commits the layer of a key and, in the same change, records the update that it is, by its labels. A layer that
// cannot be an update is a layer all the same. It returns the updates that may have something to do now, see follow.
func (a *Announcer) Commit(
	ctx context.Context, c dag.Commit, n dag.Name, labels map[string]string,
) ([]dag.UpdateID, error) {
	return a.commit(ctx, c, func() begun { return a.begun(ctx, n, c.Name, labels) })
}

// Follow carries out in the background what updates that were recorded with a layer have to do.
func (a *Announcer) Follow(updates []dag.UpdateID) {
	for _, id := range updates {
		a.tasks.Go(func(ctx context.Context) { a.runner.Run(ctx, id) })
	}
	if len(updates) > 0 {
		a.tasks.Go(func(ctx context.Context) { a.vouch(ctx, updates) })
	}
}

// Resume goes on with what waited for the sources of images when the daemon stopped.
func (a *Announcer) Resume() {
	if ids := a.unvouched(); len(ids) > 0 {
		a.tasks.Go(func(ctx context.Context) { a.vouch(ctx, ids) })
	}
}

// commit commits a layer and, in the same change, records the update that it is, which begin determines. A layer that
// cannot be an update is a layer all the same. It returns the updates that may have something to do now.
func (a *Announcer) commit(ctx context.Context, c dag.Commit, begin func() begun) ([]dag.UpdateID, error) {
	for range commitTries {
		b := begin()
		if len(b.changes) == 0 {
			break
		}
		err := a.state.Do(append([]dag.Transformation{c}, b.changes...)...)
		if err == nil {
			entry := log.G(ctx).WithField("layer", keys.Parse(c.Name).Key)
			entry.WithField("updates", fmt.Sprint(b.updates)).Info("a layer was committed that updates a base")
			return b.updates, nil
		}
		var alone error
		a.state.Graph(func(g *dag.Graph) { _, alone = g.Plan(c) })
		if alone != nil {
			return nil, err
		}
		// A storage that it was to begin for may have been removed or renamed: the next try sees that.
		log.G(ctx).WithError(err).WithField("layer", keys.Parse(c.Name).Key).
			Warn("a layer says that it is an update, and cannot be recorded as one")
	}
	return nil, a.state.Do(c)
}

// commitTries bounds how often the update of a layer is determined again because the graph has changed.
const commitTries = 3
