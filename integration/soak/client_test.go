// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// client does one operation after the other to storages of its own, beside the other clients.
type client struct {
	*world
	number   int
	seed     uint64
	random   *rand.Rand // of this operation
	storages map[string]storage
	// takenBack is, for each update that was withdrawn, the storage that it was for.
	takenBack map[uint64]string
	numbers   int
	log       journal
}

func newClient(w *world, seed uint64, number int) *client {
	return &client{
		world: w, number: number, seed: seed, storages: map[string]storage{}, takenBack: map[uint64]string{},
		log: journal{start: w.deaths.start},
	}
}

// run does operations until the soak is over or something is wrong.
func (c *client) run(over <-chan struct{}) {
	for n := uint64(0); !c.t.Failed(); n++ {
		select {
		case <-over:
			return
		default:
		}
		// Each operation draws from a source of its own, so that how much the one before it drew does not matter.
		c.random = rand.New(rand.NewPCG(c.seed, uint64(c.number)<<32|n))
		if err := c.step(); err != nil {
			if c.ctx.Err() == nil { // else another one has failed
				c.fail(err)
			}
			return
		}
	}
}

// fail ends the soak.
func (c *client) fail(err error) {
	c.t.Errorf("client %d: %v\nbefore that:\n%v\nthe deaths:\n%v", c.number, err, &c.log, &c.deaths)
	c.stop(err)
}

// newKey returns a key as containerd's metadata store makes it.
func (c *client) newKey(own string) string {
	c.numbers++
	return fmt.Sprintf("soak/%d/%s", c.number*1_000_000+c.numbers, own)
}

// newName returns a name for a storage.
func (c *client) newName() string {
	c.numbers++
	return fmt.Sprintf("c%d-s%d", c.number, c.numbers)
}

// step does something, perhaps with the daemon dying in the meantime, and compares what it concerned with the model.
func (c *client) step() error {
	op, err := c.draw()
	if err != nil || op.do == nil {
		return err
	}
	c.underway.enter()
	crossed, failure := c.try(op)
	c.underway.leave()
	return c.conclude(op, crossed, failure)
}

// perform does an operation as a part of another one, which is under way.
func (c *client) perform(op operation) error {
	crossed, failure := c.try(op)
	return c.conclude(op, crossed, failure)
}

// try does an operation and reports whether the daemon died in the meantime.
func (c *client) try(op operation) (crossed bool, failure error) {
	life, err := c.d.awake(c.ctx)
	if err != nil {
		return false, err
	}
	c.operations.Add(1)
	c.log.note("%s", op.what)
	ctx, cancel := context.WithTimeoutCause(c.ctx, patience, fmt.Errorf("not done within %v", patience))
	defer cancel()
	failure = op.do(ctx)
	crossed = c.d.life() != life
	c.log.note("    came to: %v, the daemon died: %v", failure, crossed)
	return crossed, failure
}

// conclude takes over what an operation came to, and compares that with the storages.
func (c *client) conclude(op operation, crossed bool, failure error) error {
	if _, ok := errors.AsType[wrongError](failure); ok {
		return fmt.Errorf("%s: %w", op.what, failure)
	}
	if err := c.settle(op); err != nil {
		return fmt.Errorf("%s: %w", op.what, err)
	}
	var err error
	switch {
	case failure == nil: // the daemon may have died afterwards: what it acknowledged is done
		err = c.accept(op)
	case crossed:
		err = c.judge(op)
	case errdefs.IsFailedPrecondition(failure):
		c.refused.Add(1)
		err = c.judge(op) // a part of it may be done: the key is removed, and the storage is not
	default:
		err = failure
	}
	if err != nil {
		return fmt.Errorf("%s: %w", op.what, err)
	}
	return nil
}

// wrongError is what must never be, whether the daemon died or not.
type wrongError struct{ error }

func wrong(format string, args ...any) error { return wrongError{fmt.Errorf(format, args...)} }

// settle waits until nothing is under way for the storages that an operation concerns, and has what waits for one of
// them carried out.
func (c *client) settle(op operation) error {
	for _, name := range op.concerns {
		for start := time.Now(); ; {
			busy, err := c.busy(name)
			if err != nil {
				return fmt.Errorf("wait for storage %s to settle: %w", name, err)
			}
			if !busy {
				break
			}
			if time.Since(start) > patience {
				return fmt.Errorf("storage %s does not settle", name)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return nil
}

// busy reports whether something is under way for a storage, or waits for it. What waits is carried out by asking for
// the mounts, as the start of a container does.
func (c *client) busy(name string) (busy bool, err error) {
	err = c.steady(func(ctx context.Context) error {
		r, err := api.Whole(c.d.GetStorage(ctx, &api.GetStorageRequest{Name: "soak/" + name}))
		if status.Code(err) == codes.NotFound {
			busy = false
			return nil
		}
		if err != nil {
			return err
		}
		busy = slices.ContainsFunc(r.GetUpdates(), func(u *api.Update) bool {
			return unfinished(u, name)
		})
		if s := r.GetStorage(); s.GetPending() != nil && s.GetKey() != "" {
			busy = true
			_, err = c.d.Mounts(ctx, s.GetKey())
		}
		return err
	})
	return busy, err
}

// unfinished reports whether an update is under way for a storage.
func unfinished(u *api.Update, name string) bool {
	state := outcome(u, name)
	return state == "staging" || state == "staged"
}

// outcome returns how far an update has come for a storage, empty if that is no part of it.
func outcome(u *api.Update, name string) string {
	for _, o := range u.GetOutcomes() {
		if o.GetStorage() == "soak/"+name {
			return api.Word(o.GetState())
		}
	}
	return ""
}

// accept takes over what an operation came to, and compares it; nil for no change.
func (c *client) accept(op operation) error {
	for name, candidates := range op.after {
		if len(candidates) == 0 {
			delete(c.storages, name)
			continue
		}
		c.storages[name] = candidates[len(candidates)-1]
	}
	for _, name := range op.concerns {
		if s, ok := c.storages[name]; ok {
			if err := c.compare(name, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// judge finds out which of the states that an operation may have left is there: the one before it, the one after it, or
// one of those that it went through.
func (c *client) judge(op operation) error {
	there, err := c.there()
	if err != nil {
		return err
	}
	for _, name := range op.concerns {
		before, existed := c.storages[name]
		var candidates []storage
		if existed {
			candidates = append(candidates, before)
		}
		candidates = append(candidates, op.after[name]...)
		if !there[name] {
			if after, touched := op.after[name]; existed && (!touched || len(after) > 0) {
				return fmt.Errorf("storage %s is gone", name)
			}
			delete(c.storages, name)
			continue
		}
		if err := c.choose(name, candidates); err != nil {
			return err
		}
	}
	return nil
}

// choose takes over the one of several states that a storage is in.
func (c *client) choose(name string, candidates []storage) error {
	if len(candidates) == 0 {
		return fmt.Errorf("there is a storage %s that nobody made", name)
	}
	got, err := c.look(name)
	if err != nil {
		return fmt.Errorf("look at %s: %w", name, err)
	}
	c.comparisons.Add(1)
	for _, s := range candidates {
		if difference(got.tree, s.tree()) != "" || !s.returnsTo(got.points) {
			continue
		}
		s = s.clone()
		s.key = got.key
		c.storages[name] = s
		return nil
	}
	return fmt.Errorf("storage %s, which can return to bases %v, is in none of %d states; beside the first:\n%s",
		name, got.points, len(candidates), difference(got.tree, candidates[0].tree()))
}

// compareAll compares every storage with the model, and what was withdrawn with the records.
func (c *client) compareAll() error {
	for _, name := range slices.Sorted(maps.Keys(c.storages)) {
		if err := c.compare(name, c.storages[name]); err != nil {
			return err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.takenBack)) {
		name := c.takenBack[id]
		u, err := c.record(id)
		if status.Code(err) == codes.NotFound {
			continue // history, which is not kept for ever
		}
		if err != nil {
			return fmt.Errorf("update u%d, which was withdrawn: %w", id, err)
		}
		if state := outcome(u, name); state != "withdrawn" {
			return fmt.Errorf("update u%d of storage %s was withdrawn, and is %q", id, name, state)
		}
	}
	return nil
}

// record returns the record of an update.
func (c *client) record(id uint64) (u *api.Update, err error) {
	err = c.steady(func(ctx context.Context) error {
		r, err := api.Whole(c.d.GetUpdate(ctx, &api.GetUpdateRequest{Id: id}))
		u = r.GetUpdate()
		return err
	})
	return u, err
}
