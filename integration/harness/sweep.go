// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// rootPattern is what the root of every harness is called. The paths are short because the address of a unix
// socket has 108 bytes at most, and it is not TMPDIR because that can be long.
const rootPattern = "/tmp/molt-*"

// lockName is the file in a root that the test process holds a lock on for as long as it lives.
const lockName = "lock"

// newRoot makes a new root and locks it.
func newRoot() (root string, unlock func(), err error) {
	root, err = os.MkdirTemp(filepath.Split(rootPattern))
	if err != nil {
		return "", nil, err
	}
	// As with containerd's own directories, containers in a user namespace must get through.
	if err := os.Chmod(root, 0o711); err != nil {
		return "", nil, err
	}
	// The file gets its name when it is locked already: a sweep in between would take the root for abandoned.
	unlock, err = lockFile(filepath.Join(root, "new"), os.O_CREATE, syscall.LOCK_EX)
	if err != nil {
		return "", nil, err
	}
	if err := os.Rename(filepath.Join(root, "new"), filepath.Join(root, lockName)); err != nil {
		unlock()
		return "", nil, err
	}
	return root, unlock, nil
}

// SweepAbandoned removes everything that test processes left that ended without cleaning up. What belongs to a
// living test process is left alone.
func SweepAbandoned() error {
	roots, err := filepath.Glob(rootPattern)
	if err != nil {
		return fmt.Errorf("list roots: %w", err)
	}
	var errs []error
	for _, root := range roots {
		if checkRoot(root) != nil {
			continue
		}
		unlock, err := lockFile(filepath.Join(root, lockName), 0, syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			// Not a root, one that is being made, or one that another sweep has just removed.
			continue
		}
		if errors.Is(err, syscall.EWOULDBLOCK) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, sweep(root))
		unlock()
	}
	return errors.Join(errs...)
}

// sweep removes processes, containers, mounts, cgroups and files of a root by force. It can be called at any time
// and again; an error says what is left.
func sweep(root string) error {
	if err := checkRoot(root); err != nil {
		return err
	}
	// Servers first: they would start or mount more. Then containers, in order, by runc; then what runc lost.
	if err := killUntilGone(func() ([]int, error) { return serversOf(root) }); err != nil {
		return err
	}
	if err := deleteContainers(root); err != nil {
		return err
	}
	if err := killUntilGone(func() ([]int, error) { return inhabitantsOf(root) }); err != nil {
		return err
	}
	if err := unmountAll(root); err != nil {
		return err
	}
	if err := removeCgroups(filepath.Base(root)); err != nil {
		return err
	}
	if err := removeFiles(root); err != nil {
		return err
	}
	return leftoverError(root)
}

// removeFiles removes a root, its lock last: should it fail half-way, the next sweep still knows it for a root.
func removeFiles(root string) error {
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove root: %w", err)
	}
	for _, e := range entries {
		if e.Name() != lockName {
			if err := os.RemoveAll(filepath.Join(root, e.Name())); err != nil {
				return fmt.Errorf("remove root: %w", err)
			}
		}
	}
	if err := os.RemoveAll(root); err != nil {
		return fmt.Errorf("remove root: %w", err)
	}
	return nil
}

// checkRoot refuses everything that newRoot cannot have made: what is below a root, or only mentions it, is
// killed and removed, so a root that is empty or short would be the end of the machine.
func checkRoot(root string) error {
	if ok, err := filepath.Match(rootPattern+"[0-9]", root); !ok || err != nil {
		return fmt.Errorf("%q is not the root of a harness", root)
	}
	return nil
}

// leftoverError names everything that is still there of a root.
func leftoverError(root string) error {
	left, err := Leftovers(root)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("%s still has: %s", root, strings.Join(left, "; "))
	}
	return nil
}

// Leftovers lists what is there of the harness with this root: processes, containers that runc knows, mounts and
// files.
func Leftovers(root string) ([]string, error) {
	if err := checkRoot(root); err != nil {
		return nil, err
	}
	var left []string
	servers, err := serversOf(root)
	if err != nil {
		return nil, err
	}
	inhabitants, err := inhabitantsOf(root)
	if err != nil {
		return nil, err
	}
	for _, pid := range append(servers, inhabitants...) {
		left = append(left, fmt.Sprintf("process %d %q", pid, commandLine(pid)))
	}
	containers, err := runcStates(root)
	if err != nil {
		return nil, err
	}
	for _, c := range containers {
		left = append(left, "container "+c)
	}
	mounts, err := mountsOf(root)
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		left = append(left, "mount "+m)
	}
	if _, err := os.Lstat(root); !errors.Is(err, fs.ErrNotExist) {
		left = append(left, "directory "+root)
	}
	return left, nil
}

// killUntilGone kills the processes that list returns until it returns none.
func killUntilGone(list func() ([]int, error)) error {
	deadline := time.Now().Add(patience)
	for {
		pids, err := list()
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not end", pids)
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("kill process %d: %w", pid, err)
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// unmountAll detaches every mount of a root from this mount namespace, the latest first.
func unmountAll(root string) error {
	mounts, err := mountsOf(root)
	if err != nil {
		return err
	}
	for _, point := range slices.Backward(mounts) {
		err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		// A mount below one that was detached went with it.
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	return nil
}

// removeCgroups removes the cgroup of that name, with all below it, from each hierarchy.
func removeCgroups(name string) error {
	// One directory level more with cgroup v1, none with v2.
	var tops []string
	for _, pattern := range []string{"/sys/fs/cgroup/*/" + name, "/sys/fs/cgroup/" + name} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return fmt.Errorf("find cgroups: %w", err)
		}
		tops = append(tops, found...)
	}
	for _, top := range tops {
		if err := removeCgroup(top); err != nil {
			return err
		}
	}
	return nil
}

// removeCgroup removes a cgroup, children first. The kernel keeps one busy for a moment after its last process.
func removeCgroup(dir string) error {
	children, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove cgroup: %w", err)
	}
	for _, child := range children {
		if child.IsDir() {
			if err := removeCgroup(filepath.Join(dir, child.Name())); err != nil {
				return err
			}
		}
	}
	deadline := time.Now().Add(patience)
	for {
		err := unix.Rmdir(dir)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("remove cgroup %s: %w", dir, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
