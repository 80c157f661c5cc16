// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/errtext"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/manifest"
)

// Deep compares what is in frozen nodes, files included, with what was in them when they were frozen, and returns
// those that were changed since. It neither asks nor trusts what is mounted. It reads all layers and storages, which
// may take long. Of nodes of which nothing was recorded, or of which the record is lost, what is there now is recorded;
// nothing else is changed.
func (c *Checker) Deep(ctx context.Context) (found []Problem, err error) {
	var frozen []dag.Node
	c.state.Graph(func(g *dag.Graph) {
		for _, n := range g.Nodes() {
			if n.Frozen && n.Damage == "" {
				frozen = append(frozen, n)
			}
		}
	})
	recorded := 0
	for _, n := range frozen {
		p, now, err := c.checkFrozen(ctx, n)
		if err != nil && !c.state.has(n.ID) {
			continue // it has gone in the meantime
		}
		if err != nil && ctx.Err() != nil {
			return found, err
		}
		if err != nil {
			what := "whether it was changed after it was frozen cannot be found out: " + errtext.Of(err)
			p = []Problem{{Subject: c.subject(n), Grave: true, What: what}}
		}
		found = append(found, p...)
		if now {
			recorded++
		}
	}
	if recorded > 0 {
		what := fmt.Sprintf("%d from before, of which it was not on record what was in them: recorded now", recorded)
		found = append(found, Problem{Subject: "frozen nodes", What: what})
	}
	return found, nil
}

// checkFrozen compares a frozen node with what is on record, and records what is not, which it reports.
func (c *Checker) checkFrozen(ctx context.Context, n dag.Node) (found []Problem, recorded bool, err error) {
	defer c.state.LeaseNodes(n.ID)()
	dir := c.nodes.FS(n.ID)
	t := dag.Attest{Node: n.ID}
	diffs := newDifferences()
	for _, part := range []struct {
		path string
		sum  digest.Digest
		walk manifest.Walk
		now  *digest.Digest
	}{
		{c.nodes.Manifest(n.ID), n.Digest, factsOf(ctx, dir), &t.Digest},
		{c.nodes.Contents(n.ID), n.Contents, contentsOf(ctx, dir), &t.Contents},
	} {
		err := errNoRecord
		if part.sum != "" {
			err = manifest.Compare(part.path, part.sum, part.walk, diffs.add)
		}
		switch {
		case err == nil:
			continue
		case part.sum != "" && (errdefs.IsDataLoss(err) || errors.Is(err, fs.ErrNotExist) && c.state.has(n.ID)):
			same, err := c.restore(part.path, part.sum, part.walk)
			if err != nil {
				return found, false, err
			}
			if !same {
				found = append(found, Problem{Subject: c.subject(n), Grave: true, What: changedSomewhere + restoreIt})
			}
		case errors.Is(err, errNoRecord) && diffs.count == 0:
			if *part.now, err = manifest.Write(part.path, part.walk); err != nil {
				return found, false, err
			}
		case !errors.Is(err, errNoRecord):
			return found, false, err
		}
	}
	if diffs.count > 0 {
		what := fmt.Sprintf("was changed after it was frozen: %s; %s", diffs, restoreIt)
		found = append(found, Problem{Subject: c.subject(n), Grave: true, What: what})
	}
	if t.Digest == "" && t.Contents == "" || diffs.count > 0 {
		return found, false, nil
	}
	// The content of storage nodes is summed up in the background, which may just not have come to it.
	return found, t.Digest != "", c.state.Do(t)
}

const (
	restoreIt = "states of storages that show it are no longer what they were; " +
		"find out what wrote to it, and restore it from a backup"
	changedSomewhere = "was changed after it was frozen, and the record of what was in it is lost, " +
		"so that nobody can say where: "
)

var errNoRecord = errors.New("there is no record")

// restore writes a lost manifest again if the tree still is what it was, which it reports.
func (c *Checker) restore(path string, sum digest.Digest, walk manifest.Walk) (same bool, err error) {
	is, err := manifest.Sum(walk)
	if err != nil || is != sum {
		return false, err
	}
	_, err = manifest.Write(path, walk)
	return err == nil, err
}

// subject names a node, with a storage that shows it.
func (c *Checker) subject(n dag.Node) (subject string) {
	if n.Kind == dag.Layer {
		return "layer " + n.ID.String()
	}
	subject = "node " + n.ID.String()
	c.state.Graph(func(g *dag.Graph) {
		for _, st := range g.Storages() {
			states := []dag.NodeID{st.Head}
			for _, p := range slices.Concat(st.Points, st.Aside) {
				states = append(states, p.Head)
			}
			if slices.ContainsFunc(states, func(head dag.NodeID) bool { return slices.Contains(g.Stack(head), n.ID) }) {
				subject += fmt.Sprintf(" of storage %q", st.Name)
				return
			}
		}
	})
	return subject
}

// differences are the paths of a node that are not what they were, the first ones by name.
type differences struct {
	count int
	named map[string]string
	order []string
}

// nameAtMost is how many paths are named.
const nameAtMost = 20

func newDifferences() *differences { return &differences{named: map[string]string{}} }

func (d *differences) add(one manifest.Difference) {
	if _, told := d.named[one.Path]; told {
		return // its metadata and its content
	}
	d.count++
	if len(d.order) < nameAtMost {
		d.named[one.Path] = string(one.Kind)
		d.order = append(d.order, one.Path)
	}
}

// String names the paths as a container has them.
func (d *differences) String() string {
	var parts []string
	for _, path := range d.order {
		text := "/"
		if path != "." {
			text += path
		}
		if !utf8.ValidString(text) {
			text = strconv.Quote(text)
		}
		if kind := d.named[path]; kind != string(manifest.Changed) {
			text += " (" + kind + ")"
		}
		parts = append(parts, text)
	}
	if more := d.count - len(d.order); more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(parts, ", ")
}
