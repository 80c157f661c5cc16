// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/integration/image"
)

// Environment variables that change where tests look and what they do when something is missing.
const (
	// EnvTools names the directory of the pinned tools; `make tools` fills the default, .cache/tools.
	EnvTools = "MOLT_TOOLS"
	// EnvStrict makes tests fail instead of skip when the machine lacks something, as `make test` wants it.
	EnvStrict = "MOLT_TEST_STRICT"
)

// toolchain is where the programs are that the harness runs.
type toolchain struct {
	// repository is the folder of go.mod.
	repository string
	// dir holds containerd, containerd-shim-runc-v2, ctr and runc.
	dir string
}

func (c toolchain) path(tool string) string { return filepath.Join(c.dir, tool) }

// tool is one of the pinned tools.
func (c toolchain) tool(name string) program { return program{name: c.path(name), path: c.path(name)} }

// Require skips the test (fails it with EnvStrict) when this machine cannot run containers: not root, tools not
// built, no static busybox. Start calls it; tests that prepare something before may call it first.
func Require(t testing.TB) {
	t.Helper()
	if _, err := findToolchain(); err != nil {
		if os.Getenv(EnvStrict) != "" {
			t.Fatalf("this machine cannot run the integration tests: %v", err)
		}
		t.Skipf("this machine cannot run the integration tests: %v", err)
	}
}

// findToolchain returns where the tools are, or every reason why containers cannot be run.
func findToolchain() (toolchain, error) {
	repository, err := findRepository()
	if err != nil {
		return toolchain{}, err
	}
	c := toolchain{repository: repository, dir: os.Getenv(EnvTools)}
	if c.dir == "" {
		c.dir = filepath.Join(repository, ".cache", "tools")
	}
	var missing []error
	if os.Geteuid() != 0 {
		missing = append(missing, errors.New("running containers needs root"))
	}
	for _, tool := range []string{"containerd", "containerd-shim-runc-v2", "ctr", "runc"} {
		if _, err := os.Stat(c.path(tool)); err != nil {
			missing = append(missing, fmt.Errorf("run `make tools`: %w", err))
		}
	}
	if _, err := image.Busybox(); err != nil {
		missing = append(missing, err)
	}
	return c, errors.Join(missing...)
}

// findRepository walks up from the working directory, which for a test is the folder of its package.
func findRepository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find the repository: no go.mod in the working directory or above")
		}
		dir = parent
	}
}

// environment is what programs see: the pinned tools come first in PATH, so that containerd finds the pinned shim
// and the shim the pinned runc. GORACE keeps the race detector from waiting for a second at each exit.
func (c toolchain) environment(more ...string) []string {
	path := strings.Join([]string{c.dir, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"},
		":")
	return append([]string{"PATH=" + path, "HOME=/root", "LANG=C.UTF-8", "GORACE=atexit_sleep_ms=10"}, more...)
}

// lockFile takes a lock on a file; it is held until unlock or until the process ends. A file that is not there is
// made if flags have os.O_CREATE, else the error is fs.ErrNotExist.
func lockFile(path string, flags, how int) (unlock func(), err error) {
	f, err := os.OpenFile(path, flags|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), how); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	// Closing the file drops the lock, and nothing was written to it: there is no error to report.
	return func() { _ = f.Close() }, nil
}
