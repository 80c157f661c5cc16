// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"context"
	"errors"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/background"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/locks"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// Labels has the records of containers say that their storage is held.
type Labels struct {
	state *state.State
	tasks *background.Tasks
	host  Host // nil without a containerd
	marks *Marks
	locks *locks.Keyed // of containers whose record is being written
}

// Marks are the containers whose records have the label of a held update, or are to have it. What counts is what
// containerd has on record: it is listed once after the start, and so nothing about labels is kept on disk.
type Marks struct {
	mu     sync.Mutex
	listed bool
	marked map[keys.Key]mark
	newest uint64 // the last order that was given
}

// mark is that the record of a container names a held update.
type mark struct {
	update  dag.UpdateID
	written bool
	order   uint64 // in which it was asked for
}

// NewMarks returns marks of which none is known.
func NewMarks() *Marks { return &Marks{marked: map[keys.Key]mark{}} }

// mark labels containerd's record of a container that starts on the old base. containerd is waiting for this very
// start, so the label is written behind it. It is taken away when the storage is no longer held, see [Labels.Unmark].
func (l *Labels) mark(key string, update dag.UpdateID) {
	k := keys.Parse(key)
	if l.host == nil || k.Namespace == "" {
		return
	}
	marked := k
	l.marks.add(marked, update)
	l.tasks.Go(func(ctx context.Context) {
		if err := l.label(ctx, marked); err != nil {
			log.G(ctx).WithError(err).WithField("container", k.Key).
				Warn("failed to label the record of a container that started on the old base; it is tried again")
		}
	})
}

// Unmark takes the label of a held update away from the records of containers whose storage is no longer held, or
// that have it no longer, and writes labels that could not be written. While containerd cannot be reached, nothing is
// done.
func (l *Labels) Unmark(ctx context.Context) error {
	if l.host == nil {
		return nil
	}
	if !l.marks.isListed() {
		ask, cancel := context.WithTimeout(ctx, use.AskTimeout)
		defer cancel()
		found, err := l.host.Held(ask)
		if errdefs.IsUnavailable(err) {
			return nil
		}
		if err != nil {
			return err
		}
		l.marks.list(found)
	}
	var errs []error
	for k := range l.mislabelled(l.marks.all()) {
		if err := l.label(ctx, k); !errdefs.IsUnavailable(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// label has the record of a container say whether its storage is held, if it does not.
func (l *Labels) label(ctx context.Context, k keys.Key) error {
	ctx, cancel := context.WithTimeout(ctx, use.AskTimeout)
	defer cancel()
	unlock, err := l.locks.Lock(ctx, "label "+k.Namespace+"/"+k.Key)
	if err != nil {
		return err
	}
	defer unlock()
	one, marked := l.marks.of(k)
	if !marked {
		return nil
	}
	held, wrong := l.mislabelled(map[keys.Key]mark{k: one})[k]
	if !wrong {
		return nil
	}
	text := ""
	if held {
		text = one.update.String()
	}
	err = l.host.MarkHeld(ctx, k.Namespace, k.Key, text)
	if errdefs.IsNotFound(err) { // the container is gone, and its label with it
		held, err = false, nil
	}
	if err == nil {
		l.marks.wrote(k, one, held)
	}
	return err
}

// mislabelled returns the containers whose label is not what it should be, with whether they should have it: a
// container that has a storage which is held, and stands on another base than the container asks for. An update that
// is being tried again leaves things as they are.
func (l *Labels) mislabelled(marked map[keys.Key]mark) map[keys.Key]bool {
	should := map[keys.Key]bool{}
	for k := range marked {
		should[k] = false // unless a storage says otherwise
	}
	l.state.Graph(func(g *dag.Graph) {
		for _, st := range g.Storages() {
			own := keys.Parse(st.Key)
			k := own
			one, ok := marked[k]
			if !ok || st.Key == "" {
				continue
			}
			n, _ := g.Name(st.Key)
			u, _ := g.Update(one.update)
			base := g.Base(st)
			o, in := u.Outcomes[st.Name]
			if !in || !g.SameBase(base, u.From) || g.SameBase(base, g.AskedOf(n)) {
				continue
			}
			switch {
			case o.State == dag.Held && !one.written:
				should[k] = true
			case o.State == dag.Held, !o.State.Final():
				delete(should, k)
			}
		}
	})
	return should
}
