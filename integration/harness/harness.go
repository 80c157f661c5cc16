// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
)

// Harness is one private containerd with one private daemon. All of it is gone when its test ends.
type Harness struct {
	// Namespace is the containerd namespace that images and containers are put in. It is different in every
	// harness, since runc and cgroups know containers by namespace and ID only.
	Namespace string
	// Snapshotter is the name under which containerd knows the snapshotter in use.
	Snapshotter string
	// Containerd is the containerd process.
	Containerd *Process
	// Daemon is the process of the proxy snapshotter; nil with WithSnapshotter.
	Daemon *Process

	t       testing.TB
	opts    options
	moltctl program
	tools   toolchain
	root    string
	client  *containerd.Client
	cri     *CRI
	// serial makes names unique within the harness; For shares it.
	serial *atomic.Int64
}

// Start starts containerd with molt as its snapshotter, unless an option says otherwise, and returns when both
// answer. The test is skipped where Require skips it.
func Start(t testing.TB, opts ...Option) *Harness {
	t.Helper()
	Require(t)
	tools, err := findToolchain()
	if err != nil {
		t.Fatalf("find the tools: %v", err)
	}
	if err := SweepAbandoned(); err != nil {
		t.Fatalf("remove what an earlier test left: %v", err)
	}
	root, unlock, err := newRoot()
	if err != nil {
		t.Fatalf("make the root of the harness: %v", err)
	}
	h := &Harness{Namespace: filepath.Base(root), t: t, tools: tools, root: root, serial: new(atomic.Int64)}
	for _, o := range append([]Option{WithDaemon("./cmd/containerd-molt-grpc", "molt")}, opts...) {
		o(&h.opts)
	}
	t.Cleanup(func() {
		defer unlock()
		ender{h}.close()
	})
	if err := (starter{h}).start(t.Context()); err != nil {
		t.Fatalf("start the harness: %v", err)
	}
	return h
}

// For returns the same harness for use in another test, such as a subtest: failures end that test, and contexts
// are those of that test.
func (h *Harness) For(t testing.TB) *Harness {
	other := *h
	other.t = t
	if h.cri != nil {
		cri := *h.cri
		cri.h = &other
		other.cri = &cri
	}
	return &other
}

// Root is the directory that everything of the harness is below.
func (h *Harness) Root() string { return h.root }

// Path is a path below Root.
func (h *Harness) Path(elem ...string) string {
	return filepath.Join(append([]string{h.root}, elem...)...)
}

// DaemonRoot is the directory in which the daemon keeps its data.
func (h *Harness) DaemonRoot() string { return h.Path("molt") }

// SnapshotsSocket is where the daemon serves containerd.
func (h *Harness) SnapshotsSocket() string { return h.Path("molt.sock") }

// ControlSocket is where the daemon serves moltctl.
func (h *Harness) ControlSocket() string { return h.Path("control.sock") }

// ContainerdSocket is where containerd serves its clients.
func (h *Harness) ContainerdSocket() string { return h.Path("containerd.sock") }

// Context is the context of the test with Namespace as the containerd namespace.
func (h *Harness) Context() context.Context {
	return namespaces.WithNamespace(h.t.Context(), h.Namespace)
}

// Client is a client of containerd; it needs a context with a namespace, such as Context. It outlives restarts
// of containerd.
func (h *Harness) Client() *containerd.Client { return h.client }

// unique returns a name that nothing else in this harness has.
func (h *Harness) unique(prefix string) string {
	return fmt.Sprintf("%s-%d", prefix, h.serial.Add(1))
}

// must ends the test if err is not nil.
func (h *Harness) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}
