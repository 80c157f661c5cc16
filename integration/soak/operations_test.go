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

// operation is something that is done to the daemon. When do returns without an error, all of it is done.
type operation struct {
	what     string
	concerns []string // storages
	do       func(context.Context) error
	// after is, for each storage, the states that the operation goes through, the last of which is the one it ends in;
	// none when the storage ends. A storage that is not in it stays as it is.
	after map[string][]storage
}

// draw draws an operation that the model allows; one without do is none.
func (c *client) draw() (operation, error) {
	names := slices.Sorted(maps.Keys(c.storages))
	if len(names) < 2 || len(names) < 5 && c.random.IntN(8) == 0 {
		return c.create(), nil
	}
	name := names[c.random.IntN(len(names))]
	switch c.random.IntN(23) {
	case 0, 1, 2:
		return c.write(name), nil
	case 3, 4:
		return c.update(names), nil
	case 5, 6:
		return c.rollback(name)
	case 7, 8:
		return c.recreate(name)
	case 9:
		return c.fork(name), nil
	case 10:
		return c.remove(name), nil
	case 11:
		return c.merge(), nil
	case 12:
		return c.check(), nil
	case 13, 14, 15:
		return c.late(name)
	case 16, 17:
		return c.raced(name), nil
	case 18:
		return c.heldRollback(name)
	default:
		return c.held(name), nil
	}
}

// create makes a storage with a key.
func (c *client) create() operation {
	name, base := c.newName(), c.random.IntN(bases)
	key := c.newKey(name)
	return operation{
		what: fmt.Sprintf("create %s on base %d", name, base), concerns: []string{name},
		after: map[string][]storage{name: {{state: state{base: base, files: map[string]string{}}, key: key}}},
		do: func(ctx context.Context) error {
			_, err := c.d.Prepare(ctx, key, c.bases[base], bound(name))
			return err
		},
	}
}

// write writes through a mount. The daemon has no part in that but to hand out the mounts.
func (c *client) write(name string) operation {
	s := c.storages[name].clone()
	if s.key == "" {
		return operation{}
	}
	file, content := fmt.Sprintf("home/f%d", c.random.IntN(6)), fmt.Sprint(c.random.IntN(1000))
	switch c.random.IntN(4) {
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
		what: fmt.Sprintf("write %s in %s", file, name), concerns: []string{name},
		after: map[string][]storage{name: {s}},
		do: func(ctx context.Context) error {
			return c.in(ctx, s.key, func(dir string) error {
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
func (c *client) update(names []string) operation {
	from, to := c.random.IntN(bases), c.random.IntN(bases)
	var chosen []string
	for _, name := range names {
		if c.storages[name].base == from && c.random.IntN(3) > 0 {
			chosen = append(chosen, name)
		}
	}
	if from == to || len(chosen) == 0 {
		return operation{}
	}
	return c.updateOf(chosen, to, c.random.IntN(3) == 0)
}

// updateOf moves storages, all of which stand on one base, to another one.
func (c *client) updateOf(names []string, to int, together bool) operation {
	after := map[string][]storage{}
	for _, name := range names {
		after[name] = []storage{c.storages[name].moved(to)}
	}
	from := c.storages[names[0]].base
	return operation{
		what:     fmt.Sprintf("update %v from base %d to %d, together %v", names, from, to, together),
		concerns: names, after: after,
		do: func(ctx context.Context) error {
			_, err := c.d.CreateUpdate(ctx, c.updateRequest(names, from, to, together))
			return errgrpc.ToNative(err)
		},
	}
}

func (c *client) updateRequest(names []string, from, to int, together bool) *api.CreateUpdateRequest {
	r := &api.CreateUpdateRequest{From: c.node(from), To: c.node(to), AllOrNothing: together}
	for _, name := range names {
		r.Storages = append(r.Storages, "soak/"+name)
	}
	return r
}

// rollback undoes the newest update of a storage.
func (c *client) rollback(name string) (operation, error) {
	s, update, err := c.known(name)
	if err != nil || update == 0 {
		return operation{}, err
	}
	carry := c.random.IntN(2) == 0
	return operation{
		what: fmt.Sprintf("roll back %s, carry %v", name, carry), concerns: []string{name},
		after: map[string][]storage{name: {s.returned(carry)}},
		do: func(ctx context.Context) error {
			r, err := api.Whole(c.d.RollbackUpdate(ctx, &api.RollbackUpdateRequest{
				Id: update, Storages: []string{"soak/" + name}, Carry: carry,
			}))
			if err == nil && len(r.GetFailures()) > 0 {
				err = fmt.Errorf("%v: %w", r.GetFailures(), errdefs.ErrFailedPrecondition)
			}
			return errgrpc.ToNative(err)
		},
	}, nil
}

// recreate ends the container of a storage and makes another one, perhaps on another base.
func (c *client) recreate(name string) (operation, error) {
	s, _, err := c.known(name)
	if err != nil {
		return operation{}, err
	}
	asked, err := c.asked(name)
	if err != nil {
		return operation{}, err
	}
	base, key := c.random.IntN(bases), c.newKey(name)
	through := []storage{s}
	stood := slices.ContainsFunc(s.points, func(p state) bool { return p.base == base })
	switch {
	case s.base == base, asked == base: // the same wish again is none
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
		what:     fmt.Sprintf("make %s again on base %d, which it was on: %v", name, base, stood),
		concerns: []string{name},
		after:    map[string][]storage{name: append(through, last)},
		do: func(ctx context.Context) error {
			if s.key != "" {
				if err := c.d.Remove(ctx, s.key); err != nil && !errdefs.IsNotFound(err) {
					return err
				}
			}
			_, err := c.d.Prepare(ctx, key, c.bases[base], bound(name))
			return err
		},
	}, nil
}

// fork makes a storage that has all that another one has.
func (c *client) fork(name string) operation {
	target := c.newName()
	s := c.storages[name].clone()
	s.key, s.points = "", nil
	return operation{
		what: fmt.Sprintf("fork %s as %s", name, target), concerns: []string{name, target},
		after: map[string][]storage{name: {c.storages[name]}, target: {s}},
		do: func(ctx context.Context) error {
			_, err := c.d.ForkStorage(ctx, &api.ForkStorageRequest{Source: "soak/" + name, Target: "soak/" + target})
			return errgrpc.ToNative(err)
		},
	}
}

// remove ends a storage.
func (c *client) remove(name string) operation {
	s := c.storages[name]
	return operation{
		what: "remove " + name, concerns: []string{name}, after: map[string][]storage{name: nil},
		do: func(ctx context.Context) error {
			if s.key != "" {
				if err := c.d.Remove(ctx, s.key); err != nil && !errdefs.IsNotFound(err) {
					return err
				}
			}
			_, err := c.d.RemoveStorage(ctx, &api.RemoveStorageRequest{Name: "soak/" + name})
			return errgrpc.ToNative(err)
		},
	}
}

func (c *client) merge() operation {
	return operation{what: "merge layers", do: func(ctx context.Context) error {
		_, err := api.Whole(c.d.MergeLayers(ctx, &api.MergeLayersRequest{}))
		return errgrpc.ToNative(err)
	}}
}

// check has the daemon check itself, and repair what is not as it should be.
func (c *client) check() operation {
	return operation{what: "check", do: func(ctx context.Context) error {
		r, err := api.Whole(c.d.Check(ctx, &api.CheckRequest{Repair: true}))
		for _, p := range r.GetProblems() {
			if p.GetGrave() {
				err = errors.Join(err, fmt.Errorf("%s: %s", p.GetSubject(), p.GetWhat()))
			}
		}
		return errgrpc.ToNative(err)
	}}
}
