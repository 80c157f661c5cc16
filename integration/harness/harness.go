// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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
		h.close()
	})
	if err := h.start(t.Context()); err != nil {
		t.Fatalf("start the harness: %v", err)
	}
	return h
}

// start writes the configurations, starts the servers and connects to them.
func (h *Harness) start(ctx context.Context) error {
	// Containers in a user namespace get to their files through these: they may be traversed, but not read.
	for _, dir := range []string{"tmp", "logs", "out", "opt/cni", "opt/cni.d"} {
		if err := os.MkdirAll(h.Path(dir), 0o711); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	h.Snapshotter = h.opts.snapshotter
	if h.opts.daemonPackage != "" {
		if err := h.startDaemon(ctx); err != nil {
			return err
		}
	}
	if err := h.startContainerd(ctx); err != nil {
		return err
	}
	if h.opts.cri {
		return h.startCRI(ctx)
	}
	return nil
}

func (h *Harness) startDaemon(ctx context.Context) error {
	daemon, err := h.tools.build(h.opts.daemonPackage, h.opts.daemonTags...)
	if err != nil {
		return err
	}
	if h.moltctl, err = h.tools.build("./cmd/moltctl"); err != nil {
		return err
	}
	h.Daemon = &Process{
		name:    "the daemon",
		program: daemon,
		args:    []string{"--config", h.Path("daemon.toml")},
		env:     h.tools.environment(h.opts.daemonEnv...),
		logPath: h.Path("logs", "daemon.log"),
		ready:   h.daemonReady,
	}
	if h.opts.daemonApart {
		h.Daemon.program, h.Daemon.args = apart(daemon, h.Daemon.args)
	}
	if err := os.WriteFile(h.Path("daemon.toml"), []byte(h.daemonConfig()), 0o600); err != nil {
		return fmt.Errorf("configure the daemon: %w", err)
	}
	return h.Daemon.Start(ctx)
}

func (h *Harness) startContainerd(ctx context.Context) error {
	h.Containerd = &Process{
		name:    "containerd",
		program: h.tools.tool("containerd"),
		args:    []string{"--config", h.Path("containerd.toml")},
		env:     h.tools.environment(),
		logPath: h.Path("logs", "containerd.log"),
		ready:   h.containerdReady,
	}
	if err := os.WriteFile(h.Path("containerd.toml"), []byte(h.containerdConfig()), 0o600); err != nil {
		return fmt.Errorf("configure containerd: %w", err)
	}
	return h.Containerd.Start(ctx)
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

// close removes everything and fails the test if that is not possible, or if the daemon shows a defect.
func (h *Harness) close() {
	if h.t.Failed() {
		h.dumpLogs()
	}
	if h.Daemon != nil {
		h.checkDaemonLog()
	}
	h.closeGracefully()
	if err := sweep(h.root); err != nil {
		h.t.Errorf("remove everything of the harness: %v", err)
	}
}

// closeGracefully ends pods, tasks and servers in the way that leaves the least behind. What it cannot end, after
// a crash that the test arranged for example, is left to sweep: its errors are no failure of the test.
func (h *Harness) closeGracefully() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.t.Context()), patience)
	defer cancel()
	var errs []error
	if h.Containerd != nil && h.Containerd.Running() {
		if h.cri != nil {
			errs = append(errs, h.cri.removePods(ctx))
		}
		if h.client != nil {
			errs = append(errs, h.killTasks(ctx))
		}
		errs = append(errs, h.Containerd.Stop())
	}
	if h.cri != nil {
		errs = append(errs, h.cri.conn.Close())
	}
	if h.client != nil {
		errs = append(errs, h.client.Close())
	}
	if h.Daemon != nil {
		errs = append(errs, h.Daemon.Stop())
	}
	if err := errors.Join(errs...); err != nil {
		h.t.Logf("end the harness: %v", err)
	}
}

// checkDaemonLog fails the test if the daemon reported a data race or panicked.
func (h *Harness) checkDaemonLog() {
	log := h.Daemon.Log()
	for _, sign := range []string{"WARNING: DATA RACE", "\npanic: ", "\nfatal error: "} {
		if strings.Contains(log, sign) {
			h.t.Errorf("the daemon's log has %q:\n%s", strings.TrimSpace(sign), log)
			return
		}
	}
}

// dumpLogs shows the end of each log of a failed test.
func (h *Harness) dumpLogs() {
	const most = 16 << 10
	for _, p := range []*Process{h.Daemon, h.Containerd} {
		if p == nil {
			continue
		}
		log := p.Log()
		if len(log) > most {
			log = "..." + log[len(log)-most:]
		}
		h.t.Logf("log of %s:\n%s", p.name, log)
	}
}
