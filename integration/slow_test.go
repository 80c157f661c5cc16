// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/molt-snapshotter/molt-snapshotter/integration/harness"
)

// slowShim is the shim of runc, whose start waits for the file "go" after it has made the file "starting".
const slowShim = `#!/bin/sh
case " $* " in *" start "*)
	: >'%[1]s/starting'
	while [ -e '%[1]s/starting' ] && [ ! -e '%[1]s/go' ]; do sleep 0.05; done
esac
exec containerd-shim-runc-v2 "$@"
`

// TestSlowStart: a runtime that mounts long after it was given the mounts, so that the storage was updated in the
// meantime, fails clearly and can be started again; with a restart of the daemon in between, too. Nothing is written
// into the frozen node.
func TestSlowStart(t *testing.T) {
	t.Parallel()
	h := harness.Start(t, impatient())
	h.Import(app(t, 1))
	h.Import(app(t, 2))
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("daemon restarted: ", restart), func(t *testing.T) { slowStart(t, h.For(t), restart) })
	}
}

func slowStart(t *testing.T, h *harness.Harness, restart bool) {
	id := fmt.Sprintf("slow-%t", restart)
	gate := h.Path(id)
	write(t, filepath.Join(gate, "containerd-shim-slow-v2"), fmt.Sprintf(slowShim, gate), 0o755)
	write(t, filepath.Join(gate, "go"), "", 0o600)
	c := h.Create(harness.ContainerSpec{
		ID: id, Image: appName(1), Args: []string{"sleep", "infinity"}, Labels: map[string]string{"molt.dev/storage": id},
		Runtime: filepath.Join(gate, "containerd-shim-slow-v2"),
	})
	c.Start()
	shell(c, customise)
	c.Kill()
	frozen := upperOf(t, c)

	for _, file := range []string{"go", "starting"} {
		if err := os.Remove(filepath.Join(gate, file)); err != nil {
			t.Fatal(err)
		}
	}
	started := make(chan error, 1)
	go func() { started <- c.TryStart() }()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(gate, "starting")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the start does not come to the shim")
		}
	}
	if restart {
		h.KillDaemon()
		h.StartDaemon()
	}
	h.Moltctl("update", "create", "--storage", id, "--to", appName(2))
	before := digestOf(t, frozen)
	write(t, filepath.Join(gate, "go"), "", 0o600)
	if err := <-started; err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("the late start got %v", err)
	}
	if digestOf(t, frozen) != before {
		t.Error("the frozen node was written to")
	}
	c.Start()
	expect(t, c, "app; cat /var/data/answer", "app 2\n42\n")
	c.Kill()
	if digestOf(t, frozen) != before {
		t.Error("the frozen node was written to by the next start")
	}
	h.Moltctl("check")
	c.Delete()
}

func write(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// upperOf returns the directory that a container writes to.
func upperOf(t *testing.T, c *harness.Container) string {
	t.Helper()
	for _, m := range c.Mounts() {
		for _, option := range m.Options {
			if upper, ok := strings.CutPrefix(option, "upperdir="); ok {
				return upper
			}
		}
	}
	t.Fatal("the container has no upper directory")
	return ""
}

// digestOf returns a digest of all names, modes, times and contents below a directory.
func digestOf(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder // which never fails to be written to
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		all.WriteString(fmt.Sprintln(path, info.Mode(), info.ModTime(), info.Size()))
		if !d.Type().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		all.Write(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(all.String())))
}
