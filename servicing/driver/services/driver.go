// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package services makes the links by which services are started a set.
package services

import (
	"context"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/shared"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

const (
	servicesRule = "R14"
	unitDir      = "etc/systemd/system"
)

// startLinks are the links by which services are started, of one side: by the directory and the service, their names.
// The links of systemd are called like their service; those of System V have a letter and a number before.
type startLinks map[[2]string][]string

// driverName is what the driver is called in reports.
const driverName = "services"

// What the driver does besides having a name.
var _ plan.Finisher = (*driver)(nil)

// driver makes the links by which services are started a set.
type driver struct{ plan plan.Plan }

// New makes the driver of a plan.
func New(p plan.Plan) plan.Driver { return &driver{p} }

// Name returns what the driver is called.
func (dr *driver) Name() string { return driverName }

// Takes takes no path: the driver decides when the walk is over.
func (dr *driver) Takes(string) bool { return false }

// Finish makes the links by which services are started a set: what the user enabled or disabled counts, whatever
// the links of the base are called now, and those that arrive with nothing to start do not.
func (dr *driver) Finish(context.Context) error {
	if !dr.plan.Touched() {
		return nil
	}
	var links [3]startLinks
	for side, view := range dr.plan.Views().Sides() {
		var err error
		if links[side], err = findStartLinks(view); err != nil {
			return err
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(links[sides.New]), func(a, b [2]string) int {
		return strings.Compare(a[0]+"\x00"+a[1], b[0]+"\x00"+b[1])
	}) {
		for _, name := range links[sides.New][key] {
			if !slices.Contains(links[sides.Old][key], name) {
				if err := dr.startLinkArrives(path.Join(key[0], name), key, links); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// findStartLinks finds the links by which services are started.
func findStartLinks(view *tree.View) (startLinks, error) {
	out := make(startLinks)
	for _, parent := range []string{unitDir, "etc/systemd/user", "etc"} {
		dirs, err := sides.ReadDir(view, parent)
		if err != nil {
			return nil, err
		}
		for _, dir := range dirs {
			sysv := parent == "etc"
			if sysv && !sides.Matches("rc?.d", dir) {
				continue
			}
			if !sysv && !strings.HasSuffix(dir, ".wants") && !strings.HasSuffix(dir, ".requires") {
				continue
			}
			names, err := sides.ReadDir(view, path.Join(parent, dir))
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				key := [2]string{path.Join(parent, dir), name}
				if sysv && len(name) > 3 {
					key[1] = name[3:]
				}
				out[key] = append(out[key], name)
			}
		}
	}
	return out, nil
}

// startLinkArrives decides on a link that is new in the base.
func (dr *driver) startLinkArrives(name string, key [2]string, links [3]startLinks) error {
	t, err := dr.plan.Look(name)
	if err != nil || !t.U.Absent() || !t.N.Is(tree.Symlink) {
		return err
	}
	d := plan.Decision{Verdict: report.Keep, Rule: servicesRule, Driver: driverName, Result: sides.Nothing()}
	switch {
	case !slices.Equal(links[sides.Old][key], links[sides.User][key]):
		d.Reason = "the user decided otherwise about this service"
	case disabled(key[1], links):
		d.Reason = "disabled by the user"
	default:
		starts, err := sides.Resolve(sides.In(dr.plan.Views().New), name)
		if err != nil || starts.Absent() {
			return err // it never had anything to start
		}
		result, err := sides.Resolve(dr.plan.Seen, name)
		if err != nil || !result.Absent() {
			return err
		}
		d.Verdict, d.Reason = report.Drop, "what it starts is not in the result"
	}
	return shared.Again(dr.plan, t, d)
}

// disabled reports whether the user removed all links of a service.
func disabled(service string, links [3]startLinks) bool {
	return links[sides.Old].starts(service) && !links[sides.User].starts(service)
}

// starts reports whether there is a link for a service.
func (s startLinks) starts(service string) bool {
	for key := range s {
		if key[1] == service {
			return true
		}
	}
	return false
}
