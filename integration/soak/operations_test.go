// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// operation is something that is done to the daemon.
type operation struct {
	what     string
	concerns []string // storages
	do       func(context.Context) error
	// after is, for each storage, the states that the operation goes through, the last of which is the one it ends in; none
	// when the storage ends.
	after map[string][]storage
	// acknowledged: when do returns without an error all is done.
	acknowledged bool
}

// draw draws an operation that the model allows.
func (w *world) draw() operation {
	names := slices.Sorted(maps.Keys(w.storages))
	if len(names) < 2 || len(names) < 8 && w.random.IntN(8) == 0 {
		return w.create()
	}
	name := names[w.random.IntN(len(names))]
	switch w.random.IntN(13) {
	case 0, 1, 2:
		return w.write(name)
	case 3, 4:
		return w.update(names)
	case 5, 6:
		return w.rollback(name)
	case 7, 8:
		return w.recreate(name)
	case 9:
		return w.fork(name)
	case 10:
		return w.remove(name)
	case 11:
		return w.merge()
	default:
		return w.check()
	}
}

// create makes a storage with a key.
func (w *world) create() operation {
	w.numbers++
	name, base := fmt.Sprintf("s%d", w.numbers), w.random.IntN(bases)
	key := w.newKey(name)
	return operation{
		what: fmt.Sprintf("create %s on base %d", name, base), concerns: []string{name}, acknowledged: true,
		after: map[string][]storage{name: {{state: state{base: base, files: map[string]string{}}, key: key}}},
		do: func(ctx context.Context) error {
			_, err := w.d.Prepare(ctx, key, w.bases[base], bound(name))
			return err
		},
	}
}

// write writes through a mount. The daemon has no part in that but to hand out the mounts.
func (w *world) write(name string) operation {
	s := w.storages[name].clone()
	if s.key == "" {
		return operation{}
	}
	file, content := fmt.Sprintf("home/f%d", w.random.IntN(6)), fmt.Sprint(w.random.IntN(1000))
	switch w.random.IntN(4) {
	case 0:
		delete(s.files, file)
		content = ""
	case 1:
		s.tail = fmt.Sprintf("mine %s\n", content)
		file, content = "etc/conf", conf(s.base, s.tail)
	default:
		s.files[file] = content
	}
	return operation{
		what: fmt.Sprintf("write %s in %s", file, name), concerns: []string{name}, acknowledged: true,
		after: map[string][]storage{name: {s}},
		do: func(context.Context) error {
			return w.in(s.key, func(dir string) error {
				if content != "" {
					return write(dir, map[string]string{file: content})
				}
				if err := os.Remove(filepath.Join(dir, file)); !errors.Is(err, os.ErrNotExist) {
					return err
				}
				return nil
			})
		},
	}
}

// update moves some of the storages on a base to another one.
func (w *world) update(names []string) operation {
	from, to := w.random.IntN(bases), w.random.IntN(bases)
	var chosen, full []string
	after := map[string][]storage{}
	for _, name := range names {
		if s := w.storages[name]; s.base == from && w.random.IntN(3) > 0 {
			chosen, full = append(chosen, name), append(full, "soak/"+name)
			after[name] = []storage{s.moved(to)}
		}
	}
	if from == to || len(chosen) == 0 {
		return operation{}
	}
	return operation{
		what: fmt.Sprintf("update %v from base %d to %d", chosen, from, to), concerns: chosen, after: after, acknowledged: true,
		do: func(ctx context.Context) error {
			_, err := w.d.CreateUpdate(ctx, &api.CreateUpdateRequest{
				From: w.node(from), To: w.node(to), Storages: full, AllOrNothing: w.random.IntN(3) == 0,
			})
			return errgrpc.ToNative(err)
		},
	}
}

// node names the layer of a base.
func (w *world) node(base int) string {
	for id, b := range w.nodes {
		if b == base {
			return fmt.Sprintf("n%d", id)
		}
	}
	return ""
}

// known is a storage with no more points than the daemon still has.
func (w *world) known(name string) (s storage, update uint64) {
	r, err := api.Whole(w.d.GetStorage(w.t.Context(), &api.GetStorageRequest{Name: "soak/" + name}))
	must(w.t, err)
	s = w.storages[name].clone()
	points := r.GetStorage().GetPoints()
	if len(points) > len(s.points) {
		w.t.Errorf("storage %s can return to %d states, there were %d", name, len(points), len(s.points))
		return s, 0
	}
	s.points = s.points[len(s.points)-len(points):]
	w.storages[name] = s
	if len(points) > 0 {
		update = points[len(points)-1].GetUpdate()
	}
	return s, update
}

// rollback undoes the newest update of a storage.
func (w *world) rollback(name string) operation {
	s, update := w.known(name)
	if update == 0 {
		return operation{}
	}
	carry := w.random.IntN(2) == 0
	return operation{
		what: fmt.Sprintf("roll back %s, carry %v", name, carry), concerns: []string{name}, acknowledged: true,
		after: map[string][]storage{name: {s.returned(carry)}},
		do: func(ctx context.Context) error {
			r, err := api.Whole(w.d.RollbackUpdate(ctx, &api.RollbackUpdateRequest{Id: update, Storages: []string{"soak/" + name}, Carry: carry}))
			if err == nil && len(r.GetFailures()) > 0 {
				err = fmt.Errorf("%v: %w", r.GetFailures(), errdefs.ErrFailedPrecondition)
			}
			return errgrpc.ToNative(err)
		},
	}
}

// recreate ends the container of a storage and makes another one, perhaps on another base.
func (w *world) recreate(name string) operation {
	s, _ := w.known(name)
	base, key := w.random.IntN(bases), w.newKey(name)
	through := []storage{s}
	stood := slices.ContainsFunc(s.points, func(p state) bool { return p.base == base })
	switch {
	case s.base == base, w.asked(name) == base: // the same wish again is none
	case stood:
		for next := s; next.base != base; {
			next = next.returned(true)
			through = append(through, next)
		}
	default:
		through = append(through, s.moved(base))
	}
	last := through[len(through)-1].clone()
	last.key = key
	return operation{
		what: fmt.Sprintf("make %s anew on base %d, which it was on: %v", name, base, stood), concerns: []string{name}, acknowledged: true,
		after: map[string][]storage{name: append(through, last)},
		do: func(ctx context.Context) error {
			if s.key != "" {
				if err := w.d.Remove(ctx, s.key); err != nil && !errdefs.IsNotFound(err) {
					return err
				}
			}
			_, err := w.d.Prepare(ctx, key, w.bases[base], bound(name))
			return err
		},
	}
}

// fork makes a storage that has all that another one has.
func (w *world) fork(name string) operation {
	w.numbers++
	target := fmt.Sprintf("s%d", w.numbers)
	s := w.storages[name].clone()
	s.key, s.points = "", nil
	return operation{
		what: fmt.Sprintf("fork %s as %s", name, target), concerns: []string{name, target}, acknowledged: true,
		after: map[string][]storage{name: {w.storages[name]}, target: {s}},
		do: func(ctx context.Context) error {
			_, err := w.d.ForkStorage(ctx, &api.ForkStorageRequest{Source: "soak/" + name, Target: "soak/" + target})
			return errgrpc.ToNative(err)
		},
	}
}

// remove ends a storage.
func (w *world) remove(name string) operation {
	s := w.storages[name]
	return operation{
		what: "remove " + name, concerns: []string{name}, acknowledged: true, after: map[string][]storage{name: nil},
		do: func(ctx context.Context) error {
			if s.key != "" {
				if err := w.d.Remove(ctx, s.key); err != nil && !errdefs.IsNotFound(err) {
					return err
				}
			}
			_, err := w.d.RemoveStorage(ctx, &api.RemoveStorageRequest{Name: "soak/" + name})
			return errgrpc.ToNative(err)
		},
	}
}

func (w *world) merge() operation {
	return operation{what: "merge layers", acknowledged: true, do: func(ctx context.Context) error {
		_, err := api.Whole(w.d.MergeLayers(ctx, &api.MergeLayersRequest{}))
		return errgrpc.ToNative(err)
	}}
}

// check has the daemon check itself, and repair what is not as it should be.
func (w *world) check() operation {
	return operation{what: "check", acknowledged: true, do: func(ctx context.Context) error {
		r, err := api.Whole(w.d.Check(ctx, &api.CheckRequest{Repair: true}))
		for _, p := range r.GetProblems() {
			if p.GetGrave() {
				err = errors.Join(err, fmt.Errorf("%s: %s", p.GetSubject(), p.GetWhat()))
			}
		}
		return errgrpc.ToNative(err)
	}}
}
