// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/dpkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Where update-alternatives keeps its records and links.
const (
	alternativesDir      = "var/lib/dpkg/alternatives"
	alternativesLinks    = "etc/alternatives"
	maxAlternatives      = 1 << 20
	alternativesRule     = "F6"
	alternativesAbsolute = "/" + alternativesLinks + "/"
)

func isAlternatives(p string) bool {
	return path.Dir(p) == alternativesDir || path.Dir(p) == alternativesLinks
}

// keepAlternatives keeps the user's for the time being: mergeAlternatives decides on a name as a whole. Nothing is put beside:
// update-alternatives would take it for another name.
func keepAlternatives(_ *planner, t sides.Three) (decision, bool, error) {
	return decision{
		verdict: report.Keep, rule: alternativesRule, reason: "an alternative changed on both sides",
		result: sides.Shows(sides.Merged(t, t.U)),
	}, true, nil
}

// mergeAlternatives merges the records that both sides changed, and makes the links what they say.
func mergeAlternatives(_ context.Context, p *planner) error {
	names, err := sides.ReadDir(p.Said, alternativesDir)
	if err != nil {
		return err
	}
	for _, name := range names {
		t, err := p.look(path.Join(alternativesDir, name))
		if err != nil {
			return err
		}
		same, err := sides.Compare(t)
		if err != nil {
			return err
		}
		if same.ON || same.OU || same.NU {
			continue
		}
		if err := p.mergeAlternative(name, t); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) mergeAlternative(name string, t sides.Three) error {
	contents, err := sides.ReadThree(t, maxAlternatives)
	if err != nil || contents == nil {
		return err
	}
	var parsed [3]*dpkg.Alternatives
	for i, content := range contents {
		var ok bool
		if parsed[i], ok = dpkg.ParseAlternatives(content); !ok && content != nil {
			return nil // what is not understood stays the user's
		}
		if content == nil {
			parsed[i] = &dpkg.Alternatives{}
		}
	}
	link, err := p.look(path.Join(alternativesLinks, name))
	if err != nil {
		return err
	}
	result := dpkg.MergeAlternatives(parsed[sides.Old], parsed[sides.New], parsed[sides.User], link.U.Link)
	if len(result.Choices) == 0 {
		return nil
	}
	target := link.U.Link
	if result.Status == "auto" {
		target = result.Best()
	}
	d := decision{
		verdict: report.Merge, rule: alternativesRule, driver: "alternatives", reason: fmt.Sprintf("%s: stands for %s",
			result.Status, target), result: sides.Makes(t, result.Render()),
	}
	if err := p.replace(t, d); err != nil {
		return err
	}
	return p.linkAlternative(name, target, result)
}

// linkAlternative makes the links of a name and its slaves.
func (p *planner) linkAlternative(name, target string, a *dpkg.Alternatives) error {
	links := map[string]string{path.Join(alternativesLinks, name): target}
	slaves := a.SlavesOf(target)
	for slave, at := range a.Slaves {
		links[path.Join(alternativesLinks, slave)] = slaves[slave]
		links[sides.TrimRoot(at)] = ""
		if slaves[slave] != "" {
			links[sides.TrimRoot(at)] = alternativesAbsolute + slave
		}
	}
	for _, at := range slices.Sorted(maps.Keys(links)) {
		t, err := p.look(at)
		if err != nil {
			return err
		}
		d := decision{verdict: report.Merge, rule: alternativesRule, driver: "alternatives", reason: "as its record says"}
		if err := p.showLink(t, links[at], d); err != nil {
			return err
		}
	}
	return nil
}

// showLink makes a path a symbolic link, or nothing, as the result of a decision. Something else than a link in its place is
// left alone.
func (p *planner) showLink(t sides.Three, target string, d decision) error {
	if t.U.File() && !t.U.Is(tree.Symlink) || t.U.Dir() || t.N.Dir() || !sides.PossiblePath(t.Path) || !sides.PossibleTarget(target) {
		return nil
	}
	if target != "" {
		like := t.U
		if like.Absent() {
			like = t.N
		}
		d.result = sides.Outcome{Node: sides.Node{View: p.User, Entry: tree.Entry{Path: t.Path, Kind: tree.Symlink, Link: target, Size: int64(len(target)), Meta: like.Meta}}}
		d.result.Mode = 0o777
	}
	if t.U.Link == target && t.N.Link == target || target == "" && t.U.Absent() && t.N.Absent() {
		return nil // so on both sides
	}
	return p.replace(t, d)
}

// replace decides on a path once more.
func (p *planner) replace(t sides.Three, d decision) error {
	p.findings = slices.DeleteFunc(p.findings, func(f finding) bool { return f.Path == t.Path })
	return p.apply(t, d)
}
