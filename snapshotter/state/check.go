// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/errtext"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/mounttable"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/nodes"
)

// Problem is something that is not as it should be.
type Problem struct {
	// Subject is what the problem is with: "node n3", "storage \"default/web\"", "database".
	Subject string
	What    string
	// Grave problems keep something from being used, or will. The others are for somebody to know.
	Grave bool
	// Remedy is what Repair does about it, empty if only a person can decide; then What says between which ways.
	Remedy string
	// Repaired reports that the remedy was carried out.
	Repaired bool

	// Repair does what Remedy says; nil if there is none.
	Repair func(context.Context) error
}

// Checker finds what is wrong with a state directory. Each of its methods looks at one part of it, and changes nothing.
type Checker struct {
	state   *State
	nodes   *nodes.Dir
	ageing  *Ageing
	claimed func(dag.NodeID) bool
}

// NewChecker returns what looks at a state directory. claimed reports whether the work directory of a node is away
// for a while.
func NewChecker(s *State, claimed func(dag.NodeID) bool) *Checker {
	return &Checker{state: s, nodes: s.nodes, ageing: s.ageing, claimed: claimed}
}

// Graph looks at the graph in memory.
func (c *Checker) Graph(context.Context) (found []Problem, _ error) {
	var err error
	c.state.Graph(func(g *dag.Graph) { err = g.Check() })
	if err != nil {
		found = append(found, Problem{Subject: "graph", What: errtext.Of(err), Grave: true})
	}
	return found, nil
}

// Database looks at the database.
func (c *Checker) Database(context.Context) ([]Problem, error) {
	err := c.state.store.Verify()
	if err == nil || !errdefs.IsDataLoss(err) {
		return nil, err
	}
	return []Problem{{
		Subject: "database", Grave: true,
		What: errtext.Of(err) + "; restart the daemon: the graph is then rebuilt from the records beside the database",
	}}, nil
}

// Records looks at the copies of the records of the graph.
func (c *Checker) Records(context.Context) (found []Problem, _ error) {
	wrong, err := c.state.mirror.wrong()
	for _, one := range wrong {
		found = append(found, Problem{
			Subject: one.what, What: "is not what the graph says", Remedy: one.remedy,
			Repair: func(context.Context) error { return c.state.mirror.catchUp() },
		})
	}
	return found, err
}

// Nodes looks at the directories that the graph needs.
func (c *Checker) Nodes(context.Context) (found []Problem, _ error) {
	var known []dag.Node
	c.state.Graph(func(g *dag.Graph) { known = g.Nodes() })
	for _, n := range known {
		subject := "node " + n.ID.String()
		_, err := os.Lstat(c.nodes.FS(n.ID))
		quarantine := func(why string) Problem {
			return Problem{
				Subject: subject, What: why, Grave: true,
				Remedy: "it is quarantined: what needs it is refused with this reason",
				Repair: func(context.Context) error { return c.state.Do(dag.Quarantine{Node: n.ID, Reason: why}) },
			}
		}
		switch {
		case n.Damage != "":
			found = append(found, Problem{Subject: subject, What: n.Damage, Grave: true})
		case unfinished(n, c.state.boot): // which the disk had no room to record
			found = append(found, quarantine(halfWritten))
		case err != nil && c.state.has(n.ID):
			found = append(found, quarantine("its directory cannot be read: "+errtext.Of(err)))
		case err == nil && !n.Frozen:
			found = append(found, c.checkWork(n.ID, subject)...)
		}
	}
	return found, nil
}

// checkWork looks for the directory that overlayfs needs beside an open node.
func (c *Checker) checkWork(id dag.NodeID, subject string) []Problem {
	// Where it is being found out whether the node is in use, it is away for that time.
	claimed := c.claimed(id)
	if ready, _ := c.nodes.WorkDirs().Has(id); ready || claimed || c.claimed(id) || !c.state.IsOpen(id) {
		return nil
	}
	return []Problem{{
		Subject: subject, What: "its work directory is missing", Grave: true, Remedy: "it is made anew",
		Repair: func(context.Context) error { return c.nodes.WorkDirs().Restore(id) },
	}}
}

// Directories looks for directories that nothing knows.
func (c *Checker) Directories(context.Context) (found []Problem, _ error) {
	present, err := c.nodes.List()
	if err != nil {
		return nil, err
	}
	leaving := c.state.doomed.List()
	for _, id := range present {
		// Nodes that are being made are not yet in the graph; those that are to be deleted are no longer in it.
		if c.state.has(id) || slices.Contains(leaving, id) || c.state.leases.leased(id) || c.making(id) {
			continue
		}
		found = append(found, Problem{
			Subject: "directory n/" + fmt.Sprint(uint64(id)), What: "nothing knows what it is",
			Remedy: "it is set aside in " + c.nodes.Lost(),
			Repair: func(context.Context) error { return c.nodes.SetAside(id) },
		})
	}
	return found, nil
}

// making reports whether a node has come to be since the snapshotter was started: it may be about to be committed.
func (c *Checker) making(id dag.NodeID) bool { return id > c.state.first }

// Mounts looks for mounts that write where nobody may.
func (c *Checker) Mounts(context.Context) (found []Problem, _ error) {
	table, err := mounttable.Read(c.nodes.Published())
	if err != nil {
		return nil, err
	}
	c.state.Graph(func(g *dag.Graph) {
		for _, id := range table.AllWritten() {
			n, known := g.Node(id)
			switch {
			case !known && !c.doomedNode(id):
				found = append(found, Problem{Subject: "node " + id.String(),
					What:  "it is mounted, and nothing knows it",
					Grave: true})
			case known && n.Frozen && table.Upper(id):
				found = append(found, Problem{Subject: "node " + id.String(),
					What: "it is immutable, and mounted to be written to; stop who uses it", Grave: true})
			}
		}
	})
	return found, nil
}

func (c *Checker) doomedNode(id dag.NodeID) bool { return slices.Contains(c.state.doomed.List(), id) }

// Lost tells what rebuilding the graph came to. Repair does away with the account, never with what was set aside.
func (c *Checker) Lost(context.Context) (found []Problem, _ error) {
	rebuilt, aside, err := accounts(c.nodes.Lost())
	if err != nil {
		return nil, err
	}
	for _, path := range slices.Sorted(maps.Keys(rebuilt)) {
		a := rebuilt[path]
		forget := func(context.Context) error { return c.nodes.Remove(path) }
		told := Problem{Subject: "graph", Remedy: "this is not told any more", Repair: forget}
		told.What = fmt.Sprintf("was rebuilt on %s: %s", a.Time.Format("2006-01-02 15:04:05"), a.Why)
		found = append(found, told)
		for _, what := range append(a.Unread, a.Mends...) {
			found = append(found, Problem{Subject: "graph", What: "when it was rebuilt: " + what})
		}
	}
	for _, path := range aside {
		found = append(found, Problem{Subject: "lost/" + filepath.Base(path),
			What: "a node that nothing needed when the graph was rebuilt; look at " + path + " and delete it"})
	}
	return found, nil
}

// Clock finds what is kept only because the clock is not believed.
func (c *Checker) Clock(context.Context) (found []Problem, _ error) {
	m := c.ageing.Moment()
	for _, name := range c.ageing.doubtful(m) {
		what := fmt.Sprintf("the clock says %s: %s", m.Wall.Format(time.RFC3339), doubt)
		found = append(found, Problem{Subject: fmt.Sprintf("storage %q", name), What: what})
	}
	return found, nil
}
