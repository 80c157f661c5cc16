// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	ocidigest "github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// step is one thing that is asked of the snapshotter. It can be repeated: what is done already is left as it is.
type step struct {
	name string
	do   func(context.Context, *world) error
	// loose are the subjects which may be in between, neither as before nor as after, when the step is broken off, because the
	// step consists of several things that are asked for.
	loose []string
	// waiting are the storages for which something may wait after a failure, because it was not found out whether they are in
	// use. It is carried out later.
	waiting []string
	// elsewhere are the storages that may be as they once were, because a death had something carried out that was to be
	// withdrawn.
	elsewhere []string
	// pulls: the step is one of those after which layers may not be on disk, up to the one that waits for it.
	pulls bool
	// layers are the subjects that are pulled.
	layers []string
}

// containerd's keys.
const namespace = "test"

func key(own string) string     { return namespace + "/1/" + own }
func storage(own string) string { return namespace + "/" + own }

func tolerate(err error, kinds ...error) error {
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			return nil
		}
	}
	return err
}

// in mounts a key, has something written there, and puts that on disk.
func (w *world) in(ctx context.Context, key string, write func(*pen)) error {
	mounts, err := w.Mounts(ctx, key)
	if err != nil {
		return err
	}
	return w.at(w.placeOf(key), mounts, func(dir string) error {
		w.mounted(key)
		p := &pen{dir: dir}
		write(p)
		p.do(".", syncfs)
		return p.err
	})
}

// mounted tells the snapshotter that the mounts of a key were made, if they ever will: from now on the mount tables tell whether
// it is in use.
func (w *world) mounted(key string) {
	w.Uses().TaskSeen(namespace, strings.TrimPrefix(key, namespace+"/1/"), time.Now())
}

func syncfs(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}

// layer unpacks and commits a layer.
func layer(own, parent string, write func(*pen)) step {
	extract := key(fmt.Sprintf(snapshots.UnpackKeyFormat, "1-AbC_", ocidigest.FromString(own)))
	if parent != "" {
		parent = key(parent)
	}
	return step{
		name:   "commit layer " + own,
		pulls:  true,
		layers: []string{"layer " + key(own)},
		loose:  []string{"key " + extract, "storage " + dag.AnonymousName(extract), "holder of " + dag.AnonymousName(extract)},
		do: func(ctx context.Context, w *world) error {
			if w.whole(key(own)) {
				return nil
			}
			for _, k := range []string{key(own), extract} {
				if err := w.removeAll(ctx, k); err != nil {
					return err
				}
			}
			if _, err := w.Prepare(ctx, extract, parent); err != nil {
				return err
			}
			if err := w.in(ctx, extract, func(p *pen) { write(p); p.settle() }); err != nil {
				return err
			}
			return w.Commit(ctx, key(own), extract)
		},
	}
}

// onTop pulls a layer that stands on another one, which is pulled again if it has come to be damaged.
func onTop(lower, upper step) step {
	both := together(lower, upper)
	both.name = upper.name
	both.do = func(ctx context.Context, w *world) error {
		if err := lower.do(ctx, w); err != nil {
			return err
		}
		return upper.do(ctx, w)
	}
	return both
}

// whole reports whether there is a layer that is not known to be damaged.
func (w *world) whole(key string) (ok bool) {
	w.State().Graph(func(g *dag.Graph) {
		var n dag.Name
		if n, ok = g.Name(key); ok {
			node, _ := g.Node(n.Node)
			ok = node.Damage == ""
		}
	})
	return ok
}

// removeAll removes a key and what was prepared on it, as containerd does with an image that is removed.
func (w *world) removeAll(ctx context.Context, key string) error {
	var above []string
	w.State().Graph(func(g *dag.Graph) {
		for _, n := range g.Names() {
			if n.Parent == key {
				above = append(above, n.Key)
			}
		}
	})
	for _, k := range above {
		if err := w.removeAll(ctx, k); err != nil {
			return err
		}
	}
	return tolerate(w.Remove(ctx, key), errdefs.ErrNotFound)
}

// onDisk waits until layers are on disk, which is seen to in the background. Those that the disk failed in are pulled again.
func onDisk(layers ...step) step {
	all := together(layers...)
	return step{name: "wait for layers to be on disk", pulls: true, loose: all.loose, layers: all.layers,
		do: func(ctx context.Context, w *world) error {
			return eventually(patience, func() (missing string, _ error) {
				for _, l := range layers {
					if err := l.do(ctx, w); err != nil {
						return "", err
					}
				}
				w.State().Graph(func(g *dag.Graph) {
					if ids := g.Unsynced(); len(ids) > 0 {
						missing = fmt.Sprintf("layers %v are not put on disk", ids)
					}
				})
				return missing, nil
			})
		}}
}

// container prepares the key of a container that has a storage. containerd takes away what a crash has left of a key.
func container(own, parent, of string) step {
	k := key(own)
	anonymous := dag.AnonymousName(k)
	return step{
		name:  fmt.Sprintf("prepare %s on %s for storage %s", own, parent, of),
		loose: []string{"key " + k, "storage " + anonymous, "holder of " + anonymous},
		do: func(ctx context.Context, w *world) error {
			var bound, exists bool
			w.State().Graph(func(g *dag.Graph) {
				var n dag.Name
				n, exists = g.Name(k)
				bound = n.Storage == storage(of)
			})
			if bound {
				return nil
			}
			if exists {
				if err := w.Remove(ctx, k); err != nil {
					return err
				}
			}
			_, err := w.Prepare(ctx, k, key(parent), snapshots.WithLabels(map[string]string{snapshotter.LabelStorage: of}))
			w.mounted(k)
			return err
		},
	}
}

// write has a container write in its storage.
func write(own, of, what string, fn func(*pen)) step {
	return step{
		name: fmt.Sprintf("%s writes %s in storage %s", own, what, of), loose: []string{"storage " + storage(of)},
		do: func(ctx context.Context, w *world) error { return w.in(ctx, key(own), fn) },
	}
}

// update moves storages from a base to another one.
func update(from, to string, together bool, storages ...string) step {
	return step{
		name:    fmt.Sprintf("update %s from %s to %s, together %t", strings.Join(storages, " "), from, to, together),
		waiting: storages,
		do: func(ctx context.Context, w *world) error {
			if err := w.settled(); err != nil {
				return err
			}
			r := updates.Request{AllOrNothing: together}
			w.State().Graph(func(g *dag.Graph) {
				r.From, r.To = nodeOf(g, from), nodeOf(g, to)
				for _, own := range storages {
					if st, _ := g.Storage(storage(own)); g.SameBase(g.Base(st), r.From) {
						r.Storages = append(r.Storages, storage(own))
					}
				}
			})
			if len(r.Storages) == 0 {
				return nil
			}
			id, err := w.Updates().Begin(ctx, r)
			if err != nil {
				return err
			}
			if err := w.settled(); err != nil {
				return err
			}
			return w.applied(id)
		},
	}
}

func nodeOf(g *dag.Graph, own string) dag.NodeID {
	n, _ := g.Name(key(own))
	return n.Node
}

// settled waits until no update is under way.
func (w *world) settled() error {
	return eventually(patience, func() (missing string, _ error) {
		w.State().Graph(func(g *dag.Graph) {
			for _, u := range g.Updates() {
				if u.Underway() {
					missing = fmt.Sprintf("update %v is not carried out: %v", u.ID, u.Outcomes)
				}
			}
		})
		return missing, nil
	})
}

// applied returns why an update has not moved all its storages. It is nothing to it that one stands there for another
// reason: an update that an earlier process began was carried out meanwhile.
func (w *world) applied(id dag.UpdateID) (err error) {
	w.State().Graph(func(g *dag.Graph) {
		u, _ := g.Update(id)
		for name, o := range u.Outcomes {
			st, there := g.Storage(name)
			if o.State != dag.Applied && (!there || !g.SameBase(g.Base(st), u.To)) {
				err = errors.Join(err, fmt.Errorf("update %v left storage %q %s: %s", id, name, o.State, strings.Join(o.Reasons, "; ")))
			}
		}
	})
	return err
}

// rollback undoes the newest update of storages, which leads back to a base.
func rollback(to string, carry bool, storages ...string) step {
	return step{
		name:    fmt.Sprintf("roll %s back to %s, carry %t", strings.Join(storages, " "), to, carry),
		waiting: storages,
		do: func(ctx context.Context, w *world) error {
			for _, own := range storages {
				if err := w.rollBack(ctx, own, to, carry); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// rollBack undoes the newest update of a storage, unless it stands on a base already.
func (w *world) rollBack(ctx context.Context, own, to string, carry bool) error {
	if w.standsOn(own, to) {
		return nil
	}
	r := updates.RollbackRequest{Storages: []string{storage(own)}, Carry: carry}
	w.State().Graph(func(g *dag.Graph) {
		if st, _ := g.Storage(storage(own)); len(st.Points) > 0 {
			r.Update = st.Points[len(st.Points)-1].Update
		}
	})
	if err := w.Rollbacks().Rollback(ctx, r); err != nil {
		return err
	}
	if !w.standsOn(own, to) {
		return fmt.Errorf("the rollback of storage %s waits", own)
	}
	return nil
}

// standsOn reports whether a storage stands on a base, and nothing waits for it.
func (w *world) standsOn(own, base string) (stands bool) {
	w.State().Graph(func(g *dag.Graph) {
		st, _ := g.Storage(storage(own))
		stands = g.SameBase(g.Base(st), nodeOf(g, base)) && st.Pending == nil
	})
	return stands
}

func fork(source, target string) step {
	return step{name: fmt.Sprintf("fork %s as %s", source, target), do: func(ctx context.Context, w *world) error {
		return tolerate(w.Storages().Fork(ctx, storage(source), storage(target)), errdefs.ErrAlreadyExists)
	}}
}

func removeKey(own string) step {
	return step{name: "remove key " + own, do: func(ctx context.Context, w *world) error {
		return tolerate(w.Remove(ctx, key(own)), errdefs.ErrNotFound)
	}}
}

func removeStorage(own string) step {
	return step{name: "remove storage " + own, do: func(ctx context.Context, w *world) error {
		return tolerate(w.Storages().Remove(ctx, storage(own)), errdefs.ErrNotFound)
	}}
}

// mergeLayers merges delta layers until a number of layers is left below a storage.
func mergeLayers(below string, left int) step {
	return step{name: "merge layers", do: func(ctx context.Context, w *world) error {
		_, err := w.Merger().Layers(ctx)
		if err != nil {
			return err
		}
		return eventually(patience, func() (missing string, _ error) {
			var chain []dag.NodeID
			w.State().Graph(func(g *dag.Graph) {
				st, _ := g.Storage(storage(below))
				chain = g.Chain(g.Base(st))
			})
			if len(chain) != left {
				missing = fmt.Sprintf("storage %s stands on %v, not on %d layers", below, chain, left)
			}
			return missing, nil
		})
	}}
}

// mergeStorage waits until the stack of a storage is short, which is seen to in the background. What failed there is tried again
// a while later, or by the next daemon at once.
func mergeStorage(own string, depth int) step {
	return step{name: "wait for the nodes of " + own + " to be merged", do: func(_ context.Context, w *world) error {
		for try := 1; ; try++ {
			last, tries := try == 3, patience/10
			if last {
				tries = patience // whoever begins again each time never ends
			}
			err := w.depth(own, depth, tries)
			if err == nil || last {
				return err
			}
			if err := w.reopen(); err != nil {
				return err
			}
		}
	}}
}

// depth waits until a storage has no more than a number of nodes.
func (w *world) depth(own string, limit, tries int) error {
	return eventually(tries, func() (missing string, _ error) {
		var stack []dag.NodeID
		w.State().Graph(func(g *dag.Graph) {
			st, _ := g.Storage(storage(own))
			stack = g.Stack(st.Head)
		})
		if len(stack) > limit {
			missing = fmt.Sprintf("storage %s has %v, more than %d nodes", own, stack, limit)
		}
		return missing, nil
	})
}
