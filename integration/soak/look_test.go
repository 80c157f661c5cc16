// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// seenStorage is a storage as the daemon shows it.
type seenStorage struct {
	tree   map[string]string
	key    string // that has it, empty if none
	points []int  // the bases that it can return to, the oldest first
}

// forLooking is the name of a container that only reads a storage.
const forLooking = "look"

// in calls fn with the mounted directory of a key.
func (w *world) in(ctx context.Context, key string, fn func(dir string) error) error {
	mounts, err := w.d.Mounts(ctx, key)
	if err != nil {
		return err
	}
	return mount.WithTempMount(ctx, mounts, fn)
}

// seen reads what a key shows.
func (w *world) seen(ctx context.Context, key string) (map[string]string, error) {
	all := map[string]string{}
	err := w.in(ctx, key, func(dir string) error {
		return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			all[strings.TrimPrefix(path, dir+"/")] = string(content)
			return err
		})
	})
	return all, err
}

// look reads a storage: through the key that has it, or through one on the base that it stands on.
func (c *client) look(name string) (got seenStorage, err error) {
	err = c.steady(func(ctx context.Context) error {
		r, err := api.Whole(c.d.GetStorage(ctx, &api.GetStorageRequest{Name: "soak/" + name}))
		if err != nil {
			return err
		}
		s := r.GetStorage()
		got = seenStorage{key: s.GetKey()}
		for _, p := range s.GetPoints() {
			got.points = append(got.points, c.nodes[p.GetBase()])
		}
		if got.key != "" && !strings.HasSuffix(got.key, "/"+forLooking) {
			got.tree, err = c.seen(ctx, got.key)
			return err
		}
		if got.key != "" { // the daemon died during a look
			if err := c.d.Remove(ctx, got.key); err != nil && !errdefs.IsNotFound(err) {
				return err
			}
			got.key = ""
		}
		got.tree, err = c.lookOn(ctx, name, s.GetBase())
		return err
	})
	return got, err
}

// lookOn reads a storage that no key has.
func (c *client) lookOn(ctx context.Context, name string, node uint64) (map[string]string, error) {
	base, ok := c.nodes[node]
	if !ok {
		return nil, fmt.Errorf("it stands on n%d, which is no base", node)
	}
	key := c.newKey(forLooking)
	if _, err := c.d.Prepare(ctx, key, c.bases[base], bound(name)); err != nil {
		return nil, err
	}
	tree, err := c.seen(ctx, key)
	return tree, errors.Join(err, c.d.Remove(ctx, key))
}

// bound gives a key a storage.
func bound(name string) snapshots.Opt {
	return snapshots.WithLabels(map[string]string{snapshotter.LabelStorage: name})
}

// compare compares a storage with what must be in it.
func (c *client) compare(name string, want storage) error {
	got, err := c.look(name)
	if err != nil {
		return fmt.Errorf("look at %s: %w", name, err)
	}
	c.comparisons.Add(1)
	if d := difference(got.tree, want.tree()); d != "" {
		return fmt.Errorf("storage %s:\n%s", name, d)
	}
	if !want.returnsTo(got.points) {
		return fmt.Errorf("storage %s can return to bases %v, want the newest of %v", name, got.points, want.points)
	}
	return nil
}

// asked returns the base that the last container of a storage asked for, -1 if that is the one that the storage stands
// on, or is not on record.
func (c *client) asked(name string) (base int, err error) {
	r, err := c.storage(name)
	if err != nil {
		return -1, err
	}
	for id, base := range c.nodes {
		if r.GetAsksFor() == fmt.Sprintf("n%d", id) {
			return base, nil
		}
	}
	return -1, nil
}

// storage returns a storage as it is on record.
func (c *client) storage(name string) (s *api.Storage, err error) {
	err = c.steady(func(ctx context.Context) error {
		r, err := api.Whole(c.d.GetStorage(ctx, &api.GetStorageRequest{Name: "soak/" + name}))
		s = r.GetStorage()
		return err
	})
	return s, err
}

// known is a storage with no more points than the daemon still has, and the update that its newest point undoes.
func (c *client) known(name string) (s storage, update uint64, err error) {
	r, err := c.storage(name)
	if err != nil {
		return s, 0, err
	}
	s = c.storages[name].clone()
	points := r.GetPoints()
	if len(points) > len(s.points) {
		return s, 0, fmt.Errorf("storage %s can return to %d states, there were %d", name, len(points), len(s.points))
	}
	s.points = s.points[len(s.points)-len(points):]
	c.storages[name] = s
	if len(points) > 0 {
		update = points[len(points)-1].GetUpdate()
	}
	return s.clone(), update, nil
}
