// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/codes"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// ending is what becomes of an update that waits for a mount to end.
type ending int

const (
	cancels  ending = iota // an operator cancels it
	undoes                 // an operator rolls it back
	starts                 // the mount ends, and the next start carries it out
	goesOn                 // the mount ends, and the daemon carries it out by itself
	contends               // the mount ends, and the next start and an operator who cancels it come at once
	endings
)

func (e ending) String() string {
	return [...]string{"cancel", "roll back", "start", "let go", "cancel while it starts"}[e]
}

// waiting is an update of a storage that is kept mounted.
type waiting struct {
	*client
	name     string
	from, to int
	end      ending
	again    bool // cancel it when it is applied
	contents [2]string
	id       uint64
	after    map[string][]storage
}

// held keeps a storage mounted while an update of it is asked for, and then has the update withdrawn or carried out.
func (c *client) held(name string) operation {
	s := c.storages[name]
	if s.key == "" {
		return operation{}
	}
	w := &waiting{
		client: c, name: name, from: s.base, to: c.other(s.base), end: ending(c.random.IntN(int(endings))),
		again: c.random.IntN(2) == 0, after: map[string][]storage{},
	}
	for i := range w.contents {
		w.contents[i] = fmt.Sprint("held ", c.random.IntN(1000))
	}
	return operation{
		what:     fmt.Sprintf("hold %s during an update from base %d to %d, %v", name, w.from, w.to, w.end),
		concerns: []string{name}, after: w.after,
		do: func(ctx context.Context) error {
			if err := w.do(ctx, s.key); err != nil {
				return wrong("%w", err)
			}
			return nil
		},
	}
}

// do goes on through deaths of the daemon, so that in the end there is no doubt.
func (w *waiting) do(ctx context.Context, key string) error {
	err := w.keep(ctx, key)
	if err != nil || w.id == 0 {
		return err
	}
	switch w.end {
	case starts:
		err = w.start()
	case goesOn:
		err = w.goOn(ctx)
	case contends:
		return w.contend()
	default:
		return w.stands("withdrawn")
	}
	if err != nil {
		return err
	}
	return w.applied()
}

// keep mounts the storage, has an update wait for that, withdraws it when that is what becomes of it, and ends the
// mount.
func (w *waiting) keep(ctx context.Context, key string) error {
	mounts, err := w.given(key)
	if err != nil {
		return err
	}
	return mount.WithTempMount(ctx, mounts, func(dir string) error {
		if err := w.write(dir, 0); err != nil {
			return err
		}
		if err := w.ask(); err != nil || w.id == 0 {
			return err
		}
		if err := w.planned(); err != nil {
			return err
		}
		if w.end == cancels || w.end == undoes {
			state, err := w.withdraw()
			if err != nil {
				return err
			}
			if state != "withdrawn" {
				return fmt.Errorf("update u%d of storage %s, which is mounted, is %s", w.id, w.name, state)
			}
		}
		return w.write(dir, 1)
	})
}

// write writes in the mounted storage. The daemon has no part in that.
func (w *waiting) write(dir string, i int) error {
	file := fmt.Sprintf("home/held%d", i)
	if err := write(dir, map[string]string{file: w.contents[i]}); err != nil {
		return err
	}
	w.storages[w.name] = w.storages[w.name].wrote(file, w.contents[i])
	return nil
}

// ask asks for the update. If the daemon dies before it answers, the update is on record or not: without one id stays
// 0.
func (w *waiting) ask() error {
	known, err := w.newest()
	if err != nil {
		return err
	}
	life, err := w.d.awake(w.ctx)
	if err != nil {
		return err
	}
	r, err := w.d.CreateUpdate(w.ctx, w.updateRequest([]string{w.name}, w.from, w.to, false))
	if err == nil {
		w.id = r.GetId()
		return nil
	}
	if w.d.life() == life {
		return fmt.Errorf("ask for an update of %s: %w", w.name, errgrpc.ToNative(err))
	}
	found, err := w.newest()
	if found != known {
		w.id = found
	}
	return err
}

// newest returns the newest update of the storage, 0 if there is none.
func (w *waiting) newest() (id uint64, err error) {
	err = w.steady(func(ctx context.Context) error {
		r, err := api.Whole(w.d.GetStorage(ctx, &api.GetStorageRequest{Name: "soak/" + w.name}))
		id = 0
		for _, u := range r.GetUpdates() {
			id = max(id, u.GetId())
		}
		return err
	})
	return id, err
}

// planned waits until the update waits. As long as the storage is mounted it must come to nothing else.
func (w *waiting) planned() error {
	return w.until("planned", nil)
}

// until waits until the update has come to a state, while fn does what is needed for that. It must come to no other
// one.
func (w *waiting) until(want string, fn func(context.Context) error) error {
	for start := time.Now(); time.Since(start) < patience; time.Sleep(5 * time.Millisecond) {
		state, err := w.state()
		switch {
		case err != nil:
			return err
		case state == want:
			return nil
		case !slices.Contains([]string{"planned", "staging", "staged"}, state):
			return fmt.Errorf("update u%d of storage %s is %s, want %s", w.id, w.name, state, want)
		}
		if fn == nil {
			continue
		}
		if err := w.steady(fn); err != nil {
			return err
		}
	}
	return fmt.Errorf("update u%d of storage %s does not come to be %s", w.id, w.name, want)
}

// state returns how far the update has come.
func (w *waiting) state() (string, error) {
	u, err := w.record(w.id)
	return outcome(u, w.name), err
}

// stands verifies that the update is in a state.
func (w *waiting) stands(want string) error {
	state, err := w.state()
	if err == nil && state != want {
		err = fmt.Errorf("update u%d of storage %s is %s, want %s", w.id, w.name, state, want)
	}
	return err
}

// start asks for the mounts, as the start of a container does, until the update is applied.
func (w *waiting) start() error {
	return w.until("applied", func(ctx context.Context) error {
		_, err := w.d.Mounts(ctx, w.storages[w.name].key)
		return err
	})
}

// goOn waits until the daemon carries the update out by itself. When it dies, the next start does.
func (w *waiting) goOn(context.Context) error {
	life := w.d.life()
	return w.until("applied", func(ctx context.Context) error {
		if w.d.life() == life {
			return nil
		}
		_, err := w.d.Mounts(ctx, w.storages[w.name].key)
		return err
	})
}

// contend has the next start and an operator who cancels the update come at once. Either may win, and the answers and
// the record say which.
func (w *waiting) contend() error {
	var starting sync.WaitGroup
	var startErr error
	starting.Go(func() { _, startErr = w.given(w.storages[w.name].key) })
	state, err := w.withdraw()
	starting.Wait()
	if err := errors.Join(err, startErr); err != nil {
		return err
	}
	if state == "applied" {
		return w.applied()
	}
	return w.stands(state)
}

// applied notes that the update has moved the storage. Now nothing withdraws it.
func (w *waiting) applied() error {
	if err := w.stands("applied"); err != nil {
		return err
	}
	w.after[w.name] = []storage{w.storages[w.name].moved(w.to)}
	if !w.again {
		return nil
	}
	w.end = cancels
	state, err := w.withdraw()
	if err == nil && state != "applied" {
		err = fmt.Errorf("update u%d of storage %s was applied, and is %s after it was cancelled", w.id, w.name, state)
	}
	if err != nil {
		return err
	}
	return w.stands("applied")
}

// withdraw has the update withdrawn and returns what it has come to: "withdrawn", or "applied" when it is too late.
func (w *waiting) withdraw() (state string, err error) {
	asked := false
	err = w.steady(func(ctx context.Context) error {
		if asked { // the daemon died before it answered
			if state, err = w.state(); err != nil || state == "withdrawn" {
				return err
			}
		}
		asked = true
		state, err = w.withdrawOnce(ctx)
		return err
	})
	if err == nil && state == "withdrawn" {
		w.withdrawn.Add(1)
		w.takenBack[w.id] = w.name
	}
	return state, err
}

// withdrawOnce asks for the update to be withdrawn, and returns what the answer says.
func (w *waiting) withdrawOnce(ctx context.Context) (state string, err error) {
	all, err := w.undo(ctx)
	if err != nil {
		return "", errgrpc.ToNative(err)
	}
	if len(all) != 1 || all[0].GetStorage() != "soak/"+w.name {
		return "", fmt.Errorf("update u%d was to be withdrawn for storage %s, the answer is %v", w.id, w.name, all)
	}
	switch one := all[0]; {
	case one.GetFate() == "withdrawn":
		return "withdrawn", nil
	case codes.Code(one.GetCode()) == codes.FailedPrecondition && strings.Contains(one.GetWhy(), "already applied"):
		return "applied", nil
	default:
		return "", fmt.Errorf("withdraw update u%d for storage %s: %v", w.id, w.name, one)
	}
}

// undo asks for the update to be cancelled, or to be rolled back.
func (w *waiting) undo(ctx context.Context) ([]*api.Undone, error) {
	storages := []string{"soak/" + w.name}
	if w.end == undoes {
		r, err := api.Whole(w.d.RollbackUpdate(ctx, &api.RollbackUpdateRequest{Id: w.id, Storages: storages}))
		return r.GetUndone(), err
	}
	r, err := api.Whole(w.d.CancelUpdate(ctx, &api.CancelUpdateRequest{Id: w.id, Storages: storages}))
	return r.GetUndone(), err
}
