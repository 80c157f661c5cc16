// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"errors"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/ldcache"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

const (
	loaderCache    = "etc/ld.so.cache"
	maxLoaderCache = 16 << 20
)

// loaderCacheDriver makes the cache of the dynamic loader again.
type loaderCacheDriver struct{ plan plan }

func newLoaderCache(p plan) driver { return &loaderCacheDriver{p} }

// Name implements the driver.
func (dr *loaderCacheDriver) Name() string { return "loader-cache" }

// Takes takes no path: the driver decides when the walk is over.
func (dr *loaderCacheDriver) Takes(string) bool { return false }

// Finish makes the cache of the dynamic loader anew where both sides changed it. It comes after all others: only
// libraries that are in the result are in it.
func (dr *loaderCacheDriver) Finish(context.Context) error {
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
	return again(dr.plan, t, decision{
		verdict: report.Regenerate, rule: "F1", driver: "loader-cache", reason: "made of the libraries of both sides",
		result: sides.Makes(t, merged.Render()),
	})
}
