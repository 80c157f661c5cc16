// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/dag/salvage"
	"github.com/molt-snapshotter/molt-snapshotter/dag/store"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/nodes"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/records"
)

// opening is a state directory whose graph is being opened.
type opening struct {
	nodes    *nodes.Dir
	files    *records.Dir
	database string
	present  []dag.NodeID // that have a directory
	highest  dag.NodeID   // that has or had a directory
	recorded uint64       // the newest change in the files
}

// openGraph opens the database. When it is lost, damaged or older than the files beside it, the graph is rebuilt from
// those: what is on disk is newer than any backup of the database, and a node that a backup has and
// that no longer has a directory is of no use.
func openGraph(dir *nodes.Dir) (*store.Store, *records.Dir, []dag.NodeID, error) {
	o := opening{nodes: dir, database: filepath.Join(dir.Root(), "graph.db")}
	older, err := o.look()
	if err != nil {
		return nil, nil, nil, err
	}
	st, err := store.Open(o.database, o.highest)
	why := o.untrusted(st, err)
	if why == "" {
		if older && err == nil { // what a change that is lost has deleted tells of no change
			err = o.files.SetPosition(records.Position{Sequence: o.recorded})
		}
		return st, o.files, o.present, err
	}
	sequence := o.recorded
	if st != nil {
		sequence = max(sequence, st.Sequence())
		if err := st.Close(); err != nil {
			return nil, nil, nil, err
		}
	}
	if st, err = o.rebuild(why, sequence+1); err != nil {
		return nil, nil, nil, fmt.Errorf("rebuild the graph: %w", err)
	}
	return st, o.files, o.present, nil
}

// look finds out what is there beside the database, and reports whether the database may be older than that.
func (o *opening) look() (older bool, err error) {
	if o.files, err = records.Open(o.nodes.Records()); err != nil {
		return false, err
	}
	o.files.RemoveWith(o.nodes.Remove)
	if o.present, err = o.nodes.List(); err != nil {
		return false, err
	}
	discarded, err := o.nodes.Discarded()
	if err != nil {
		return false, err
	}
	o.highest = slices.Max(append(slices.Concat(o.present, discarded), 0))
	position, err := o.files.Position()
	if err != nil && !errdefs.IsDataLoss(err) {
		return false, err
	}
	if older, err = store.MayBeOlder(o.database); err != nil {
		return older, err
	}
	// The number is 0 when it is lost or damaged, or when there never was a change; an older one ends before what is
	// copied.
	if o.recorded = position.Sequence; o.recorded == 0 || older {
		newest, err := o.newest()
		if err != nil {
			return older, err
		}
		o.recorded = max(o.recorded, newest)
	}
	return older, nil
}

// newest returns the newest change of which a record was written. What is damaged tells none.
func (o opening) newest() (sequence uint64, err error) {
	var paths []string
	for _, kind := range records.Kinds() {
		files, err := o.files.Files(kind)
		if err != nil {
			return 0, err
		}
		paths = append(paths, files...)
	}
	for _, id := range o.present {
		paths = append(paths, o.nodes.Record(id))
	}
	for _, path := range paths {
		var record json.RawMessage
		of, err := records.ReadFile(path, &record)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !isDamage(err) {
			return 0, err
		}
		sequence = max(sequence, of)
	}
	return sequence, nil
}

// lostDatabase is why a database is not trusted of which there is nothing to keep.
const lostDatabase = "the database is lost"

// untrusted says why the graph in the database is not the one to go on with, empty if it is, or if the error says why
// it cannot be known.
func (o opening) untrusted(st *store.Store, err error) string {
	switch {
	case errdefs.IsDataLoss(err):
		return err.Error()
	case err != nil:
		return ""
	case st.Sequence() == 0 && (len(o.present) > 0 || o.recorded > 0):
		return lostDatabase
	case st.Sequence() < o.recorded:
		return fmt.Sprintf("the database is older than what is on disk: it holds %d changes of %d", st.Sequence(),
			o.recorded)
	}
	return ""
}

// rebuild makes a database out of the records beside it. The old one is kept under another name, and directories that
// nothing knows are set aside: nothing is deleted. After a crash it begins again.
func (o opening) rebuild(why string, sequence uint64) (*store.Store, error) {
	log.L.WithField("why", why).Warn("the graph is rebuilt from the directories of its nodes and the records beside " +
		"them")
	remains, unread, err := o.remains()
	if err != nil {
		return nil, err
	}
	graph, mends, unneeded := salvage.Graph(remains, clock.Now())
	if err := o.account(why, unread, mends, unneeded); err != nil {
		return nil, err
	}
	for _, one := range unread {
		if err := o.keep(one.path); err != nil {
			return nil, err
		}
	}
	for _, id := range unneeded {
		if _, known := graph.Node(id); known {
			continue
		}
		if err := o.nodes.SetAside(id); err != nil {
			return nil, err
		}
	}
	if why != lostDatabase {
		if err := os.Rename(o.database, fmt.Sprintf("%s.%d", o.database, time.Now().UnixNano())); err != nil {
			return nil, err
		}
	}
	highest, update := o.highest, highestUpdate(graph)
	for _, n := range graph.Nodes() {
		highest = max(highest, n.ID) // what stands in for a node may have an id of its own
	}
	for _, u := range remains.Updates {
		update = max(update, u.ID)
	}
	if err := store.Write(o.database, graph, sequence, highest, update); err != nil {
		return nil, err
	}
	return store.Open(o.database, o.highest)
}

// highestUpdate returns the highest id of an update that a storage remembers.
func highestUpdate(g *dag.Graph) (id dag.UpdateID) {
	for _, st := range g.Storages() {
		for _, p := range slices.Concat(st.Points, st.Aside) {
			id = max(id, p.Update)
		}
	}
	return id
}

// remains reads all records, and tells which are damaged.
func (o opening) remains() (r salvage.Remains, unread []unreadable, err error) {
	for _, id := range o.present {
		var n nodeRecord
		_, err := records.ReadFile(o.nodes.Record(id), &n)
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist):
		case !isDamage(err):
			return r, nil, err
		default:
			unread = append(unread, unreadable{o.nodes.Record(id), err})
		}
		if err != nil || n.ID != id {
			r.Nodes = append(r.Nodes, salvage.Remain{Node: dag.Node{ID: id}, Bare: true})
			continue
		}
		r.Nodes = append(r.Nodes, salvage.Remain{Node: n.Node, Storage: n.Storage, Key: n.Key})
	}
	var bad [3][]unreadable
	var errs [3]error
	r.Names, bad[0], errs[0] = readAll[dag.Name](o.files, records.Names)
	r.Storages, bad[1], errs[1] = readAll[dag.Storage](o.files, records.Storages)
	r.Updates, bad[2], errs[2] = readAll[dag.Update](o.files, records.Updates)
	return r, slices.Concat(append(bad[:], unread)...), errors.Join(errs[:]...)
}

// unreadable is a record that is damaged.
type unreadable struct {
	path string
	err  error
}

// isDamage reports whether a record could not be read because of what it is. What the machine lacks, or does not let
// this process do, says nothing of the record: with that repaired, it can be read.
func isDamage(err error) bool { return errdefs.IsDataLoss(err) || errors.Is(err, unix.EIO) }

func readAll[V any](files *records.Dir, kind records.Kind) (all []V, unread []unreadable, err error) {
	paths, err := files.Files(kind)
	if err != nil {
		return nil, nil, err
	}
	for _, path := range paths {
		var v V
		_, err := records.ReadFile(path, &v)
		switch {
		case err == nil:
			all = append(all, v)
		case !isDamage(err):
			return nil, nil, err
		default:
			unread = append(unread, unreadable{path, err})
		}
	}
	return all, unread, nil
}

// Rebuilt is the account of a rebuilding of the graph.
type Rebuilt struct {
	Time time.Time `json:"time"`
	// Why the database could not be used.
	Why string `json:"why"`
	// Unread are the records that could not be read.
	Unread []string `json:"unread,omitempty"`
	// Mends are what had to be done to make a sound graph of the others.
	Mends []string `json:"mends,omitempty"`
	// Aside are the nodes that nothing needed, whose directories were set aside.
	Aside []dag.NodeID `json:"aside,omitempty"`
}

// keep sets a damaged record aside, which would otherwise be written again or removed: there may be something to be
// read from it.
func (o opening) keep(path string) error {
	rest, err := filepath.Rel(o.nodes.Root(), path)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s-%d", strings.ReplaceAll(rest, "/", "-"), time.Now().UnixNano())
	return os.Rename(path, filepath.Join(o.nodes.Lost(), name))
}

const accountPrefix = "rebuilt-"

// account writes down what is done, for people to look at, see [Checker.Lost].
func (o opening) account(why string, unread []unreadable, mends []salvage.Mend, aside []dag.NodeID) error {
	a := Rebuilt{Time: clock.Now(), Why: why, Aside: aside}
	for _, one := range unread {
		a.Unread = append(a.Unread, one.err.Error())
	}
	for _, m := range mends {
		a.Mends = append(a.Mends, m.String())
	}
	data, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	name := accountPrefix + strconv.FormatInt(a.Time.UnixNano(), 10) + ".json"
	path, temporary := filepath.Join(o.nodes.Lost(), name), filepath.Join(o.nodes.Lost(), "new-"+name)
	err = os.WriteFile(temporary, data, 0o600)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		err = errors.Join(err, o.nodes.Delete(temporary)) // on a full disk the next start would leave another one
	}
	return err
}

// accounts returns the accounts of all times that the graph was rebuilt, by file, and what else was set aside.
func accounts(lost string) (rebuilt map[string]Rebuilt, aside []string, err error) {
	entries, err := os.ReadDir(lost)
	if err != nil {
		return nil, nil, err
	}
	rebuilt = map[string]Rebuilt{}
	for _, e := range entries {
		path := filepath.Join(lost, e.Name())
		if !strings.HasPrefix(e.Name(), accountPrefix) {
			aside = append(aside, path)
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, err
		}
		var a Rebuilt
		if json.Unmarshal(data, &a) != nil { // damaged: there to be looked at, like the rest
			aside = append(aside, path)
			continue
		}
		rebuilt[path] = a
	}
	return rebuilt, aside, nil
}
