// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs/pkg/errgrpc"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// heldRollback keeps a storage mounted while a rollback of it is asked for: it waits until the mount has ended. Then
// the next start carries it out, or the daemon by itself.
func (c *client) heldRollback(name string) (operation, error) {
	s, update, err := c.known(name)
	if err != nil || update == 0 || s.key == "" {
		return operation{}, err
	}
	carry, starts := c.random.IntN(2) == 0, c.random.IntN(2) == 0
	content := fmt.Sprint("held ", c.random.IntN(1000))
	op := operation{
		what:     fmt.Sprintf("hold %s during a rollback of u%d, carry %v, then start it %v", name, update, carry, starts),
		concerns: []string{name}, after: map[string][]storage{},
	}
	op.do = func(ctx context.Context) error {
		mounts, err := c.given(s.key)
		if err != nil {
			return wrong("take the mounts of %s: %w", name, err)
		}
		err = mount.WithTempMount(ctx, mounts, func(dir string) error {
			if err := write(dir, map[string]string{"home/held0": content}); err != nil {
				return err
			}
			c.storages[name] = c.storages[name].wrote("home/held0", content)
			return c.awaitRollback(name, update, carry)
		})
		if err == nil && !starts {
			err = c.rolledBack(name)
		}
		if err != nil {
			return wrong("%w", err)
		}
		op.after[name] = []storage{c.storages[name].returned(carry)}
		return nil // what still waits is carried out when the storage settles
	}
	return op, nil
}

// awaitRollback asks for a rollback of a storage that is mounted, and verifies that it waits.
func (c *client) awaitRollback(name string, update uint64, carry bool) error {
	return c.steady(func(ctx context.Context) error {
		r, err := api.Whole(c.d.RollbackUpdate(ctx, &api.RollbackUpdateRequest{
			Id: update, Storages: []string{"soak/" + name}, Carry: carry,
		}))
		if err != nil {
			return fmt.Errorf("roll back u%d of %s: %w", update, name, errgrpc.ToNative(err))
		}
		if all := r.GetUndone(); len(all) != 1 || all[0].GetFate() != "waits" {
			return fmt.Errorf("the rollback of u%d of storage %s, which is mounted, does not wait: %v", update, name, all)
		}
		return nil
	})
}

// rolledBack waits until the daemon has carried a rollback out by itself, or has died.
func (c *client) rolledBack(name string) error {
	life := c.d.life()
	for start := time.Now(); time.Since(start) < patience; time.Sleep(5 * time.Millisecond) {
		s, err := c.storage(name)
		if err != nil || s.GetPending() == nil || c.d.life() != life {
			return err
		}
	}
	return fmt.Errorf("the rollback that storage %s waits for does not come", name)
}
