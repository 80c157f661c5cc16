// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package mounttable tells which directories of nodes are mounted anywhere on the machine.
//
// The kernel does not keep two overlays from using one upper directory, and nothing keeps a lower directory from being
// deleted under a mount: both are asked of the mount tables before a node is touched. Containers, shims and containerd may
// live in mount namespaces of their own, so the table of every namespace that a process is in is read.
package mounttable

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// Table is what was mounted when it was read.
type Table struct {
	written map[dag.NodeID]bool // upper directories, and what is mounted itself
	upper   map[dag.NodeID]bool
	read    map[dag.NodeID]bool
}

// Written tells whether a node is the upper directory of an overlay, or mounted itself.
func (t Table) Written(id dag.NodeID) bool { return t.written[id] }

// Used tells whether a node is part of any mount.
func (t Table) Used(id dag.NodeID) bool { return t.written[id] || t.read[id] }

// Upper tells whether a node is the upper directory of an overlay.
func (t Table) Upper(id dag.NodeID) bool { return t.upper[id] }

// AllWritten returns all nodes that are written to, or mounted themselves, by rising id. Of those that are only read it cannot
// always be told whose they are.
func (t Table) AllWritten() []dag.NodeID {
	all := maps.Clone(t.written)
	delete(all, 0) // what is mounted from elsewhere below the directory
	return slices.Sorted(maps.Keys(all))
}

// Read reads the mount tables of all processes for mounts of the nodes in the directory published. It fails
// when that of a process that may be looked into cannot be read: a mount might be in just that one.
func Read(published string) (Table, error) {
	r := reader{
		published: published,
		table:     Table{written: map[dag.NodeID]bool{}, upper: map[dag.NodeID]bool{}, read: map[dag.NodeID]bool{}},
		seen:      map[string]bool{},
	}
	if err := r.process(self); err != nil {
		return Table{}, fmt.Errorf("read mount table: %w", err)
	}
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return Table{}, fmt.Errorf("list processes: %w", err)
	}
	for _, p := range processes {
		if !number.MatchString(p.Name()) {
			continue
		}
		if err := r.process(p.Name()); err != nil && !passedOver(err) {
			return Table{}, fmt.Errorf("read mount table: %w", err)
		}
	}
	return r.table, nil
}

// number is what processes are called in the list of them.
var number = regexp.MustCompile(`^[0-9]+$`)

// self is the process that reads.
const self = "self"

type reader struct {
	published string
	within    place // of published
	table     Table
	seen      map[string]bool // mount namespaces
}

// place is where a directory is within its file system. A bind mount shows only that.
type place struct {
	major, minor int
	path         string
}

// locate finds out where the published directory is within its file system.
func (r *reader) locate(mounts []*mountinfo.Info) error {
	longest := -1
	for _, m := range mounts {
		below, ok := strings.CutPrefix(r.published+"/", strings.TrimSuffix(m.Mountpoint, "/")+"/")
		// Of several mounts in one place the last one shows.
		if ok && len(m.Mountpoint) >= longest {
			longest = len(m.Mountpoint)
			r.within = place{m.Major, m.Minor, filepath.Join(m.Root, below)}
		}
	}
	if longest < 0 {
		return fmt.Errorf("no mount shows %s", r.published)
	}
	return nil
}

func (r *reader) process(pid string) error {
	namespace, err := os.Readlink(filepath.Join("/proc", pid, "ns/mnt"))
	if err != nil {
		return err
	}
	if r.seen[namespace] {
		return nil
	}
	f, err := os.Open(filepath.Join("/proc", pid, "mountinfo"))
	if err != nil {
		return err
	}
	mounts, err := mountinfo.GetMountsFromReader(f, nil)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	r.seen[namespace] = true
	if pid == self {
		if err := r.locate(mounts); err != nil {
			return err
		}
	}
	for _, m := range mounts {
		r.add(m)
	}
	return nil
}

// passedOver tells whether a process ended while it was looked at, is a kernel thread or zombie without a namespace, or may not
// be looked into. The last happens where the daemon runs with less privilege than other processes: with CAP_SYS_PTRACE it sees
// those of containerd and of containers, and the init of a sandbox around it all, which it may not see, mounts no containers.
func passedOver(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL)
}

func (r *reader) add(m *mountinfo.Info) {
	if m.FSType != "overlay" {
		below, ok := strings.CutPrefix(m.Root, strings.TrimSuffix(r.within.path, "/")+"/")
		if ok && m.Major == r.within.major && m.Minor == r.within.minor {
			r.table.written[nodeOf(content.FindString(below))] = true
		}
		return
	}
	lowers, upper := directories(m.VFSOptions)
	ours := strings.HasPrefix(upper, r.published+"/")
	if ours {
		r.table.written[nodeOf(upper)], r.table.upper[nodeOf(upper)] = true, true
	}
	for _, lower := range lowers {
		// containerd shortens long lists to paths relative to our directory; the upper directory tells whose they are.
		if strings.HasPrefix(lower, r.published+"/") || !strings.HasPrefix(lower, "/") && (ours || upper == "") {
			r.table.read[nodeOf(lower)] = true
		}
	}
}

// directories returns the lower directories and the upper one from the options of an overlay.
func directories(options string) (lowers []string, upper string) {
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "lowerdir", "lowerdir+":
			lowers = append(lowers, strings.Split(value, ":")...)
		case "upperdir":
			upper = value
		}
	}
	return lowers, upper
}

// content is what the path of anything in the content of a node begins with.
var content = regexp.MustCompile(`^[0-9]+/fs\b`)

var nodePath = regexp.MustCompile(`(?:^|/)([0-9]+)/fs$`)

// nodeOf returns the node whose content a path is, 0 if it is none.
func nodeOf(path string) dag.NodeID {
	match := nodePath.FindStringSubmatch(path)
	if match == nil {
		return 0
	}
	var id dag.NodeID
	if _, err := fmt.Sscan(match[1], &id); err != nil {
		return 0
	}
	return id
}
