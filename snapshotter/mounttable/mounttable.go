// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package mounttable reports which directories of nodes are mounted anywhere on the machine, and by which processes.
//
// The kernel does not keep two overlays from using one upper directory, and nothing keeps a lower directory from being
// deleted under a mount: both are asked of the mount tables before a node is touched. Containers, shims and containerd
// may live in mount namespaces of their own, so the table of every namespace that a process is in is read. A mount that
// is in no such table (unmounted lazily, or in a namespace without a process) is not seen here: the kernel is asked for
// that, see package use.
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
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// Table is what was mounted when it was read.
type Table struct {
	written map[dag.NodeID][]Place // upper directories, and what is mounted itself
	upper   map[dag.NodeID]bool
	read    map[dag.NodeID]bool
	// relative are overlays whose upper directory is given by a relative path, which could be that of a node.
	relative []relativeUpper
	ids      map[int]bool      // the ids of all mounts that were seen
	kept     map[string]string // files that keep a mount namespace, by the namespace
}

// Place is where a mount is.
type Place struct {
	// Point is the mount point, as processes in its mount namespace see it.
	Point string
	// PID is a process in its mount namespace, 0 for the namespace of this process.
	PID int
	// ID is the id of the mount. Once the mount is gone, another one may get it.
	ID int
}

type relativeUpper struct {
	path  string
	place Place
}

// Written reports whether a node is the upper directory of an overlay, or mounted itself.
func (t Table) Written(id dag.NodeID) bool { return len(t.written[id]) > 0 }

// Places returns where a node is mounted to be written.
func (t Table) Places(id dag.NodeID) []Place { return t.written[id] }

// Resembling returns the mounts whose upper directory could be that of a node: it is given by a relative path, and
// nothing shows relative to what.
func (t Table) Resembling(fs string) (places []Place) {
	for _, r := range t.relative {
		if strings.HasSuffix(fs, "/"+r.path) {
			places = append(places, r.place)
		}
	}
	return places
}

// Has reports whether a mount is in one of the tables.
func (t Table) Has(mountID int) bool { return t.ids[mountID] }

// Kept returns the files that keep a mount namespace in which there is no process. What is mounted there was not seen.
func (t Table) Kept() []string { return slices.Sorted(maps.Values(t.kept)) }

// Used reports whether a node is part of any mount.
func (t Table) Used(id dag.NodeID) bool { return t.Written(id) || t.read[id] }

// Upper reports whether a node is the upper directory of an overlay.
func (t Table) Upper(id dag.NodeID) bool { return t.upper[id] }

// AllWritten returns all nodes that are written to, or mounted themselves, by rising id. Of those that are only read it
// cannot always be told whose they are.
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
		table: Table{
			written: map[dag.NodeID][]Place{}, upper: map[dag.NodeID]bool{}, read: map[dag.NodeID]bool{},
			ids: map[int]bool{}, kept: map[string]string{},
		},
		seen: map[string]bool{},
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
	maps.DeleteFunc(r.table.kept, func(namespace, _ string) bool { return r.seen[namespace] })
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
	id, _ := strconv.Atoi(pid) // 0 for this process
	for _, m := range mounts {
		r.add(m, Place{Point: m.Mountpoint, PID: id, ID: m.ID})
	}
	return nil
}

// passedOver reports whether a process ended while it was looked at, is a kernel thread or zombie without a namespace,
// or may not be looked into. The last happens where the daemon runs with less privilege than other processes: with
// CAP_SYS_PTRACE it sees those of containerd and of containers, and the init of a sandbox around it all, which it may
// not see, mounts no containers.
func passedOver(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.ESRCH) ||
		errors.Is(err, unix.EINVAL)
}

func (r *reader) add(m *mountinfo.Info, at Place) {
	r.table.ids[m.ID] = true
	switch m.FSType {
	case "overlay":
		r.addOverlay(m, at)
		return
	case "nsfs":
		if strings.HasPrefix(m.Root, "mnt:") {
			r.table.kept[m.Root] = m.Mountpoint
		}
	}
	below, ok := strings.CutPrefix(m.Root, strings.TrimSuffix(r.within.path, "/")+"/")
	if ok && m.Major == r.within.major && m.Minor == r.within.minor {
		r.write(nodeOf(content.FindString(below)), at)
	}
}

func (r *reader) write(id dag.NodeID, at Place) {
	r.table.written[id] = append(r.table.written[id], at)
}

func (r *reader) addOverlay(m *mountinfo.Info, at Place) {
	lowers, upper := directories(m.VFSOptions)
	id, alias := r.identify(upper, at.PID)
	if id != 0 {
		r.write(id, at)
		r.table.upper[id] = true
	} else if upper != "" && !filepath.IsAbs(upper) {
		r.table.relative = append(r.table.relative, relativeUpper{upper, at})
	}
	for _, lower := range lowers {
		// containerd shortens long lists to paths relative to our directory; the upper directory shows whose they are.
		relative := !filepath.IsAbs(lower) && (id != 0 || upper == "")
		if strings.HasPrefix(lower, r.published+"/") || relative || alias {
			r.table.read[nodeOf(lower)] = true
		}
	}
}

// identify returns the node whose content an upper directory is, 0 if it is none of ours. It may have been mounted by
// another path, by a link or a bind mount, as the process saw it: that is an alias.
func (r *reader) identify(upper string, pid int) (id dag.NodeID, alias bool) {
	if strings.HasPrefix(upper, r.published+"/") {
		return nodeOf(upper), false
	}
	if !filepath.IsAbs(upper) {
		return 0, false
	}
	seen := upper
	if pid != 0 {
		seen = fmt.Sprintf("/proc/%d/root%s", pid, upper)
	}
	// n/<id>/fs: what is two levels above is the directory of all nodes, or it is none of ours.
	var all, two, one unix.Stat_t
	if unix.Stat(seen+"/../..", &two) != nil || unix.Stat(r.published, &all) != nil ||
		two.Dev != all.Dev || two.Ino != all.Ino || unix.Stat(seen+"/..", &one) != nil {
		return 0, false
	}
	entries, err := os.ReadDir(r.published)
	if err != nil {
		return 0, false
	}
	for _, e := range entries {
		var st unix.Stat_t
		node := filepath.Join(r.published, e.Name())
		if unix.Stat(node, &st) == nil && st.Dev == one.Dev && st.Ino == one.Ino {
			return nodeOf(node + "/fs"), true
		}
	}
	return 0, false
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
