// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dag

import (
	"fmt"
	"time"

	"github.com/containerd/errdefs"
)

// Placement is how a new storage came to begin on another base than the one it was prepared on.
type Placement struct {
	// From and To are the layers, as they were called then; they may be gone.
	From NodeID `json:"from"`
	To   NodeID `json:"to"`
	// Update is the update that led there.
	Update UpdateID  `json:"update"`
	Time   time.Time `json:"time"`
	// Named is the base that the container named, where its key was prepared again on the other one; nil where the key
	// still names it.
	Named *Asked `json:"named,omitempty"`
}

// Place is the first start of a storage that follows updates ([Storage.Follows]): it begins on a layer to which they
// lead. The empty node that it had is dropped, and nothing of it can be returned to. Without a layer the storage stays
// where it was prepared. Either way it follows no longer.
//
// The caller has found the head to be empty. Place fails with errdefs.ErrFailedPrecondition for a storage that has a
// history or waits for something, and with errdefs.ErrAborted when the head is another one.
type Place struct {
	Storage string
	Head    NodeID // the open node, as the caller saw it
	Layer   NodeID // 0 to stay
	Open    NodeID // the new, empty node on the layer
	Update  UpdateID
	Now     time.Time
}

func (t Place) transform(d *draft) error {
	s, ok := d.storage(t.Storage)
	if !ok {
		return fmt.Errorf("storage %q: %w", t.Storage, errdefs.ErrNotFound)
	}
	if !s.Follows {
		return fmt.Errorf("storage %q does not follow updates: %w", s.Name, errdefs.ErrFailedPrecondition)
	}
	s.Follows = false
	if t.Layer == 0 {
		d.putStorage(s)
		return nil
	}
	head, _ := d.node(s.Head)
	layer, there := d.node(t.Layer)
	switch {
	case head.ID != t.Head:
		return fmt.Errorf("storage %q has moved on from %v to %v: %w", s.Name, t.Head, head.ID, errdefs.ErrAborted)
	case head.Parent != 0 || len(s.Points) > 0 || len(s.Aside) > 0 || s.Pending != nil:
		return fmt.Errorf("storage %q is not new: %w", s.Name, errdefs.ErrFailedPrecondition)
	case !there || layer.Kind != Layer:
		return fmt.Errorf("layer %v: %w", t.Layer, errdefs.ErrNotFound)
	case sameBase(d.node, head.Base, t.Layer):
		return fmt.Errorf("storage %q stands on %v already: %w", s.Name, head.Base, errdefs.ErrFailedPrecondition)
	}
	if err := d.add(Node{ID: t.Open, Kind: Persisted, Base: t.Layer, Created: t.Now}); err != nil {
		return err
	}
	s.Placed = &Placement{From: head.Base, To: t.Layer, Update: t.Update, Time: t.Now}
	s.Head = t.Open
	d.putStorage(s)
	d.follow(s, t.Layer, t.Now)
	return nil
}
