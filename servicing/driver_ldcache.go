// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"errors"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/ldcache"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
)

const (
	loaderCache    = "etc/ld.so.cache"
	maxLoaderCache = 16 << 20
)

// mergeLoaderCache makes the cache of the dynamic loader anew where both sides changed it. It comes after all others: only
// libraries that are in the result are in it.
func mergeLoaderCache(_ context.Context, p *planner) error {
	t, err := p.look(loaderCache)
	if err != nil {
		return err
	}
	same, err := compare(t)
	if err != nil || same.on || same.ou || same.nu {
		return err
	}
	contents, err := readThree(t, maxLoaderCache)
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
	merged := ldcache.Merge(caches[sideOld], caches[sideNew], caches[sideUser], func(library string) bool {
		n, err := resolve(p.result, trimRoot(library))
		failed = errors.Join(failed, err)
		return !n.absent()
	})
	if failed != nil {
		return failed
	}
	return p.replace(t, decision{
		verdict: report.Regenerate, rule: "F1", driver: "loader-cache", reason: "made of the libraries of both sides",
		result: makes(t, merged.Render()),
	})
}
