// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// grace is how long the daemon counts a storage as in use after it handed its mounts out.
const grace = 200 * time.Millisecond

// daemon is a daemon that is killed and started again.
type daemon struct {
	t       *testing.T
	program string
	dir     string
	log     *os.File

	mu    sync.Mutex
	cmd   *exec.Cmd
	done  chan struct{} // closed when it has ended
	lives uint64        // how often it began to die
	back  chan struct{} // closed while it answers

	snapshots.Snapshotter
	api.ControlClient
	conns []*grpc.ClientConn
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{t: t, dir: t.TempDir(), back: make(chan struct{})}
	d.program = filepath.Join(t.TempDir(), "containerd-molt-grpc")
	build := exec.CommandContext(t.Context(), "go", "build", "-race", "-buildvcs=false",
		"-o", d.program, "../../cmd/containerd-molt-grpc")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the daemon: %v\n%s", err, out)
	}
	must(t, os.WriteFile(filepath.Join(d.dir, "config.toml"), fmt.Appendf(nil,
		"root = %q\n[grpc]\naddress = %q\n[control]\naddress = %q\n[containerd]\naddress = \"\"\n[servicing]\ngrace = %q\n",
		d.path("root"), d.path("snapshots.sock"), d.path("control.sock"), grace.String()), 0o600))
	var err error
	d.log, err = os.Create(d.path("log"))
	must(t, err)
	snapshotsConn, controlConn := d.connect("snapshots.sock"), d.connect("control.sock")
	d.conns = []*grpc.ClientConn{snapshotsConn, controlConn}
	d.Snapshotter = proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(snapshotsConn), "molt")
	d.ControlClient = api.NewControlClient(controlConn)
	t.Cleanup(d.end)
	must(t, d.start(t.Context()))
	return d
}

func (d *daemon) path(name string) string { return filepath.Join(d.dir, name) }

func (d *daemon) connect(socket string) *grpc.ClientConn {
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", d.path(socket))
	}
	conn, err := grpc.NewClient("passthrough:///molt",
		grpc.WithContextDialer(dial), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{
			BaseDelay: 10 * time.Millisecond, Multiplier: 1.2, MaxDelay: 100 * time.Millisecond,
		}}))
	must(d.t, err)
	return conn
}

// start starts the daemon and returns when it answers.
func (d *daemon) start(ctx context.Context) error {
	cmd := exec.Command(d.program, "--config", d.path("config.toml"))
	cmd.Stdout, cmd.Stderr = d.log, d.log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed
		close(done)
	}()
	d.mu.Lock()
	d.cmd, d.done = cmd, done
	d.mu.Unlock()
	if err := d.answers(ctx, done); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.back)
	return nil
}

// answers waits until both sockets of the daemon answer.
func (d *daemon) answers(ctx context.Context, done <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		_, err := d.Version(ctx, &api.VersionRequest{}, grpc.WaitForReady(true))
		if err == nil {
			if _, err = d.Stat(ctx, "no such key"); errdefs.IsNotFound(err) {
				return nil
			}
		}
		select {
		case <-done:
			return fmt.Errorf("the daemon ended by itself; its log is\n%s", d.tail())
		case <-ctx.Done():
			return fmt.Errorf("the daemon does not answer: %w; its log is\n%s", err, d.tail())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// awake waits until the daemon answers and returns which of its lives that is.
func (d *daemon) awake(ctx context.Context) (life uint64, err error) {
	for {
		d.mu.Lock()
		life, back := d.lives, d.back
		d.mu.Unlock()
		select {
		case <-back:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		if d.life() == life {
			return life, nil
		}
	}
}

// life returns how often the daemon began to die. What fails because it dies fails after that has changed.
func (d *daemon) life() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lives
}

// kill ends the daemon with SIGKILL and returns when it is gone.
func (d *daemon) kill() error {
	d.mu.Lock()
	process, done := d.cmd.Process, d.done
	d.lives++
	d.back = make(chan struct{})
	d.mu.Unlock()
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill the daemon: %w", err)
	}
	<-done
	return nil
}

func (d *daemon) end() {
	must(d.t, d.kill())
	for _, conn := range d.conns {
		must(d.t, conn.Close())
	}
	must(d.t, d.log.Close())
	if d.t.Failed() {
		d.t.Logf("the log of the daemon ends with\n%s", d.tail())
	}
}

// tail is the end of the daemon's log.
func (d *daemon) tail() string {
	content, err := os.ReadFile(d.path("log"))
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-30_000):])
}
