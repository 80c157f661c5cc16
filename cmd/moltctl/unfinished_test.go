// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// TestUnfinishedGolden: what is held for a storage, and what waits for it, is shown with since when, for which base, and why; what
// another storage waits for, and a hold that is over, are not.
func TestUnfinishedGolden(t *testing.T) {
	golden(t, "unfinished.golden", func() *fakeDaemon {
		g := graph()
		web := g.GetStorages()[0]
		web.HeldBy = 3
		outcome := func(state string, minute int, reasons ...string) *api.Outcome {
			return &api.Outcome{Storage: web.GetName(), State: api.Of[api.State](state), Reasons: reasons, Time: at(minute)}
		}
		g.Updates = []*api.Update{
			{Id: 1, From: 3, To: 4, State: api.State_STATE_APPLIED, Outcomes: []*api.Outcome{outcome("applied", 1)}},
			{Id: 2, From: 3, To: 4, State: api.State_STATE_ABORTED, Outcomes: []*api.Outcome{outcome("held", 2, "a hold that is over")}},
			{Id: 3, From: 4, To: 5, ToRef: "app:3", State: api.State_STATE_ABORTED, Outcomes: []*api.Outcome{outcome("held", 3, "etc/app.conf: both changed line 1", "one more")}},
			{Id: 4, From: 4, To: 5, ToRef: "app:4", State: api.State_STATE_PLANNED, Outcomes: []*api.Outcome{
				outcome("planned", 4, "it is mounted by container web; it is updated when that has stopped"),
				{Storage: "default/waits", State: api.State_STATE_PLANNED, Reasons: []string{"of another storage"}, Time: at(4)},
			}},
			{Id: 5, From: 4, To: 5, State: api.State_STATE_ANNOUNCED, Outcomes: []*api.Outcome{outcome("announced", 5)}},
		}
		return &fakeDaemon{graph: g}
	}, "storage inspect web")
}
