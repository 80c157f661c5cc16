// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/errtext"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/binding"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// hostCheck compares the state directory with what containerd has.
type hostCheck struct {
	host     Host // nil without a containerd
	state    *state.State
	storages *binding.Storages
}

// check compares the names with the keys that containerd has: one of both may have been restored from an older
// state.
func (c hostCheck) check(ctx context.Context) (found []state.Problem, _ error) {
	if c.host == nil {
		return []state.Problem{{
			Subject: "containerd",
			What: "it is not asked what it knows, because containerd.address is empty; " +
				"containers of other snapshotters that have labels of molt are not listed",
		}}, nil
	}
	ask, cancel := context.WithTimeout(ctx, use.AskTimeout)
	defer cancel()
	// The names are read before and after containerd is asked: what comes and goes in between is no problem.
	before := binding.NamesByKey(c.state)
	theirs, err := c.host.Snapshots(ask)
	if err != nil {
		return []state.Problem{{Subject: "containerd", What: "it cannot be asked what it knows: " + errtext.Of(err)}},
			nil
	}
	after := binding.NamesByKey(c.state)
	for _, k := range theirs {
		if _, known := before[k]; known {
			continue
		}
		if _, known := after[k]; !known {
			found = append(found, state.Problem{
				Subject: ofKey(k), Grave: true,
				What: "containerd knows it, and there is nothing of it here: " +
					"remove the container or image and make it anew; a storage with a name is found again by that",
			})
		}
	}
	for k, n := range after {
		if _, known := before[k]; known && !slices.Contains(theirs, k) {
			found = append(found, c.unknown(k, n))
		}
	}
	slices.SortFunc(found, func(a, b state.Problem) int { return strings.Compare(a.Subject, b.Subject) })
	return append(found, c.elsewhere(ctx)...), nil
}

// mostElsewhere is how many containers of other snapshotters are listed.
const mostElsewhere = 1000

// elsewhere looks for containers whose maker asks molt for a storage, and that are of another snapshotter: what is
// written in them is not kept.
func (c hostCheck) elsewhere(ctx context.Context) (found []state.Problem) {
	ctx, cancel := context.WithTimeout(ctx, use.AskTimeout)
	defer cancel()
	more := 0
	err := c.host.Elsewhere(ctx, func(e Elsewhere) error {
		if len(found) == mostElsewhere {
			more++
			return nil
		}
		found = append(found, e.problem())
		return nil
	})
	slices.SortFunc(found, func(a, b state.Problem) int { return strings.Compare(a.Subject, b.Subject) })
	if more > 0 {
		found = append(found, state.Problem{
			Subject: "containerd", What: fmt.Sprintf("%d more containers of other snapshotters have labels of molt",
				more),
		})
	}
	if err != nil {
		found = append(found, state.Problem{
			Subject: "containerd",
			What: "it cannot be asked for all containers of other snapshotters that have labels of molt: " +
				errtext.Of(err),
		})
	}
	return found
}

// problem says what is the matter with a container of another snapshotter, and what to do.
func (e Elsewhere) problem() state.Problem {
	p := state.Problem{Subject: fmt.Sprintf("container %q in namespace %q", e.Container, e.Namespace)}
	has, remedy := "the label", fmt.Sprintf("make the container again with the snapshotter %q, or without the label",
		e.Ours)
	if e.Pod != "" {
		p.Subject = fmt.Sprintf("pod %q in namespace %q", e.Pod, e.Namespace)
		has, remedy = "the annotation", fmt.Sprintf(
			"make the pod again with a runtime class whose runtime has the snapshotter %q, or without the annotation",
			e.Ours)
	}
	is := fmt.Sprintf("its snapshotter is %q", e.Snapshotter)
	if e.Snapshotter == "" {
		is = "it has no snapshotter"
	}
	p.What = fmt.Sprintf("it has %s %s=%q, but %s: molt does not keep what is written in it; save that, then %s",
		has, e.Label, e.Value, is, remedy)
	return p
}

func ofKey(k keys.Key) string { return fmt.Sprintf("key %q in namespace %q", k.Key, k.Namespace) }

// unknown is a key that containerd no longer knows. It removes such keys itself when it next collects
// garbage; what was written under one without a storage of its own would go with it.
func (c hostCheck) unknown(k keys.Key, names []dag.Name) state.Problem {
	p := state.Problem{
		Subject: ofKey(k),
		What:    "containerd does not know it any more, and will have it removed when it collects garbage",
	}
	for _, n := range names {
		if n.Kind != dag.Active || n.Identity == dag.Bound || keys.Parse(n.Key).Extraction() {
			continue
		}
		target, done := c.rescue(k, n)
		if done {
			p.What += fmt.Sprintf("; what was written in it is kept as storage %q", target)
			continue
		}
		p.What += "; what was written in it would go with it"
		p.Grave = true
		p.Remedy = fmt.Sprintf("what was written is kept as storage %q", target)
		p.Repair = func(ctx context.Context) error { return c.storages.Fork(ctx, n.Storage, target) }
	}
	return p
}

// rescue returns the name of the storage that keeps what was written under a key, or is to keep it, and reports whether
// it does. A storage that has the name for another reason is not taken for it.
func (c hostCheck) rescue(k keys.Key, n dag.Name) (target string, done bool) {
	var head dag.Node
	c.state.Graph(func(g *dag.Graph) {
		st, _ := g.Storage(n.Storage)
		head, _ = g.Node(st.Head)
		for _, other := range g.Storages() {
			if !other.Anonymous && head.Parent != 0 && slices.Contains(g.Stack(other.Head), head.Parent) {
				target, done = other.Name, true
			}
		}
	})
	// What was written since it was forked would need another one.
	if written, err := os.ReadDir(c.state.Nodes().FS(head.ID)); done && err == nil && len(written) == 0 {
		return target, true
	}
	for _, own := range []string{k.Key, head.ID.String()} {
		name, err := keys.StorageName(k.Namespace, "rescued-"+own)
		if err != nil {
			continue // the key has characters that no name of a storage has
		}
		target = name
		taken := false
		c.state.Graph(func(g *dag.Graph) { _, taken = g.Storage(name) })
		if !taken {
			break
		}
	}
	return target, false
}
