// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Attributes that a plan has no room for hold the storage with the path that has the most of them.
func TestHeavyAttributesHold(t *testing.T) {
	p := newResult(&sides.Views{}, nil, NewPins(policy.Options{}, nil))
	p.attrs.held = maxAttributes - 1000
	meta := func(n int) tree.Meta {
		return tree.Meta{Xattrs: map[string]tree.Value{"user.a": tree.NewValue(make([]byte, n))}}
	}
	some := func(n int) sides.Outcome {
		return sides.Outcome{Node: sides.Node{View: &tree.View{}, Entry: tree.Entry{Kind: tree.Regular, Meta: meta(n)}}}
	}
	for range 5 { // what is decided again takes no more room
		p.show("a", some(200))
	}
	p.show("b", some(100))
	if p.holdHeavy(); len(p.holds) > 0 {
		t.Fatalf("held: %v", p.holds)
	}
	p.show("big/one", some(700))
	p.show("c", some(1))
	p.holdHeavy()
	if len(p.holds) != 1 || p.holds[0].Path != "big/one" || p.holds[0].Code != report.HoldAttributes {
		t.Errorf("held: %v", p.holds)
	}
	for name, o := range p.want {
		if without := name == "big/one" || name == "c"; without != (o.Unread != nil) || without != (o.Xattrs == nil) {
			t.Errorf("%s: %+v", name, o.Meta)
		}
	}
}
