// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// grace is how long a storage counts as in use after its mounts were handed out. Only what is held back waits for it.
const grace = 50 * time.Millisecond

// world is a snapshotter and where its trees are looked at. It lives in a mount namespace of its own.
type world struct {
	*snapshotter.Snapshotter
	root  string
	place string            // below which trees are mounted
	trees map[string]string // listings by their digests
}

// open opens the snapshotter as a daemon does.
func open(root string) (*world, error) {
	w := &world{root: root, place: root + ".mnt", trees: map[string]string{}}
	if err := os.MkdirAll(w.placeOf("look"), 0o700); err != nil {
		return nil, err
	}
	err := w.start()
	return w, err
}

func (w *world) start() (err error) {
	w.Snapshotter, err = snapshotter.New(w.root, snapshotter.WithRetention(state.Retention{Points: 2}), snapshotter.WithGrace(grace))
	if err != nil {
		return err
	}
	heldBack, err := w.heldBack()
	if err != nil {
		return err
	}
	// Nothing else that an earlier one handed out is going to be mounted, which only this process can know.
	var keys []string
	w.State().Graph(func(g *dag.Graph) {
		for _, st := range g.Storages() {
			if heldBack[st.Key] == nil {
				keys = append(keys, st.Key)
			}
		}
	})
	for _, key := range keys {
		w.mounted(key)
	}
	return nil
}

// reopen is a restart of the daemon.
func (w *world) reopen() error {
	if err := w.Close(); err != nil {
		return err
	}
	return w.start()
}

// placeOf returns where the mounts of one purpose are made, for example those of a key.
func (w *world) placeOf(purpose string) string { return filepath.Join(w.place, filepath.Base(purpose)) }

// at calls fn with a directory while mounts are made at it.
func (w *world) at(place string, mounts []mount.Mount, fn func(dir string) error) error {
	if err := os.MkdirAll(place, 0o700); err != nil {
		return err
	}
	if err := mount.All(mounts, place); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	err := fn(place)
	if err := unix.Unmount(place, 0); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	return err
}

// sight is what is there, by subject: what containerd knows of a key, a layer's tree, a storage's tree.
type sight map[string]string

// look tells what is there now, every tree as a container sees it. The graph cannot change in the meantime.
func (w *world) look(ctx context.Context) (now sight, kept map[string][]string, err error) {
	now, kept = sight{}, map[string][]string{}
	if err := w.walk(ctx, now); err != nil {
		return nil, nil, err
	}
	w.State().Graph(func(g *dag.Graph) {
		for _, n := range g.Names() {
			now["key "+n.Key] += " with storage " + n.Storage
			if n.Kind == dag.Committed && err == nil {
				now["layer "+n.Key], err = w.tree(g, g.Chain(n.Node))
			}
		}
		for _, st := range g.Storages() {
			var tree string
			if err == nil {
				tree, err = w.tree(g, append(g.Stack(st.Head), g.Chain(g.Base(st))...))
			}
			now["storage "+st.Name] = tree
			now["holder of "+st.Name] = holder(st)
			for _, p := range slices.Concat(st.Points, st.Aside) {
				if err != nil {
					continue
				}
				n, _ := g.Node(p.Head)
				tree, err = w.tree(g, append(g.Stack(p.Head), g.Chain(n.Base)...))
				kept[st.Name] = append(kept[st.Name], tree)
			}
		}
	})
	return now, kept, err
}

// How the description of a storage's holder ends.
const waits, waitsNot = ", waits", ", does not wait"

// holder describes which key has a storage, and whether something waits for it.
func holder(st dag.Storage) string {
	if st.Pending != nil {
		return st.Key + waits
	}
	return st.Key + waitsNot
}

// tree returns the digest of what a stack of nodes shows. One that is known to be damaged is not looked at.
func (w *world) tree(g *dag.Graph, stack []dag.NodeID) (string, error) {
	var dirs []string
	for _, id := range stack {
		if n, _ := g.Node(id); n.Damage != "" {
			return damaged + n.Damage, nil
		}
		dirs = append(dirs, filepath.Join(w.root, "n", strconv.FormatUint(uint64(id), 10), "fs"))
	}
	var text string
	list := func(dir string) (err error) {
		text, err = listing(dir)
		return err
	}
	err := errors.New("no nodes")
	switch len(dirs) {
	case 0:
	case 1:
		err = list(dirs[0])
	default:
		options := []string{"ro", "lowerdir=" + strings.Join(dirs, ":")}
		err = w.at(w.placeOf("look"), []mount.Mount{{Type: "overlay", Source: "overlay", Options: options}}, list)
	}
	if err != nil {
		return "", fmt.Errorf("look at %v: %w", stack, err)
	}
	w.trees[digest(text)] = text
	return digest(text), nil
}

// damaged begins the description of a tree that is known not to be whole.
const damaged = "damaged: "

// walk tells the keys as containerd sees them, without the labels that are computed: ids of nodes and updates are not the same in
// every life, and where a storage stands is looked at by itself.
func (w *world) walk(ctx context.Context, now sight) error {
	return w.Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		now["key "+i.Name] = fmt.Sprintf("%s on %q labels %v", i.Kind, i.Parent, snapshotter.Given(i.Labels))
		return nil
	})
}

// patience is how often something that happens in the background is looked for.
const patience = 3000

// eventually waits until nothing is missing any longer; else it says what is.
func eventually(tries int, missing func() (string, error)) error {
	for range tries {
		what, err := missing()
		if err != nil || what == "" {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
	what, err := missing()
	if err == nil && what != "" {
		err = errors.New(what)
	}
	return err
}

// problems returns what is wrong once the background has had its time: what Check finds, and what is on disk and should not be.
func (w *world) problems(ctx context.Context) ([]string, error) {
	var last []string
	err := eventually(patience, func() (string, error) {
		if err := w.Cleanup(ctx); err != nil {
			return "", err
		}
		found, err := w.Checks().Check(ctx)
		if err != nil {
			return "", err
		}
		last = nil
		for _, p := range found {
			if p.Subject != "containerd" { // there is none
				last = append(last, p.Subject+" "+p.What)
			}
		}
		deep, err := w.Checks().Deep(ctx) // does what is frozen still hold what it held before the death?
		if err != nil {
			return "", err
		}
		for _, p := range deep {
			if p.Grave {
				last = append(last, p.Subject+" "+p.What)
			}
		}
		leaks, err := w.leaks()
		last = append(last, leaks...)
		return strings.Join(last, "; "), err
	})
	if len(last) > 0 {
		return last, nil
	}
	return nil, err
}

// leaks returns what is on disk and should not be there while nothing is under way.
func (w *world) leaks() ([]string, error) {
	known, frozen := map[string]bool{}, map[string]bool{}
	w.State().Graph(func(g *dag.Graph) {
		for _, n := range g.Nodes() {
			name := strconv.FormatUint(uint64(n.ID), 10)
			known[name], frozen[name] = true, n.Frozen
		}
	})
	var leaks []string
	for name := range known {
		entries, err := os.ReadDir(filepath.Join(w.root, "n", name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		for _, e := range entries { // an open node has its work directory, whole; a frozen one has none
			if strings.HasPrefix(e.Name(), "work") && (frozen[name] || e.Name() != "work") {
				leaks = append(leaks, "n/"+name+"/"+e.Name()+" is left")
			}
		}
	}
	for _, sub := range []string{"staging", "trash", "lost", "n"} {
		entries, err := os.ReadDir(filepath.Join(w.root, sub))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if sub == "n" && known[e.Name()] {
				delete(known, e.Name())
				continue
			}
			leaks = append(leaks, sub+"/"+e.Name()+" is left")
		}
	}
	for name := range maps.Keys(known) {
		leaks = append(leaks, "n/"+name+" is missing")
	}
	return leaks, nil
}
