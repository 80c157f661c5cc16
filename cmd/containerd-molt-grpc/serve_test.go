// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

func TestListen(t *testing.T) {
	dir := t.TempDir()
	address := filepath.Join(dir, "deep", "er", "molt.sock")
	defer unix.Umask(unix.Umask(0))
	left, err := listen(address)
	must(t, err)
	if _, err := listen(address); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a socket on which somebody answers: got %v", err)
	}
	own, ok := left.(onlyOwner)
	if !ok {
		t.Fatalf("%T lets anybody in", left)
	}
	socket, ok := own.Listener.(*net.UnixListener)
	if !ok {
		t.Fatalf("%T is no unix socket", own.Listener)
	}
	socket.SetUnlinkOnClose(false) // as a process that is killed
	must(t, left.Close())
	info, err := os.Lstat(address)
	must(t, err)
	if info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket has mode %v", info.Mode())
	}
	again, err := listen(address)
	must(t, err)
	must(t, again.Close())

	// One that cannot be asked whether anybody answers is not taken for dead.
	other := filepath.Join(dir, "datagrams")
	datagrams, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: other, Net: "unixgram"})
	must(t, err)
	if _, err := listen(other); err == nil || !strings.Contains(err.Error(), "whether another process") {
		t.Errorf("a socket of another kind: got %v", err)
	}
	if _, err := os.Lstat(other); err != nil {
		t.Errorf("a socket of another kind was removed: %v", err)
	}
	must(t, datagrams.Close())

	for name, make := range map[string]func(path string) error{
		"file":      func(path string) error { return os.WriteFile(path, []byte("precious"), 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"link":      func(path string) error { return os.Symlink(address, path) },
	} {
		path := filepath.Join(dir, name)
		must(t, make(path))
		before, err := os.Lstat(path)
		must(t, err)
		if _, err := listen(path); err == nil || !strings.Contains(err.Error(), "no socket") {
			t.Errorf("%s: got %v", name, err)
		}
		if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("the %s was replaced", name)
		}
	}
	if _, err := listen(filepath.Join(dir, "file", "x")); err == nil {
		t.Error("a socket below a file was made")
	}
	if _, err := listen(filepath.Join(dir, strings.Repeat("long", 50))); err == nil {
		t.Error("a path too long for a socket was accepted")
	}
}

// TestServe: the daemon answers on both sockets, a second one is kept out, and stopping it leaves what is on disk.
func TestServe(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("MOLT_TEST_STRICT") != "" {
			t.Fatal("mounting overlays needs root")
		}
		t.Skip("mounting overlays needs root")
	}
	dir := t.TempDir()
	cfg := defaultConfig()
	cfg.Root, cfg.GRPC.Address, cfg.Control.Address = filepath.Join(dir, "root"), filepath.Join(dir, "s"), filepath.Join(dir, "c")
	cfg.Containerd.Address = filepath.Join(dir, "no-containerd")
	ready := notified(t, dir)
	for range 2 {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- serve(ctx, cfg) }()
		expectNotice(t, ready, "READY=1")

		control := api.NewControlClient(dial(t, cfg.Control.Address))
		r, err := control.Version(t.Context(), &api.VersionRequest{})
		must(t, err)
		if r.GetRoot() != cfg.Root {
			t.Errorf("the root is %s", r.GetRoot())
		}
		snapshots := snapshotsapi.NewSnapshotsClient(dial(t, cfg.GRPC.Address))
		_, err = snapshots.Cleanup(t.Context(), &snapshotsapi.CleanupRequest{})
		must(t, err)
		if _, err := api.Whole(control.Graph(t.Context(), &api.GraphRequest{})); err != nil {
			t.Errorf("without containerd the graph cannot be seen: %v", err)
		}
		if err := serve(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "another process") {
			t.Errorf("a second daemon: got %v", err)
		}
		stop()
		expectNotice(t, ready, "STOPPING=1")
		must(t, <-ended)
	}
}

func dial(t *testing.T, socket string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { must(t, conn.Close()) })
	return conn
}

// notified takes the place of systemd, which a daemon tells how it is.
func notified(t *testing.T, dir string) *net.UnixConn {
	t.Helper()
	socket := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	must(t, err)
	t.Cleanup(func() { must(t, conn.Close()) })
	t.Setenv("NOTIFY_SOCKET", socket)
	return conn
}

func expectNotice(t *testing.T, conn *net.UnixConn, want string) {
	t.Helper()
	data := make([]byte, 100)
	n, err := conn.Read(data)
	must(t, err)
	if got := string(data[:n]); got != want {
		t.Fatalf("systemd was told %q, not %q", got, want)
	}
}

// TestBounded: a call has an end also when its caller sets none.
func TestBounded(t *testing.T) {
	var ends bool
	_, err := bounded(t.Context(), nil, nil, func(ctx context.Context, _ any) (any, error) {
		_, ends = ctx.Deadline()
		return nil, nil
	})
	if err != nil || !ends {
		t.Errorf("it has an end: %v, %v", ends, err)
	}
}

// TestBadUsage: bad usage has an exit code of its own, as moltctl has, and one line.
func TestBadUsage(t *testing.T) {
	for _, args := range []string{"--bogus", "bogus", "config default --bogus", "config bogus"} {
		c := app()
		var out bytes.Buffer
		c.Writer, c.ErrWriter = &out, &out
		err := c.Run(t.Context(), append([]string{"containerd-molt-grpc"}, strings.Fields(args)...))
		if exitCode(err) != 2 || out.Len() > 0 || !strings.Contains(err.Error(), "bogus") {
			t.Errorf("%s: exit code %d, %v: %s", args, exitCode(err), err, &out)
		}
	}
}
