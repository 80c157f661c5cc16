// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
)

// together is a step of several clients at once, each with keys and storages of its own. All come to their end, also when one
// fails.
func together(steps ...step) step {
	var all step
	var names []string
	for _, s := range steps {
		names = append(names, s.name)
		all.loose = slices.Concat(all.loose, s.loose)
		all.waiting = slices.Concat(all.waiting, s.waiting)
		all.elsewhere = slices.Concat(all.elsewhere, s.elsewhere)
		all.layers = slices.Concat(all.layers, s.layers)
		all.pulls = all.pulls || s.pulls
	}
	all.name = strings.Join(names, " | ")
	all.do = func(ctx context.Context, w *world) error {
		errs := make([]error, len(steps))
		var clients sync.WaitGroup
		for i, s := range steps {
			clients.Go(func() { errs[i] = s.do(ctx, w) })
		}
		clients.Wait()
		return errors.Join(errs...)
	}
	return all
}

// abreast is what clients do side by side: the first step of each at once, then the second ones, until all are done.
func abreast(clients ...[]step) (steps []step) {
	for n := 0; ; n++ {
		var now []step
		for _, c := range clients {
			if n < len(c) {
				now = append(now, c[n])
			}
		}
		if len(now) == 0 {
			return steps
		}
		steps = append(steps, together(now...))
	}
}
