// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// TestUpdateParts: an update that is split and put together again is the same, and no part is large.
func TestUpdateParts(t *testing.T) {
	one, two := &api.Update{Id: 1, State: api.State_STATE_APPLIED}, &api.Update{Id: 2}
	for i := range 5000 {
		o := &api.Outcome{Storage: fmt.Sprintf("default/%0200d", i), State: api.State_STATE_HELD, Reasons: boundedList([]string{strings.Repeat("x", i*20)})}
		one.Outcomes = append(one.Outcomes, o)
	}
	want := &api.ListUpdatesResponse{Updates: []*api.Update{proto.CloneOf(one), proto.CloneOf(two)}}
	got := &api.ListUpdatesResponse{}
	parts := updateParts(one, two)
	for _, part := range parts {
		if proto.Size(part) > partSize+2*maxText {
			t.Errorf("a part has %d bytes", proto.Size(part))
		}
		api.Append(got, &api.ListUpdatesResponse{Updates: []*api.Update{part}})
	}
	if len(parts) < 10 || !proto.Equal(got, want) {
		t.Errorf("%d parts came to %d updates", len(parts), len(got.GetUpdates()))
	}
}

// TestBounded: what is too long is cut, between characters, and says so.
func TestBounded(t *testing.T) {
	for _, text := range []string{"", "short", strings.Repeat("x", maxText)} {
		if bounded(text) != text {
			t.Errorf("%.40q is changed", text)
		}
	}
	for i := range 4 {
		long := strings.Repeat("x", i) + strings.Repeat("\U0001f600", maxText)
		got := bounded(long)
		if len(got) > maxText+100 || !utf8.ValidString(got) || !strings.HasSuffix(got, "more bytes)") {
			t.Errorf("it has %d bytes and ends with %q", len(got), got[len(got)-40:])
		}
	}
	many := make([]string, 100000)
	for i := range many {
		many[i] = fmt.Sprintf("reason %06d", i)
	}
	got := boundedList(many)
	var more int
	if _, err := fmt.Sscanf(got[len(got)-1], "and %d more", &more); err != nil || len(got)-1+more != len(many) {
		t.Errorf("%d of %d are sent, and %q", len(got), len(many), got[len(got)-1])
	}
	if got := boundedList([]string{strings.Repeat("x", 2*maxText), "y"}); len(got) != 2 || len(got[0]) > maxText+100 || got[1] != "and 1 more" {
		t.Errorf("got %d texts", len(got))
	}
}

// TestChanged: what is watched is told once, and whole when it is put together.
func TestChanged(t *testing.T) {
	last := &api.Update{Id: 1, State: api.State_STATE_STAGING, Outcomes: []*api.Outcome{{Storage: "a", State: api.State_STATE_STAGING}, {Storage: "b", State: api.State_STATE_STAGING}}}
	now := &api.Update{Id: 1, State: api.State_STATE_APPLIED, Outcomes: []*api.Outcome{{Storage: "a", State: api.State_STATE_STAGING}, {Storage: "b", State: api.State_STATE_APPLIED}, {Storage: "c"}}}
	part := changed(now, last)
	if part.GetState() != api.State_STATE_APPLIED || len(part.GetOutcomes()) != 2 || part.GetOutcomes()[0].GetStorage() != "b" || len(now.GetOutcomes()) != 3 {
		t.Errorf("got %v", part)
	}
	if all := changed(now, nil); !proto.Equal(all, now) {
		t.Errorf("at first it is %v", all)
	}
}
