// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package use

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/mounttable"
)

// Named returns the use with the processes behind it, as far as they can be found. It looks at the files of all
// processes, so it is for what is told to people.
func (u Use) Named(t mounttable.Table) Use {
	switch u.Code {
	case Mounted:
		u.Processes = holders(u.Places)
	case Unseen:
		u.Processes = holding(func(id int, file string) bool { return !t.Has(id) && onOverlay(file) })
		u.Kept = t.Kept()
	}
	return u
}

// holders returns a process of every other mount namespace that has one of the mounts, and those that have a file, a
// working directory or a mapping in one that is in the namespace of this process.
func holders(places []mounttable.Place) (found []Process) {
	own := map[int]bool{}
	for _, p := range places {
		if p.PID == 0 {
			own[p.ID] = true
		} else if holder, alive := named(p.PID); alive {
			found = append(found, holder)
		}
	}
	if len(own) > 0 {
		found = append(found, holding(func(id int, _ string) bool { return own[id] })...)
	}
	return found
}

// holding returns the processes that have a file, a directory or a mapping for which is holds; it gets the id of the
// file's mount.
func holding(is func(mountID int, file string) bool) (found []Process) {
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, p := range processes {
		pid, err := strconv.Atoi(p.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if slices.ContainsFunc(files(pid), func(file string) bool {
			id, ok := mountID(file)
			return ok && is(id, file)
		}) {
			if holder, alive := named(pid); alive {
				found = append(found, holder)
			}
		}
	}
	return found
}

// files returns the links to all that a process has open, mapped, or as a directory.
func files(pid int) []string {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	all := []string{filepath.Join(dir, "cwd"), filepath.Join(dir, "root"), filepath.Join(dir, "exe")}
	for _, sub := range []string{"fd", "map_files"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil {
			continue // it has ended, or may not be looked into
		}
		for _, e := range entries {
			all = append(all, filepath.Join(dir, sub, e.Name()))
		}
	}
	return all
}

// mountID returns the id of the mount that a file was opened through, without asking its file system.
func mountID(file string) (id int, ok bool) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, file, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &st)
	return int(st.Mnt_id), err == nil && st.Mask&unix.STATX_MNT_ID != 0
}

func onOverlay(file string) bool {
	var st unix.Statfs_t
	err := unix.Statfs(file, &st)
	return err == nil && int64(st.Type) == unix.OVERLAYFS_SUPER_MAGIC //nolint:unconvert // another type elsewhere
}

// named returns a process by its id, unless it has ended.
func named(pid int) (p Process, alive bool) {
	name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	return Process{pid, strings.TrimSpace(string(name))}, err == nil
}
