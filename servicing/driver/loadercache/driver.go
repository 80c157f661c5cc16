// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package loadercache makes the cache of the dynamic loader again where both sides changed it.
package loadercache

import (
	"context"
	"errors"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver/shared"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/ldcache"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

const (
	loaderCache    = "etc/ld.so.cache"
	maxLoaderCache = 16 << 20
)

// driverName is what the driver is called in reports.
const driverName = "loader-cache"

// What the driver does besides having a name.
var _ plan.Finisher = (*driver)(nil)

// driver makes the cache of the dynamic loader again.
type driver struct{ plan plan.Plan }

// New makes the driver of a plan.
func New(p plan.Plan) plan.Driver { return &driver{p} }

// Name returns what the driver is called.
func (dr *driver) Name() string { return driverName }

// Takes takes no path: the driver decides when the walk is over.
func (dr *driver) Takes(string) bool { return false }

// Finish makes the cache of the dynamic loader again where both sides changed it. It comes after all others: only
// libraries that are in the result are in it.
func (dr *driver) Finish(context.Context) error {
	t, err := dr.plan.Look(loaderCache)
	if err != nil {
		return err
	}
	same, err := sides.Compare(t)
	if err != nil || same.ON || same.OU || same.NU {
		return err
	}
	contents, err := sides.ReadThree(t, maxLoaderCache)
	if err != nil || contents == nil {
		return err
	}
	var caches [3]ldcache.Cache
	for i, content := range contents {
		var ok bool
		if caches[i], ok = ldcache.Parse(content); !ok && content != nil {
			return nil // what is not understood stays the user's
		}
	}
	var failed error
	merged := ldcache.Merge(caches[sides.Old], caches[sides.New], caches[sides.User], func(library string) bool {
		n, err := sides.Resolve(dr.plan.Seen, sides.TrimRoot(library))
		failed = errors.Join(failed, err)
		return !n.Absent()
	})
	if failed != nil {
		return failed
	}
	return shared.Again(dr.plan, t, plan.Decision{
		Verdict: report.Regenerate, Rule: "F1", Driver: driverName, Reason: "made of the libraries of both sides",
		Result: sides.Makes(t, merged.Render()),
	})
}
