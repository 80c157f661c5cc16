// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/binding"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// fakeHost is a containerd that knows what it is told.
type fakeHost struct {
	mu      sync.Mutex
	claims  map[string]string // storage by key; keys that are not here have no container
	running map[string]bool
	// snapshots are the keys that it knows.
	snapshots []keys.Key
	elsewhere []snapshotter.Elsewhere
	err       error
	// errElsewhere cuts the list of elsewhere short.
	errElsewhere error
	hidden       bool // its processes are out of sight
	asked        int
	rehome       func(ctx context.Context, namespace, container string, record json.RawMessage) error
	marked       map[string]string     // the held update, by key
	asking       func(context.Context) // called while it is asked whether a container runs
	listed       atomic.Int32          // how often all images were asked for
	announcing   map[string]string     // what images say that they update
	looked       int                   // how often that was asked for
}

func (h *fakeHost) Claim(_ context.Context, namespace, key string) (claim binding.Claim, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asked++
	if h.err != nil {
		return claim, h.err
	}
	storage, ok := h.claims[key]
	if !ok {
		return claim, fmt.Errorf("container %q: %w", key, errdefs.ErrNotFound)
	}
	if storage == "" {
		return claim, nil
	}
	claim.Container = &dag.Container{ID: key}
	claim.Storage, err = keys.StorageName(namespace, storage)
	return claim, err
}

// Rehome does to the snapshotter what containerd would.
func (h *fakeHost) Rehome(ctx context.Context, namespace, container string, record json.RawMessage) error {
	h.mu.Lock()
	fn := h.rehome
	h.mu.Unlock()
	return fn(ctx, namespace, container, record)
}

func (h *fakeHost) HomeOn(_ context.Context, namespace, container, layer, _ string) (*binding.Home, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rehome == nil {
		return nil, fmt.Errorf("no image has layer %s: %w", layer, errdefs.ErrNotFound)
	}
	record, err := json.Marshal(layer)
	return &binding.Home{Namespace: namespace, Container: container, Key: container, Layer: layer, Record: record}, err
}

func (h *fakeHost) MarkHeld(_ context.Context, _, key, update string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.marked == nil {
		h.marked = map[string]string{}
	}
	if h.err != nil {
		return h.err
	}
	if h.marked[key] = update; update == "" {
		delete(h.marked, key)
	}
	return nil
}

func (h *fakeHost) Held(context.Context) (map[keys.Key]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held := map[keys.Key]string{}
	for key, update := range h.marked {
		held[keys.Key{Namespace: "test", Key: key}] = update
	}
	return held, h.err
}

func (h *fakeHost) Running(ctx context.Context, _, key string) (bool, error) {
	h.mu.Lock()
	asking := h.asking
	h.mu.Unlock()
	if asking != nil {
		asking(ctx)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running[key], h.err
}

// whenAsked sets what happens while the host is asked whether a container runs; nil for nothing.
func (h *fakeHost) whenAsked(fn func(context.Context)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asking = fn
}

func (h *fakeHost) Visible(context.Context) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.hidden, h.err
}

func (h *fakeHost) Layer(context.Context, string, string) (string, error) {
	return "", errors.New("no images here")
}

func (h *fakeHost) Topmost(_ context.Context, namespace, image string) (string, error) {
	if namespace != "test" || image != "app:1" {
		return "", fmt.Errorf("image %q: %w", image, errdefs.ErrNotFound)
	}
	return chainID("one"), nil
}

func (h *fakeHost) Announcements(context.Context, string, string) (map[string]string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.looked++
	return maps.Clone(h.announcing), h.err
}

// announce sets what images say that they update.
func (h *fakeHost) announce(says map[string]string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.announcing, h.looked = says, 0
}

func (h *fakeHost) lookedTwice() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.looked > 1
}

func (h *fakeHost) Images(context.Context) (map[string][]string, error) {
	h.listed.Add(1)
	return map[string][]string{"test/" + chainID("one"): {"app:1"}}, nil
}

func (h *fakeHost) Snapshots(context.Context) ([]keys.Key, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.snapshots), h.err
}

// Elsewhere fails after what it knows.
func (h *fakeHost) Elsewhere(_ context.Context, fn func(snapshotter.Elsewhere) error) error {
	h.mu.Lock()
	found, err := slices.Clone(h.elsewhere), h.errElsewhere
	h.mu.Unlock()
	for _, e := range found {
		if err := fn(e); err != nil {
			return err
		}
	}
	return err
}

// run tells the host whether the container of a key runs.
func (h *fakeHost) run(key string, running bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running[key] = running
}

// set tells the host that there is a container which asks for a storage.
func (h *fakeHost) set(key, claim string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.claims[key] = claim
}

// fixture is a snapshotter with a host, used as containerd uses it.
type fixture struct {
	*snapshotter.Snapshotter
	t    *testing.T
	root string
	host *fakeHost
	opts []snapshotter.Opt
	keys int
}

func newFixture(t *testing.T, opts ...snapshotter.Opt) *fixture {
	t.Helper()
	requireRoot(t)
	f := &fixture{
		t: t, root: filepath.Join(t.TempDir(), "root"),
		host: &fakeHost{claims: map[string]string{}, running: map[string]bool{}},
		opts: opts,
	}
	f.open()
	t.Cleanup(f.close)
	return f
}

func (f *fixture) open() {
	f.t.Helper()
	opts := append([]snapshotter.Opt{snapshotter.WithHost(f.host), snapshotter.WithGrace(0)}, f.opts...)
	s, err := snapshotter.New(f.root, opts...)
	f.must(err)
	f.Snapshotter = s
}

// close closes the snapshotter after a look at the invariants of its graph.
func (f *fixture) close() {
	f.State().Graph(func(g *dag.Graph) {
		if err := g.Check(); err != nil {
			f.t.Errorf("the graph is not sound: %v", err)
		}
	})
	if err := f.Close(); err != nil {
		f.t.Error(err)
	}
}

// dir returns the directory of a node.
func (f *fixture) dir(id dag.NodeID) string {
	return filepath.Join(f.root, "n", strconv.FormatUint(uint64(id), 10))
}

// storage returns a storage by its name without the namespace.
func (f *fixture) storage(name string) (st dag.Storage) {
	f.t.Helper()
	f.State().Graph(func(g *dag.Graph) {
		var ok bool
		if st, ok = g.Storage("test/" + name); !ok {
			f.t.Errorf("there is no storage %q", name)
		}
	})
	return st
}

func (f *fixture) updates() (updates []dag.Update) {
	f.State().Graph(func(g *dag.Graph) { updates = g.Updates() })
	return updates
}

func (f *fixture) reopen() {
	f.t.Helper()
	f.close()
	f.open()
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// key returns a key as containerd's metadata store makes it.
func (f *fixture) key(own string) string {
	f.keys++
	return fmt.Sprintf("test/%d/%s", f.keys, own)
}

// chainID returns the chain ID of a layer with a name.
func chainID(name string) string { return digest.FromString(name).String() }

// unpacking returns the keys with which containerd unpacks a layer, and under which it commits it.
func (f *fixture) unpacking(name string) (extract, committed string) {
	chain := chainID(name)
	return f.key(fmt.Sprintf(snapshots.UnpackKeyFormat, "1-AbC_", chain)), f.key(chain)
}

// layer commits a layer with some files, as the unpacking of an image does.
func (f *fixture) layer(name, parent string, files map[string]string) string {
	f.t.Helper()
	extract, key := f.unpacking(name)
	mounts, err := f.Prepare(f.t.Context(), extract, parent)
	f.must(err)
	dir := mounts[0].Source
	for _, option := range mounts[0].Options {
		if upper, ok := strings.CutPrefix(option, "upperdir="); ok {
			dir = upper
		}
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		f.must(os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755))
		f.must(os.WriteFile(filepath.Join(dir, path), []byte(files[path]), 0o644))
	}
	f.must(f.Commit(f.t.Context(), key, extract))
	return key
}

// container prepares the key of a container which, once containerd knows it, asks for a storage.
func (f *fixture) container(own, parent, storage string, opts ...snapshots.Opt) string {
	f.t.Helper()
	key := f.key(own)
	_, err := f.Prepare(f.t.Context(), key, parent, opts...)
	f.must(err)
	f.host.set(own, storage)
	return key
}

// in mounts a key as the start of its container does, calls fn with the directory, and unmounts it.
func (f *fixture) in(key string, fn func(dir string)) {
	f.t.Helper()
	for {
		mounts, err := f.Mounts(f.t.Context(), key)
		f.must(err)
		mounted := false
		err = mount.WithTempMount(f.t.Context(), mounts, func(dir string) error {
			mounted = true
			fn(dir)
			return nil
		})
		if !mounted && errors.Is(err, fs.ErrNotExist) {
			continue // without a time of grace nodes may be merged between the answer and the mount
		}
		f.must(err)
		return
	}
}

func (f *fixture) write(key, path, content string) {
	f.t.Helper()
	f.in(key, func(dir string) { f.must(os.WriteFile(filepath.Join(dir, path), []byte(content), 0o644)) })
}

// expect checks what a key shows at a path; an empty string stands for nothing.
func (f *fixture) expect(key, path, want string) {
	f.t.Helper()
	f.in(key, func(dir string) {
		got, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			f.t.Fatal(err)
		}
		if string(got) != want {
			f.t.Errorf("%s shows %q at %s, not %q", key, got, path, want)
		}
	})
}

// node returns the layer behind a committed key.
func (f *fixture) node(key string) (id dag.NodeID) {
	f.State().Graph(func(g *dag.Graph) {
		n, _ := g.Name(key)
		id = n.Node
	})
	return id
}

// update updates the storages on a base and waits until they are serviced.
func (f *fixture) update(from, to string, storages ...string) dag.Update {
	f.t.Helper()
	id, err := f.Updates().Begin(f.t.Context(), updates.Request{From: f.node(from), To: f.node(to), Storages: storages})
	f.must(err)
	return f.settled(id)
}

// settled waits until no storage of an update is being serviced.
func (f *fixture) settled(id dag.UpdateID) (u dag.Update) {
	f.t.Helper()
	f.eventually(func() bool {
		f.State().Graph(func(g *dag.Graph) { u, _ = g.Update(id) })
		return u.State != dag.Staging && u.State != dag.Staged
	}, "update %v is serviced", id)
	return u
}

// eventually waits for something that happens in the background.
func (f *fixture) eventually(condition func() bool, what string, args ...any) {
	f.t.Helper()
	for range 30000 {
		if condition() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	f.t.Fatalf("it did not happen that "+what, args...)
}

func (f *fixture) expectState(u dag.Update, storage string, want dag.State) {
	f.t.Helper()
	if got := u.Outcomes["test/"+storage].State; got != want {
		f.t.Errorf("update %v left storage %q %s, not %s: %v", u.ID, storage, got, want, u.Outcomes)
	}
}

// refused checks that an error is of a kind and says certain things.
func refused(t *testing.T, err, kind error, says ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got error %v, want one that is %v", err, kind)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q does not say %q", err, s)
		}
	}
}

// contains reports whether a text holds all the given ones.
func contains(text string, all ...string) bool {
	return !slices.ContainsFunc(all, func(s string) bool { return !strings.Contains(text, s) })
}
