// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"golang.org/x/sys/unix"
)

// late takes the mounts of a storage, does something else to the storage, and mounts what it was given only then. The
// mount fails, or what is written through it is seen later.
func (c *client) late(name string) (operation, error) {
	s := c.storages[name]
	if s.key == "" {
		return operation{}, nil
	}
	inner, err := c.meanwhile(name)
	if err != nil || inner.do == nil {
		return operation{}, err
	}
	content := fmt.Sprint("late ", c.random.IntN(1000))
	return operation{
		what: fmt.Sprintf("mount %s late", name), concerns: []string{name},
		do: func(context.Context) error {
			mounts, err := c.given(s.key)
			if err != nil {
				return wrong("take the mounts of %s: %w", name, err)
			}
			if err := c.perform(inner); err != nil {
				return wrong("%w", err)
			}
			if err := c.mountLate(c.ctx, name, mounts, content); err != nil {
				return wrong("%w", err)
			}
			return nil
		},
	}, nil
}

// in the meantime draws what is done between the answer to Mounts and the mount.
func (c *client) meanwhile(name string) (operation, error) {
	switch c.random.IntN(7) {
	case 0:
		return c.rollback(name)
	case 1:
		return c.recreate(name)
	case 2:
		return c.fork(name), nil
	case 3:
		return c.check(), nil
	default:
		return c.updateOf([]string{name}, c.other(c.storages[name].base), c.random.IntN(3) == 0), nil
	}
}

// other draws another base.
func (c *client) other(base int) int { return (base + 1 + c.random.IntN(bases-1)) % bases }

// raced takes the mounts of a storage, asks for an update of it, and mounts at about the time at which the daemon finds
// out whether the storage is free. If the mount is first, the update waits until it has ended.
func (c *client) raced(name string) operation {
	s := c.storages[name]
	if s.key == "" {
		return operation{}
	}
	update := c.updateOf([]string{name}, c.other(s.base), false)
	to := update.after[name][0].base
	delay := grace - 50*time.Millisecond + time.Duration(c.random.IntN(150_000))*time.Microsecond
	content := fmt.Sprint("raced ", c.random.IntN(1000))
	update.what = fmt.Sprintf("mount %s after %v, and %s", name, delay, update.what)
	do := update.do
	update.do = func(ctx context.Context) error {
		mounts, err := c.given(s.key)
		if err != nil {
			return wrong("take the mounts of %s: %w", name, err)
		}
		asked := do(ctx)
		time.Sleep(delay)
		if err := c.mountLate(ctx, name, mounts, content); err != nil {
			return wrong("%w", err)
		}
		update.after[name] = []storage{c.storages[name].moved(to)}
		return asked
	}
	return update
}

// given returns the mounts of a key.
func (c *client) given(key string) (mounts []mount.Mount, err error) {
	err = c.steady(func(ctx context.Context) error {
		mounts, err = c.d.Mounts(ctx, key)
		return err
	})
	return mounts, err
}

// mountLate mounts what was handed out before and writes in it. When that succeeds the model has it, too.
func (c *client) mountLate(ctx context.Context, name string, mounts []mount.Mount, content string) error {
	const file = "home/late"
	err := mount.WithTempMount(ctx, mounts, func(dir string) error {
		return write(dir, map[string]string{file: content})
	})
	switch {
	case err == nil:
		c.lateSucceeded.Add(1)
		c.log.note("    the late mount of %s succeeded", name)
		c.storages[name] = c.storages[name].wrote(file, content)
		return nil
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EROFS):
		c.lateFailed.Add(1)
		c.log.note("    the late mount of %s failed: %v", name, err)
		return nil
	}
	return fmt.Errorf("mount %s late: %w", name, err)
}
