// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// Mounts returns the mounts of a key. For the key of a container it first sees to it that the key has the storage it asks
// for, on the base it was prepared on, with what was waiting for the storage to be free carried out. Should that take longer
// than the client waits, it goes on, and the next call joins it.
func (s *Snapshotter) Mounts(ctx context.Context, key string) ([]mount.Mount, error) {
	n, err := s.name(key)
	switch {
	case err != nil:
		return nil, err
	case n.Kind == dag.Committed:
		return nil, fmt.Errorf("snapshot %q is committed and has no mounts of its own: %w", key, errdefs.ErrFailedPrecondition)
	case n.Kind == dag.View:
		return s.mountsOf(key)
	}
	unlock, err := s.locks.lock(ctx, "snapshot "+key)
	if err != nil {
		return nil, err
	}
	return outlive(ctx, s, func(ctx context.Context) ([]mount.Mount, error) {
		defer unlock()
		n, err := s.name(key)
		if err != nil {
			return nil, err
		}
		storage, err := s.identify(ctx, n)
		if err != nil {
			return nil, err
		}
		return s.handOut(ctx, n, storage)
	})
}

// handOut returns the mounts of an active key after binding it to a storage, unless that is empty, and after carrying out
// what waits for its storage to be free. The storage's lock is held until the mounts are on record as handed out: whoever
// has it knows that nobody is given the storage meanwhile.
func (s *Snapshotter) handOut(ctx context.Context, n dag.Name, storage string) ([]mount.Mount, error) {
	names := []string{n.Storage}
	if storage != "" {
		names = append(names, storage)
	}
	unlock, err := s.lockStorages(ctx, names)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if storage != "" {
		if err := s.bind(ctx, n.Key, storage); err != nil {
			return nil, err
		}
	}
	s.carryOut(ctx, n.Key)
	return s.mountsOf(n.Key)
}

// mountsOf returns the mounts of a key as the graph stands. For an active key the caller holds the lock of its storage.
func (s *Snapshotter) mountsOf(key string) (mounts []mount.Mount, err error) {
	s.store.View(func(g *dag.Graph) {
		n, ok := g.Name(key)
		if !ok {
			err = fmt.Errorf("snapshot %q: %w", key, errdefs.ErrNotFound)
			return
		}
		if n.Kind == dag.View {
			layers := g.Chain(n.Node)
			if err = usable(g, layers); err != nil {
				return
			}
			s.handed.out(key, layers)
			mounts = s.viewMounts(layers)
			return
		}
		st, ok := g.Storage(n.Storage)
		if !ok {
			err = fmt.Errorf("storage %q of snapshot %q: %w", n.Storage, key, errdefs.ErrNotFound)
			return
		}
		stack := append(g.Stack(st.Head), g.Chain(g.Base(st))...)
		if err = usable(g, stack); err != nil {
			return
		}
		// Noted while the graph cannot change, so that nobody takes the storage for free in between.
		s.handed.out(key, stack)
		mounts = s.activeMounts(stack)
	})
	return mounts, err
}

// viewMounts shows layers for reading.
func (s *Snapshotter) viewMounts(layers []dag.NodeID) []mount.Mount {
	switch len(layers) {
	case 0:
		return []mount.Mount{{Type: "bind", Source: s.nodes.Empty(), Options: []string{"ro", "rbind"}}}
	case 1:
		return []mount.Mount{{Type: "bind", Source: s.nodes.FS(layers[0]), Options: []string{"ro", "rbind"}}}
	}
	return []mount.Mount{{Type: "overlay", Source: "overlay", Options: append([]string{s.lowerdir(layers)}, s.options...)}}
}

// activeMounts shows an open node, the first of the stack, over all the others.
func (s *Snapshotter) activeMounts(stack []dag.NodeID) []mount.Mount {
	open := stack[0]
	if len(stack) == 1 {
		return []mount.Mount{{Type: "bind", Source: s.nodes.FS(open), Options: []string{"rw", "rbind"}}}
	}
	options := []string{s.lowerdir(stack[1:]), "upperdir=" + s.nodes.FS(open), "workdir=" + s.nodes.Work(open)}
	return []mount.Mount{{Type: "overlay", Source: "overlay", Options: append(options, s.options...)}}
}

func (s *Snapshotter) lowerdir(ids []dag.NodeID) string {
	return "lowerdir=" + strings.Join(s.nodes.Stack(ids), ":")
}

// wantedOptions keep overlayfs from writing into an upper directory what ties it to one set of lower ones.
var wantedOptions = [...]string{
	"index=off", "metacopy=off", "redirect_dir=nofollow", "xino=off", "nfs_export=off", "uuid=null",
}

// probeOptions returns those of the wanted options that this kernel knows, by mounting an overlay nowhere with each. An
// option that the kernel does not know it cannot switch on by itself either. On a full disk, where nothing can be mounted,
// those that the kernel can read are taken.
func probeOptions(root string) ([]string, error) {
	known, err := probeByMounting(root)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return readableOptions()
	}
	return known, err
}

// readableOptions returns those of the wanted options that this kernel can read, which takes no place on any disk.
func readableOptions() (known []string, err error) {
	for _, option := range wantedOptions {
		fsfd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
		if err != nil {
			return nil, err
		}
		key, value, _ := strings.Cut(option, "=")
		if unix.FsconfigSetString(fsfd, key, value) == nil {
			known = append(known, option)
		}
		if err := unix.Close(fsfd); err != nil {
			return nil, err
		}
	}
	return known, nil
}

func probeByMounting(root string) ([]string, error) {
	dir, err := os.MkdirTemp(root, "probe-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			log.L.WithError(err).WithField("path", dir).Warn("failed to remove probe directory")
		}
	}()
	for _, sub := range []string{"lower", "upper", "work"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, err
		}
	}
	if err := probe(dir); err != nil {
		return nil, fmt.Errorf("overlayfs cannot be used on %s, a local file system such as ext4 or xfs is needed, and root: %w", root, err)
	}
	var known []string
	for _, option := range wantedOptions {
		if err := probe(dir, option); err == nil {
			known = append(known, option)
		}
	}
	return known, nil
}

// probe makes an overlay mount that has no place in the tree, and lets it go.
func probe(dir string, options ...string) (err error) {
	fsfd, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(fsfd)) }()
	options = append([]string{
		"lowerdir=" + filepath.Join(dir, "lower"), "upperdir=" + filepath.Join(dir, "upper"), "workdir=" + filepath.Join(dir, "work"),
	}, options...)
	for _, option := range options {
		key, value, _ := strings.Cut(option, "=")
		if err := unix.FsconfigSetString(fsfd, key, value); err != nil {
			return err
		}
	}
	if err := unix.FsconfigCreate(fsfd); err != nil {
		return err
	}
	mfd, err := unix.Fsmount(fsfd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Close(mfd)
}
