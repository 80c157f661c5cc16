// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control_test

import (
	"testing"

	"google.golang.org/grpc/codes"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// storageNow returns a storage as it is shown now, with its updates.
func (w *world) storageNow(name string) *api.GetStorageResponse {
	w.t.Helper()
	r, err := api.Whole(w.GetStorage(w.t.Context(), &api.GetStorageRequest{Name: name}))
	w.must(err)
	return r
}

// TestNewerBaseOverSocket: a storage on an old base says where the updates lead, an update how many containers were made there
// since; a rollback of it all says so, and the delta storage is named as long as it is there.
func TestNewerBaseOverSocket(t *testing.T) {
	w := newWorld(t)
	u := w.update("default/web")
	w.container("default/7/late", "late")
	late := w.storageNow("default/late").GetStorage()
	if late.GetNewer() != u.GetTo() || late.GetNewerBy() != u.GetId() || w.storageNow("default/web").GetStorage().GetNewer() != 0 {
		t.Errorf("the update leads to %d, and the storage says %d by u%d", u.GetTo(), late.GetNewer(), late.GetNewerBy())
	}
	if got := w.done(u.GetId()).GetMadeSince(); got != 1 {
		t.Errorf("%d containers were made on the old base since", got)
	}
	for _, req := range []*api.RollbackUpdateRequest{
		{Id: u.GetId(), Carry: true, Discard: true}, {Id: u.GetId(), WithNew: true, Storages: []string{"default/web"}},
	} {
		_, err := api.Whole(w.RollbackUpdate(t.Context(), req))
		expectCode(t, err, codes.InvalidArgument)
	}
	_, err := w.CreateUpdate(t.Context(), &api.CreateUpdateRequest{
		Namespace: "default", From: "app:1", To: "app:2", Standing: true, AllOrNothing: true,
	})
	expectCode(t, err, codes.InvalidArgument, "standing")
	delta := u.GetOutcomes()[0].GetDelta()
	r, err := api.Whole(w.RollbackUpdate(t.Context(), &api.RollbackUpdateRequest{Id: u.GetId(), Discard: true}))
	w.must(err)
	if after := r.GetUpdate(); !after.GetRetracted() || after.GetOutcomes()[0].GetDelta() != 0 {
		t.Errorf("delta storage %d is discarded, and the update says %v", delta, after)
	}
	if got := w.storageNow("default/late").GetStorage(); got.GetNewer() != 0 {
		t.Errorf("after the rollback, the storage says that its base leads to n%d", got.GetNewer())
	}
	standing, err := w.CreateUpdate(t.Context(), &api.CreateUpdateRequest{Namespace: "default", From: "app:1", To: "app:2", Standing: true})
	w.must(err)
	if u := w.done(standing.GetId()); !u.GetStanding() {
		t.Errorf("the update says %v", u)
	}
	cancelled, err := api.Whole(w.CancelUpdate(t.Context(), &api.CancelUpdateRequest{Id: standing.GetId()}))
	w.must(err)
	if got := cancelled.GetUndone(); len(got) != 1 || got[0].GetFate() != "ends" || got[0].GetCode() != 0 {
		t.Errorf("the cancel came to %v", got)
	}
}
