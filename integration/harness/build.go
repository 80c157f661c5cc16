// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// program is something to execute: the file at path, under a name that tells in a list of processes what it is.
type program struct{ name, path string }

func (p program) command(args ...string) *exec.Cmd {
	return p.commandContext(context.Background(), args...)
}

func (p program) commandContext(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.path, args...)
	cmd.Args[0] = p.name
	return cmd
}

// built holds the binaries that this process has built, open, by package. It is shared by all tests of the process so
// that they, and each restart of a daemon, run the same binary, whatever becomes of the sources in the meantime and
// whoever else builds.
var built struct {
	sync.Mutex
	files map[string]*os.File
}

// build compiles a command of the repository with the race detector and with build tags, once in this process.
func (c toolchain) build(pkg string, tags ...string) (program, error) {
	built.Lock()
	defer built.Unlock()
	key := strings.Join(append([]string{pkg}, tags...), " ")
	f := built.files[key]
	if f == nil {
		var err error
		if f, err = c.compile(pkg, tags); err != nil {
			return program{}, fmt.Errorf("build %s: %w", pkg, err)
		}
		if built.files == nil {
			built.files = map[string]*os.File{}
		}
		built.files[key] = f
	}
	// The go command replaces binaries, it does not write into them, so this stays what was built. Not /proc/self:
	// on its way to execution a child rearranges its file descriptors.
	return program{name: f.Name(), path: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())}, nil
}

// compile returns the binary of a command. It is kept between runs: the go command relinks only what changed.
func (c toolchain) compile(pkg string, tags []string) (*os.File, error) {
	if err := c.lookAtSources(); err != nil {
		return nil, err
	}
	dir := filepath.Join(c.repository, ".cache", "race")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	unlock, err := lockFile(filepath.Join(dir, ".lock"), os.O_CREATE, syscall.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer unlock()
	binary := filepath.Join(dir, strings.Join(append([]string{filepath.Base(pkg)}, tags...), "-"))
	cmd := exec.Command("go", "build", "-race", "-buildvcs=false", "-tags", strings.Join(tags, ","), "-o", binary, pkg)
	cmd.Dir = c.repository
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return os.Open(binary)
}

// lookAtSources tells `go test` what the result of the test depends on: it knows which files a test opens or looks
// at, but not what a compiler reads that the test starts. Without this it would go on to show a cached success
// after a change to the daemon.
func (c toolchain) lookAtSources() error {
	for _, folder := range []string{"go.mod", "cmd", "dag", "integration", "servicing", "snapshotter"} {
		err := filepath.WalkDir(filepath.Join(c.repository, folder), func(file string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				_, err = os.Stat(file)
			}
			// A file that somebody removes or replaces at this moment is no reason to fail.
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("look at the sources: %w", err)
		}
	}
	return nil
}
