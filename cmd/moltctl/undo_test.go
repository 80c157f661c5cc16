// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// TestNewContainersGolden: what is shown of storages that began on the newest base, or could have, of standing updates, and of
// updates that were rolled back as a whole.
func TestNewContainersGolden(t *testing.T) {
	daemon := func() *fakeDaemon {
		g := graph()
		g.Storages[0].Placed = &api.Placement{From: 3, To: 4, Update: 1, Time: at(6)}
		g.Storages[1].Newer, g.Storages[1].NewerBy = 4, 1
		u := g.GetUpdates()[0]
		u.Standing, u.MadeSince = true, 2
		return &fakeDaemon{graph: g, update: u}
	}
	golden(t, "new.golden", daemon, "storage ls", "storage history web", "update inspect u1",
		"update create --from app:1 --to app:2 --standing")
	golden(t, "retracted.golden", func() *fakeDaemon {
		return &fakeDaemon{update: &api.Update{
			Id: 1, From: 3, To: 4, State: api.State_STATE_ROLLED_BACK, Retracted: true, MadeSince: 1,
			Outcomes: []*api.Outcome{{Storage: "default/web", State: api.State_STATE_ROLLED_BACK, Delta: 8}},
		}}
	}, "update inspect u1")
}

// TestRollbackGolden: what a rollback comes to for storages that were begun on the new base, and for the update itself.
func TestRollbackGolden(t *testing.T) {
	daemon := func() *fakeDaemon {
		return &fakeDaemon{
			fates: []*api.Undone{
				{Storage: "default/web", Fate: "rolled back"},
				{Storage: "default/new", Fate: "begun there", Why: "it was made on the new base, and stays there"},
				{Storage: "default/along", Fate: "taken along", By: 7},
				{Storage: "default/held", Fate: "failed", Why: "it is held", Code: uint32(codes.FailedPrecondition)},
				{Fate: "ends", Why: "the update leads no new container to its new base"},
			},
			preview: []preview{
				{&api.Preview{Storage: "default/web", Undone: &api.Undone{Storage: "default/web", Fate: "rolled back"}}, ""},
				{&api.Preview{Storage: "default/new", Undone: &api.Undone{Storage: "default/new", Fate: "begun there", Why: "it stays"}}, ""},
				{&api.Preview{Storage: "default/along", Undone: &api.Undone{Storage: "default/along", Fate: "taken along"}}, `{"counts": {"keep": 1}}`},
			},
		}
	}
	golden(t, "rollback.golden", daemon, "update rollback u1", "update rollback u1 --dry-run --discard", "update rollback u1 --dry-run --with-new",
		"update rollback --help")
	d := daemon()
	d.ctl(t, "update", "rollback", "--discard", "--with-new", "u1")
	if want := (&api.RollbackUpdateRequest{Id: 1, Discard: true, WithNew: true}); len(d.asked) != 1 || !proto.Equal(d.asked[0], want) {
		t.Errorf("asked %v, want %v", d.asked, want)
	}
}
