// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/errtext"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/mounttable"
)

// Problem is something that is not as it should be.
type Problem struct {
	// Subject is what the problem is with: "node n3", "storage \"default/web\"", "database".
	Subject string
	What    string
	// Grave problems keep something from being used, or will. The others are for somebody to know.
	Grave bool
	// Remedy is what [Snapshotter.Repair] does about it, empty if only a person can decide; then What says between which ways.
	Remedy string
	// Repaired tells that this was done.
	Repaired bool

	repair func(context.Context) error
}

// Check compares the graph, the database, the directories, the mounts and what containerd knows with each other, and returns
// what is wrong. It changes nothing. Work that is going on meanwhile is no problem.
func (s *Snapshotter) Check(ctx context.Context) ([]Problem, error) {
	var all []Problem
	for _, part := range []struct {
		what  string
		check func(context.Context) ([]Problem, error)
	}{
		{"graph", s.checkGraph},
		{"database", s.checkDatabase},
		{"records", s.checkRecords},
		{"nodes", s.checkNodes},
		{"directories", s.checkDirectories},
		{"mounts", s.checkMounts},
		{"reports", s.checkReports},
		{"what was set aside", s.checkLost},
		{"root", s.checkRoot},
		{"containerd", s.checkHost},
		{"clock", s.checkClock},
	} {
		found, err := part.check(ctx)
		if err != nil {
			return all, fmt.Errorf("check %s: %w", part.what, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// Repair does what has one right answer about the problems that Check finds, and returns all of them. The error tells what
// could not be done.
func (s *Snapshotter) Repair(ctx context.Context) ([]Problem, error) {
	all, err := s.Check(ctx)
	errs := []error{err}
	for i, p := range all {
		if p.repair == nil {
			continue
		}
		if err := p.repair(ctx); err != nil {
			errs = append(errs, fmt.Errorf("repair %s: %w", p.Subject, err))
			continue
		}
		all[i].Repaired = true
	}
	return all, errors.Join(errs...)
}

func (s *Snapshotter) checkGraph(context.Context) (found []Problem, _ error) {
	var err error
	s.Graph(func(g *dag.Graph) { err = g.Check() })
	if err != nil {
		found = append(found, Problem{Subject: "graph", What: errtext.Of(err), Grave: true})
	}
	return found, nil
}

func (s *Snapshotter) checkDatabase(context.Context) ([]Problem, error) {
	err := s.store.Verify()
	if err == nil || !errdefs.IsDataLoss(err) {
		return nil, err
	}
	return []Problem{{
		Subject: "database", Grave: true,
		What: errtext.Of(err) + "; restart the daemon: the graph is then rebuilt from the records beside the database",
	}}, nil
}

func (s *Snapshotter) checkRecords(context.Context) (found []Problem, _ error) {
	s.mirror.mu.Lock()
	defer s.mirror.mu.Unlock()
	wrong, err := s.mirror.compare()
	for _, one := range wrong {
		found = append(found, Problem{
			Subject: one.what, What: "is not what the graph says", Remedy: one.remedy,
			repair: func(context.Context) error { return s.mirror.catchUp() },
		})
	}
	return found, err
}

// checkNodes looks at the directories that the graph needs.
func (s *Snapshotter) checkNodes(context.Context) (found []Problem, _ error) {
	var known []dag.Node
	s.Graph(func(g *dag.Graph) { known = g.Nodes() })
	for _, n := range known {
		subject := "node " + n.ID.String()
		_, err := os.Lstat(s.nodes.FS(n.ID))
		quarantine := func(why string) Problem {
			return Problem{
				Subject: subject, What: why, Grave: true, Remedy: "it is quarantined: what needs it is refused with this reason",
				repair: func(context.Context) error { return s.do(dag.Quarantine{Node: n.ID, Reason: why}) },
			}
		}
		switch {
		case n.Damage != "":
			found = append(found, Problem{Subject: subject, What: n.Damage, Grave: true})
		case s.halfWritten(n): // which the disk had no room to record
			found = append(found, quarantine(halfWritten))
		case err != nil && s.has(n.ID):
			found = append(found, quarantine("its directory cannot be read: "+errtext.Of(err)))
		case err == nil && !n.Frozen:
			found = append(found, s.checkWork(n.ID, subject)...)
		}
	}
	return found, nil
}

// checkWork looks for the directory that overlayfs needs beside an open node.
func (s *Snapshotter) checkWork(id dag.NodeID, subject string) []Problem {
	// Where it is being found out whether the node is in use, it is away for that time.
	claimed := s.uses.holds(id)
	if ready, _ := s.nodes.HasWork(id); ready || claimed || s.uses.holds(id) || !s.isOpen(id) {
		return nil
	}
	return []Problem{{
		Subject: subject, What: "its work directory is missing", Grave: true, Remedy: "it is made anew",
		repair: func(context.Context) error { return s.nodes.RestoreWork(id) },
	}}
}

// has tells whether the graph has a node.
func (s *Snapshotter) has(id dag.NodeID) (ok bool) {
	s.Graph(func(g *dag.Graph) { _, ok = g.Node(id) })
	return ok
}

// checkDirectories looks for directories that nothing knows.
func (s *Snapshotter) checkDirectories(context.Context) (found []Problem, _ error) {
	present, err := s.nodes.List()
	if err != nil {
		return nil, err
	}
	leaving := s.doomed.list()
	for _, id := range present {
		// Nodes that are being made are not yet in the graph; those that are to be deleted are not any more.
		if s.has(id) || slices.Contains(leaving, id) || s.busy.pinned(id) || s.making(id) {
			continue
		}
		found = append(found, Problem{
			Subject: "directory n/" + fmt.Sprint(uint64(id)), What: "nothing knows what it is", Remedy: "it is set aside in " + s.nodes.Lost(),
			repair: func(context.Context) error { return s.nodes.SetAside(id) },
		})
	}
	return found, nil
}

// making tells whether a node has come to be since the snapshotter was started: it may be about to be committed.
func (s *Snapshotter) making(id dag.NodeID) bool { return id > s.first }

// checkMounts looks for mounts that write where nobody may.
func (s *Snapshotter) checkMounts(ctx context.Context) (found []Problem, _ error) {
	found = s.checkSight(ctx)
	table, err := mounttable.Read(s.nodes.Published())
	if err != nil {
		return nil, err
	}
	s.Graph(func(g *dag.Graph) {
		for _, id := range table.AllWritten() {
			n, known := g.Node(id)
			switch {
			case !known && !s.doomedNode(id):
				found = append(found, Problem{Subject: "node " + id.String(), What: "it is mounted, and nothing knows it", Grave: true})
			case known && n.Frozen && table.Upper(id):
				found = append(found, Problem{Subject: "node " + id.String(), What: "it is immutable, and mounted to be written to; stop who uses it", Grave: true})
			}
		}
	})
	return found, nil
}

func (s *Snapshotter) doomedNode(id dag.NodeID) bool { return slices.Contains(s.doomed.list(), id) }

// checkReports looks for reports that records name and that are gone.
func (s *Snapshotter) checkReports(context.Context) (found []Problem, _ error) {
	var updates []dag.Update
	s.Graph(func(g *dag.Graph) { updates = g.Updates() })
	for _, u := range updates {
		for _, name := range slices.Sorted(maps.Keys(u.Outcomes)) {
			o := u.Outcomes[name]
			if o.Report == "" {
				continue
			}
			there, err := s.reports.Has(o.Report)
			if err != nil {
				return nil, err
			}
			if !there {
				found = append(found, Problem{Subject: fmt.Sprintf("update %v", u.ID), What: fmt.Sprintf("its report on storage %q is gone", name)})
			}
		}
	}
	return found, nil
}

// checkLost tells what rebuilding the graph came to. Repair does away with the account, never with what was set aside.
func (s *Snapshotter) checkLost(context.Context) (found []Problem, _ error) {
	rebuilt, aside, err := accounts(s.nodes.Lost())
	if err != nil {
		return nil, err
	}
	for _, path := range slices.Sorted(maps.Keys(rebuilt)) {
		a := rebuilt[path]
		forget := func(context.Context) error { return s.nodes.Remove(path) }
		told := Problem{Subject: "graph", Remedy: "this is not told any more", repair: forget}
		told.What = fmt.Sprintf("was rebuilt on %s: %s", a.Time.Format("2006-01-02 15:04:05"), a.Why)
		found = append(found, told)
		for _, what := range append(a.Unread, a.Mends...) {
			found = append(found, Problem{Subject: "graph", What: "when it was rebuilt: " + what})
		}
	}
	for _, path := range aside {
		found = append(found, Problem{Subject: "lost/" + filepath.Base(path), What: "a node that nothing needed when the graph was rebuilt; look at " + path + " and delete it"})
	}
	return found, nil
}
