// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package background

import (
	"context"
	"time"

	"github.com/containerd/log"
)

// Step is a part of the maintenance.
type Step struct {
	// What names it in the log, after "failed to".
	What string
	Do   func(context.Context) error
}

// Kick asks for the maintenance to run soon.
func (t *Tasks) Kick() {
	select {
	case t.kicked <- struct{}{}:
	default:
	}
}

// Maintain carries out the steps, in order, each time that it is kicked and every now and then, until the context
// ends. It runs again soon when a step fails, or when soon reports after the steps that there is something to look at
// again.
func (t *Tasks) Maintain(ctx context.Context, steps []Step, soon func() bool) {
	ticker := time.NewTicker(Every)
	defer ticker.Stop()
	failing := failures{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.kicked:
		case <-ticker.C:
		}
		next := Every
		for _, step := range steps {
			err := step.Do(ctx)
			if err == nil || ctx.Err() != nil {
				failing.succeeded(step.What)
				continue
			}
			tell, again := failing.failed(step.What, err, time.Now())
			if next = min(next, again); tell {
				log.G(ctx).WithError(err).Errorf("failed to %s", step.What)
			}
		}
		if soon() {
			next = min(next, Again)
		}
		ticker.Reset(next)
	}
}
