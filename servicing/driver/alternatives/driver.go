// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package alternatives merges what update-alternatives keeps: records and links together.
package alternatives

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/dpkg"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/shared"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// Where update-alternatives keeps its records and links.
const (
	alternativesDir      = "var/lib/dpkg/alternatives"
	alternativesLinks    = "etc/alternatives"
	maxAlternatives      = 1 << 20
	alternativesRule     = "F6"
	alternativesAbsolute = "/" + alternativesLinks + "/"
)

// driverName is what the driver is called in reports.
const driverName = "alternatives"

// What the driver does besides having a name.
var (
	_ plan.Resolver = (*driver)(nil)
	_ plan.Finisher = (*driver)(nil)
)

// driver merges what update-alternatives keeps.
type driver struct{ plan plan.Plan }

// New makes the driver of a plan.
func New(p plan.Plan) plan.Driver { return &driver{p} }

// Name returns what the driver is called.
func (dr *driver) Name() string { return driverName }

// Takes takes the paths of this driver.
func (dr *driver) Takes(name string) bool {
	return path.Dir(name) == alternativesDir || path.Dir(name) == alternativesLinks
}

// Resolve keeps the user's for the time being: mergeAlternatives decides on a name as a whole. Nothing is put beside:
// update-alternatives would take it for another name.
func (dr *driver) Resolve(t sides.Three) (plan.Decision, bool, error) {
	return plan.Decision{
		Verdict: report.Keep, Rule: alternativesRule, Reason: "an alternative changed on both sides",
		Result: sides.Shows(sides.Merged(t, t.U)),
	}, true, nil
}

// Finish merges the records that both sides changed, and makes the links what they say.
func (dr *driver) Finish(context.Context) error {
	names, err := sides.ReadDir(dr.plan.Views().Said, alternativesDir)
	if err != nil {
		return err
	}
	for _, name := range names {
		t, err := dr.plan.Look(path.Join(alternativesDir, name))
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
		if err := dr.mergeAlternative(name, t); err != nil {
			return err
		}
	}
	return nil
}

func (dr *driver) mergeAlternative(name string, t sides.Three) error {
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
	link, err := dr.plan.Look(path.Join(alternativesLinks, name))
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
	d := plan.Decision{
		Verdict: report.Merge, Rule: alternativesRule, Driver: driverName, Reason: fmt.Sprintf("%s: stands for %s",
			result.Status, target), Result: sides.Makes(t, result.Render()),
	}
	if err := shared.Again(dr.plan, t, d); err != nil {
		return err
	}
	return dr.linkAlternative(name, target, result)
}

// linkAlternative makes the links of a name and its slaves.
func (dr *driver) linkAlternative(name, target string, a *dpkg.Alternatives) error {
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
		t, err := dr.plan.Look(at)
		if err != nil {
			return err
		}
		d := plan.Decision{Verdict: report.Merge, Rule: alternativesRule, Driver: driverName,
			Reason: "as its record says"}
		if err := shared.ShowLink(dr.plan, t, links[at], d); err != nil {
			return err
		}
	}
	return nil
}
