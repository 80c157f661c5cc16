// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// LabelUpdateOf is the label that marks a layer as an update of another one: the chain ID or the key of that, or the
// name of an image. It counts on the active key, however it came there, and when it is given to Commit.
const LabelUpdateOf = "containerd.io/snapshot/molt.update-of"

// OnCommit says what is done when a layer is committed that updates a base on which storages stand.
type OnCommit string

// The policies for such a layer.
const (
	// IgnoreCommit does nothing.
	IgnoreCommit OnCommit = "ignore"
	// NotifyCommit records the update; somebody has to ask for it.
	NotifyCommit OnCommit = "notify"
	// StageCommit determines the side effects on each storage, too; somebody has to ask for the storages to be moved.
	StageCommit OnCommit = "stage"
	// ApplyCommit moves the storages.
	ApplyCommit OnCommit = "apply"
)

// CommitPolicy says what is done when a layer is committed that updates a base, by who says that it does.
type CommitPolicy struct {
	// Client is for a layer that a client labels, see [LabelUpdateOf].
	Client OnCommit
	// Image is for a layer that an image marks by an annotation. Where an image comes from is not known yet, so that it does
	// not do more than notify.
	Image OnCommit
	// Trusted is for such a layer once containerd has a name for the image that is from one of Sources; empty for nothing more
	// than Image.
	Trusted OnCommit
	// Sources are repositories whose images are trusted, each with its registry as containerd writes it:
	// "registry.example/team/app", or all below "registry.example/team/".
	Sources []string
	// Written is for a layer that was not unpacked from an image, right on a layer on which storages stand.
	Written OnCommit
}

// validate returns what is wrong with a policy.
func (p CommitPolicy) validate() error {
	for kind, policy := range map[string]OnCommit{"client": p.Client, "image": p.Image, "written": p.Written} {
		if !slices.Contains([]OnCommit{IgnoreCommit, NotifyCommit, StageCommit, ApplyCommit}, policy) {
			return fmt.Errorf("on commit, %s %q: must be %q, %q, %q or %q: %w",
				kind, policy, IgnoreCommit, NotifyCommit, StageCommit, ApplyCommit, errdefs.ErrInvalidArgument)
		}
	}
	if p.Image != IgnoreCommit && p.Image != NotifyCommit {
		return fmt.Errorf("on commit, image %q: must be %q or %q, because nobody vouches for what an image says of itself: %w",
			p.Image, IgnoreCommit, NotifyCommit, errdefs.ErrInvalidArgument)
	}
	return p.validateSources()
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
func (s *Snapshotter) supersedes(ctx context.Context, n dag.Name, labels map[string]string) (supersedes, error) {
	unpacked := keys.Parse(n.Key).Unpacks(n.Labels)
	ref := cmp.Or(labels[LabelUpdateOf], n.Labels[LabelUpdateOf])
	switch {
	case ref == "" && unpacked:
		return supersedes{policy: IgnoreCommit}, nil
	case ref == "":
		var parent dag.Name
		s.state.Graph(func(g *dag.Graph) { parent, _ = g.Name(n.Parent) })
		return supersedes{base: parent.Node, policy: s.onCommit.Written}, nil
	}
	u := supersedes{ref: ref, policy: s.onCommit.Client}
	if unpacked {
		u.policy, u.claimed = s.onCommit.Image, true
	}
	if u.policy == IgnoreCommit {
		return u, nil
	}
	var err error
	u.base, err = s.layerCalled(ctx, keys.Parse(n.Key).Namespace, ref)
	return u, err
}

// layerCalled returns the layer that a label calls by its key, its chain ID, or the name of an image.
func (s *Snapshotter) layerCalled(ctx context.Context, namespace, ref string) (dag.NodeID, error) {
	if id := s.layerWithKey(namespace, ref); id != 0 {
		return id, nil
	}
	unknown := fmt.Errorf("label %s: %q is neither a layer here nor an image that is unpacked: %w",
		LabelUpdateOf, ref, errdefs.ErrNotFound)
	if s.host == nil {
		return 0, unknown
	}
	ctx, cancel := context.WithTimeout(ctx, use.AskTimeout)
	defer cancel()
	key, err := s.host.Topmost(ctx, namespace, ref)
	if errdefs.IsNotFound(err) {
		return 0, unknown
	}
	if err != nil {
		return 0, fmt.Errorf("label %s: look for image %q: %w", LabelUpdateOf, ref, err)
	}
	if id := s.layerWithKey(namespace, key); id != 0 {
		return id, nil
	}
	return 0, unknown
}

// layerWithKey returns the latest layer with a key or a chain ID, 0 without one. The image of a layer on which storages
// stand may have been removed, with the key.
func (s *Snapshotter) layerWithKey(namespace, key string) (id dag.NodeID) {
	s.state.Graph(func(g *dag.Graph) {
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
func (s *Snapshotter) begun(ctx context.Context, n dag.Name, name string, labels map[string]string) (b begun) {
	key := keys.Parse(name)
	entry := log.G(ctx).WithField("layer", key.Key)
	u, err := s.supersedes(ctx, n, labels)
	if err == nil && u.policy != IgnoreCommit && u.base != 0 {
		s.state.Graph(func(g *dag.Graph) {
			own, _ := g.Storage(n.Storage)
			b.changes, b.updates, err = dag.Announcement{
				Of: u.base, To: own.Head, Origin: key.Origin(), FromRef: u.ref, ToRef: key.Key, Until: u.policy.until(),
				Claimed: u.claimed,
				Concerns: func(st dag.Storage) bool {
					namespace, _, _ := strings.Cut(st.Name, "/")
					return namespace == key.Namespace
				},
				NewUpdate: s.state.NewUpdate, Now: clock.Now(),
			}.On(g)
		})
	}
	if err != nil {
		entry.WithError(err).Warn("a layer says that it is an update, but not of what molt can update; no storage is updated")
	}
	return b
}

// until returns how far an update goes by itself.
func (p OnCommit) until() dag.State {
	switch p {
	case NotifyCommit:
		return dag.Announced
	case StageCommit:
		return dag.Staged
	}
	return ""
}

// commitLayer commits the layer of a key and, in the same change, records the update that it is, by its labels. A layer that
// cannot be an update is a layer all the same. It returns the updates that may have something to do now, see follow.
func (s *Snapshotter) commitLayer(
	ctx context.Context, c dag.Commit, n dag.Name, labels map[string]string,
) ([]dag.UpdateID, error) {
	return s.commit(ctx, c, func() begun { return s.begun(ctx, n, c.Name, labels) })
}

// follow carries out in the background what updates that were recorded with a layer have to do.
func (s *Snapshotter) follow(updates []dag.UpdateID) {
	for _, id := range updates {
		s.tasks.Go(func(ctx context.Context) { s.runUpdate(ctx, id) })
	}
	if len(updates) > 0 {
		s.tasks.Go(func(ctx context.Context) { s.vouch(ctx, updates) })
	}
}

// resume goes on with what waited for the sources of images when the daemon stopped.
func (s *Snapshotter) resume() {
	if ids := s.unvouched(); len(ids) > 0 {
		s.tasks.Go(func(ctx context.Context) { s.vouch(ctx, ids) })
	}
}

// commit commits a layer and, in the same change, records the update that it is, which begin determines. A layer that
// cannot be an update is a layer all the same. It returns the updates that may have something to do now.
func (s *Snapshotter) commit(ctx context.Context, c dag.Commit, begin func() begun) ([]dag.UpdateID, error) {
	for range commitTries {
		b := begin()
		if len(b.changes) == 0 {
			break
		}
		err := s.state.Do(append([]dag.Transformation{c}, b.changes...)...)
		if err == nil {
			entry := log.G(ctx).WithField("layer", keys.Parse(c.Name).Key)
			entry.WithField("updates", fmt.Sprint(b.updates)).Info("a layer was committed that updates a base")
			return b.updates, nil
		}
		var alone error
		s.state.Graph(func(g *dag.Graph) { _, alone = g.Plan(c) })
		if alone != nil {
			return nil, err
		}
		// A storage that it was to begin for may have been removed or renamed: the next try sees that.
		log.G(ctx).WithError(err).WithField("layer", keys.Parse(c.Name).Key).
			Warn("a layer says that it is an update, and cannot be recorded as one")
	}
	return nil, s.state.Do(c)
}

// commitTries bounds how often the update of a layer is determined again because the graph has changed.
const commitTries = 3

// Apply has an update that was announced or staged move its storages, or those that are named, in the background. It
// fails with errdefs.ErrFailedPrecondition where the update waits for nobody to ask for it.
func (s *Snapshotter) Apply(_ context.Context, id dag.UpdateID, storages []string) error {
	err := s.state.Do(dag.Proceed{Update: id, Storages: storages, Now: clock.Now()})
	if errors.Is(err, errdefs.ErrFailedPrecondition) {
		return fmt.Errorf("%w; `moltctl update inspect %v` shows what it came to", err, id)
	}
	if err != nil {
		return err
	}
	s.tasks.Go(func(ctx context.Context) { s.runUpdate(ctx, id) })
	return nil
}
