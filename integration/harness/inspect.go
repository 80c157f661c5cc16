// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
)

// runcRoot is where the shim lets runc keep the state of containers, one directory per containerd namespace.
const runcRoot = "/run/containerd/runc"

// programs are what the harness starts, directly or not; nothing else with a root in its command line (an editor,
// say) is touched.
var programs = []string{"containerd", "containerd-shim-runc-v2", "containerd-molt-grpc", "ctr", "moltctl", "runc",
	"overlayd"}

// serversOf returns the processes of programs that were started with a path below root.
func serversOf(root string) ([]int, error) {
	return processes(func(pid int) bool {
		args := strings.Split(commandLine(pid), " ")
		return slices.Contains(programs, filepath.Base(args[0])) &&
			slices.ContainsFunc(args[1:], func(arg string) bool { return mentions(arg, root) })
	})
}

// inhabitantsOf returns the processes of containers: those in a cgroup that is called like root, and those whose
// root directory is made of directories below root. Having mounts of root in one's mount namespace is not enough:
// mounts propagate into those of innocent services.
func inhabitantsOf(root string) ([]int, error) {
	return processes(func(pid int) bool {
		cgroups, err := os.ReadFile(procFile(pid, "cgroup"))
		if err == nil && mentions(string(cgroups), "/"+filepath.Base(root)) {
			return true
		}
		made, err := rootMadeOf(pid, root)
		return err == nil && made
	})
}

// rootMadeOf says whether the root directory of a process is a mount made of directories below root.
func rootMadeOf(pid int, root string) (bool, error) {
	table, err := os.Open(procFile(pid, "mountinfo"))
	if err != nil {
		return false, err
	}
	defer table.Close()
	mounts, err := mountinfo.GetMountsFromReader(table, func(m *mountinfo.Info) (skip, stop bool) {
		return m.Mountpoint != "/" || !mentions(m.VFSOptions, root), false
	})
	return len(mounts) > 0, err
}

// processes returns the IDs of all other processes that match. A process may end at any time: match must take
// what cannot be read for no.
func processes(match func(pid int) bool) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && pid != os.Getpid() && match(pid) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// commandLine is empty for a process that has ended, reaped or not.
func commandLine(pid int) string {
	raw, err := os.ReadFile(procFile(pid, "cmdline"))
	if err != nil {
		return ""
	}
	return string(bytes.ReplaceAll(bytes.TrimRight(raw, "\x00"), []byte{0}, []byte(" ")))
}

func procFile(pid int, name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }

// mentions says whether text has root as a whole path or as the beginning of one. Names of roots end in digits, so
// one can be the beginning of another.
func mentions(text, root string) bool {
	for {
		i := strings.Index(text, root)
		if i < 0 {
			return false
		}
		text = text[i+len(root):]
		if text == "" || text[0] < '0' || text[0] > '9' {
			return true
		}
	}
}

// mountsOf returns the mount points of this mount namespace that are below root, or whose file system is made of
// directories below root, in the order in which they were mounted.
func mountsOf(root string) ([]string, error) {
	infos, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return !mentions(m.Mountpoint, root) && !mentions(m.VFSOptions, root) && !mentions(m.Root, root), false
	})
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	var points []string
	for _, m := range infos {
		points = append(points, m.Mountpoint)
	}
	return points, nil
}

// Mounts returns the mount points that belong to this harness in the mount namespace of the test: those below Root,
// and those made of directories below it.
func (h *Harness) Mounts() []string {
	h.t.Helper()
	points, err := mountsOf(h.root)
	h.must(err)
	return points
}

// runcStates returns the state directories of containers whose bundle is below root.
func runcStates(root string) ([]string, error) {
	states, err := filepath.Glob(filepath.Join(runcRoot, "*", "*", "state.json"))
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var dirs []string
	for _, state := range states {
		content, err := os.ReadFile(state)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list containers: %w", err)
		}
		if mentions(string(content), root) {
			dirs = append(dirs, filepath.Dir(state))
		}
	}
	return dirs, nil
}

// deleteContainers lets runc kill and remove every container whose bundle is below root, and removes the directory
// in which runc kept them.
func deleteContainers(root string) error {
	tools, err := findToolchain()
	if err != nil {
		return err
	}
	dirs, err := runcStates(root)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		parent, id := filepath.Split(dir)
		out, err := exec.CommandContext(ctx, tools.path("runc"), "--root", parent, "delete", "--force",
			id).CombinedOutput()
		cancel()
		if err != nil {
			return fmt.Errorf("delete container %s: %w: %s", id, err, out)
		}
	}
	if err := os.RemoveAll(filepath.Join(runcRoot, filepath.Base(root))); err != nil {
		return fmt.Errorf("remove the state of runc: %w", err)
	}
	return nil
}
