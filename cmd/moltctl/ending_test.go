// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// TestEndingGolden: the end of an update counts what was merged, put beside, moved and is hidden, and the warnings of the checks, in
// the storages that it was applied to; those held by cause, and those that wait by what they wait for. What a report says of paths is
// not needed for that; a report that is gone is passed over.
func TestEndingGolden(t *testing.T) {
	golden(t, "ending.golden", func() *fakeDaemon {
		g := graph()
		outcome := func(storage, state string) *api.Outcome {
			return &api.Outcome{Storage: storage, State: api.Of[api.State](state), Report: true, Time: at(7)}
		}
		u := &api.Update{Id: 1, From: 3, To: 4, State: api.State_STATE_APPLIED, Outcomes: []*api.Outcome{
			outcome("default/a", "applied"), outcome("default/b", "applied"), outcome("default/gone", "applied"), outcome("default/held", "held"), outcome("default/stuck", "held"),
			{Storage: "default/runs", State: api.State_STATE_PLANNED, Use: "use-running", Time: at(7)},
			{Storage: "default/turn", State: api.State_STATE_PLANNED, Time: at(7)},
		}}
		return &fakeDaemon{graph: g, update: u, reports: map[string][]byte{
			"default/a":     []byte(`{"counts": {"merge": 2, "beside": 1, "keep": 9}, "findings": [{"message": "x"}, {"message": "y"}], "paths": [{`),
			"default/b":     []byte(`{"counts": {"merge": 1, "relocate": 3}, "hidden_fixes": 2, "findings": [{"message": "x"}], "paths": []}`),
			"default/held":  []byte(`{"counts": {"merge": 100}, "holds": [{"code": "conflict"}, {"code": "conflict"}, {"code": "of a later daemon"}]}`),
			"default/stuck": []byte(`{"holds": [{"code": "conflict"}]}`),
		}}
	}, "update create --from app:1 --to app:2", "--format json update create --from app:1 --to app:2")
}
