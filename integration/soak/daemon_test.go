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
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// daemon is a daemon that is killed and started again.
type daemon struct {
	t       *testing.T
	program string
	dir     string
	log     *os.File

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended

	snapshots.Snapshotter
	api.ControlClient
	conns []*grpc.ClientConn
}

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	d := &daemon{t: t, dir: t.TempDir()}
	d.program = filepath.Join(t.TempDir(), "containerd-molt-grpc")
	build := exec.CommandContext(t.Context(), "go", "build", "-race", "-buildvcs=false", "-o", d.program, "../../cmd/containerd-molt-grpc")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the daemon: %v\n%s", err, out)
	}
	must(t, os.WriteFile(filepath.Join(d.dir, "config.toml"), fmt.Appendf(nil,
		"root = %q\n[grpc]\naddress = %q\n[control]\naddress = %q\n[containerd]\naddress = \"\"\n[servicing]\ngrace = \"200ms\"\n",
		d.path("root"), d.path("snapshots.sock"), d.path("control.sock")), 0o600))
	var err error
	d.log, err = os.Create(d.path("log"))
	must(t, err)
	snapshotsConn, controlConn := d.connect("snapshots.sock"), d.connect("control.sock")
	d.conns = []*grpc.ClientConn{snapshotsConn, controlConn}
	d.Snapshotter = proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(snapshotsConn), "molt")
	d.ControlClient = api.NewControlClient(controlConn)
	t.Cleanup(d.end)
	d.start()
	return d
}

func (d *daemon) path(name string) string { return filepath.Join(d.dir, name) }

func (d *daemon) connect(socket string) *grpc.ClientConn {
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", d.path(socket))
	}
	conn, err := grpc.NewClient("passthrough:///molt", grpc.WithContextDialer(dial), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(d.t, err)
	return conn
}

// start starts the daemon and returns when it answers.
func (d *daemon) start() {
	d.t.Helper()
	d.mu.Lock()
	d.cmd = exec.Command(d.program, "--config", d.path("config.toml"))
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	must(d.t, d.cmd.Start())
	done := make(chan struct{})
	d.done = done
	cmd := d.cmd
	d.mu.Unlock()
	go func() {
		_ = cmd.Wait() // it is killed
		close(done)
	}()
	for _, conn := range d.conns {
		conn.ResetConnectBackoff()
	}
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	for {
		_, err := d.Version(ctx, &api.VersionRequest{}, grpc.WaitForReady(true))
		if err == nil {
			if _, err = d.Stat(ctx, "no such key"); err != nil {
				return
			}
		}
		select {
		case <-done:
			d.t.Fatalf("the daemon ended by itself; its log is\n%s", d.tail())
		case <-ctx.Done():
			d.t.Fatalf("the daemon does not answer: %v; its log is\n%s", err, d.tail())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// kill ends the daemon with SIGKILL and returns when it is gone.
func (d *daemon) kill() {
	d.mu.Lock()
	process, done := d.cmd.Process, d.done
	d.mu.Unlock()
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		d.t.Errorf("kill the daemon: %v", err)
	}
	<-done
}

func (d *daemon) end() {
	d.kill()
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
	return string(content[max(0, len(content)-6000):])
}
