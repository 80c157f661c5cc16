// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"errors"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
)

// policyCases are conflicts, with what a policy makes of them.
var policyCases = []struct {
	name     string
	concern  Concern
	old, new files
	user     func(u sh)
	path     string
	want     map[Action]files
	verdicts map[Action]Verdict
}{
	{
		name: "A5", concern: ConcernText, old: files{"etc/a": oldText}, new: files{"etc/a": baseText},
		user: func(u sh) { u.put("etc/a", clashText) }, path: "etc/a",
		want: map[Action]files{
			ActionKeep:   {"etc/a": clashText, "var/lib/molt/beside/new/etc/a": "", "var/lib/molt/beside/old/etc/a": ""},
			ActionTake:   {"etc/a": baseText, "var/lib/molt/beside/new/etc/a": "", "var/lib/molt/beside/old/etc/a": clashText},
			ActionBeside: {"etc/a": clashText, "var/lib/molt/beside/new/etc/a": baseText, "var/lib/molt/beside/old/etc/a": ""},
		},
		verdicts: map[Action]Verdict{ActionKeep: Keep, ActionTake: Take, ActionBeside: Beside},
	},
	{
		name: "A6", concern: ConcernBinary, old: files{"opt/a": elfOld}, new: files{"opt/a": elfNew},
		user: func(u sh) { u.put("opt/a", elfOwn) }, path: "opt/a",
		want: map[Action]files{
			ActionKeep: {"opt/a": elfOwn, "var/lib/molt/beside/new/opt/a": ""}, ActionTake: {"opt/a": elfNew, "var/lib/molt/beside/old/opt/a": elfOwn},
			ActionBeside: {"opt/a": elfOwn, "var/lib/molt/beside/new/opt/a": elfNew},
		},
	},
	{
		name: "data", concern: ConcernData, old: files{"srv/a": oldText}, new: files{"srv/a": baseText},
		user: func(u sh) { u.put("srv/a", clashText) }, path: "srv/a",
		want: map[Action]files{
			ActionKeep: {"srv/a": clashText, "var/lib/molt/beside/new/srv/a": ""}, ActionTake: {"srv/a": baseText, "var/lib/molt/beside/old/srv/a": clashText},
			ActionBeside: {"srv/a": clashText, "var/lib/molt/beside/new/srv/a": baseText},
		},
	},
	{
		name: "mode on both sides", concern: ConcernMetadata, old: files{"etc/a": "0644 1"}, new: files{"etc/a": "0664 1"},
		user: func(u sh) { u.chmod("etc/a", 0o600) }, path: "etc/a",
		want: map[Action]files{ActionKeep: {"etc/a": "0600 1"}, ActionTake: {"etc/a": "0600 1"}}, // what the user took away is taken away
	},
	{
		name: "B3", concern: ConcernDeletedByBase, old: files{"etc/a": "1"}, new: files{"etc/b": "1"},
		user: func(u sh) { u.put("etc/a", "mine") }, path: "etc/a",
		want: map[Action]files{ActionKeep: {"etc/a": "mine"}, ActionTake: {"etc/a": "", "var/lib/molt/beside/old/etc/a": "mine"}},
	},
	{
		name: "B1", concern: ConcernDeletedByUser, old: files{"etc/a": "1", "etc/d/x": "1"}, new: files{"etc/a": "2", "etc/d/x": "2"},
		user: func(u sh) { u.rm("etc/a") }, path: "etc/a",
		want: map[Action]files{ActionKeep: {"etc/a": ""}, ActionTake: {"etc/a": "2"}},
	},
	{
		name: "C3", concern: ConcernTypeByUser, old: files{"etc/a": "1"}, new: files{"etc/a": "2"},
		user: func(u sh) { u.rm("etc/a"); u.put("etc/a", "-> b") }, path: "etc/a",
		want: map[Action]files{ActionKeep: {"etc/a": "-> b"}, ActionTake: {"etc/a": "2", "var/lib/molt/beside/old/etc/a": "-> b"}},
	},
	{
		name: "C4", concern: ConcernTypeByUser, old: files{"var/www/a": "1"}, new: files{"var/www/a": "2", "var/www/s/b": "1"},
		user: func(u sh) { u.rm("var/www"); u.put("var/www", "-> /srv") }, path: "var/www",
		want: map[Action]files{ActionKeep: {"var/www": "-> /srv"}, ActionTake: {"var/www/a": "2", "var/www/s/b": "1", "var/lib/molt/beside/old/var/www": "-> /srv"}},
	},
	{
		name: "a directory of the user's", concern: ConcernTypeByUser, old: files{"etc/x": "1"}, new: files{"etc/a": "2"},
		user: func(u sh) { u.put("etc/a/mine", "1") }, path: "etc/a",
		want: map[Action]files{ActionKeep: {"etc/a/mine": "1", "var/lib/molt/beside/new/etc/a": ""}, ActionTake: {"etc/a": "2", "var/lib/molt/beside/old/etc/a/mine": "1"}},
	},
	{
		name: "C7", concern: ConcernTypeByBase, old: files{"etc/a": "1"}, new: files{"etc/a/x": "1"},
		user: func(u sh) { u.put("etc/a", "mine") }, path: "etc/a",
		want: map[Action]files{ActionTake: {"etc/a/x": "1", "var/lib/molt/beside/old/etc/a": "mine"}},
	},
	{
		name: "C5", concern: ConcernTypeByBase, old: files{"etc/d/a": "1"}, new: files{"etc/d": "file"},
		user: func(u sh) { u.put("etc/d/mine", "1") }, path: "etc/d",
		want: map[Action]files{ActionTake: {"etc/d": "file", "var/lib/molt/beside/old/etc/d/mine": "1"}},
	},
	{
		name: "F8", concern: ConcernIdentity, old: files{"etc/machine-id": "aaaa\n"}, new: files{"etc/machine-id": "bbbb\n"},
		user: func(u sh) { u.put("etc/machine-id", "cccc\n") }, path: "etc/machine-id",
		want: map[Action]files{ActionKeep: {"etc/machine-id": "cccc\n"}, ActionTake: {"etc/machine-id": "bbbb\n", "var/lib/molt/beside/old/etc/machine-id": "cccc\n"}},
	},
	{
		name: "F8 not touched", concern: ConcernIdentity, old: files{"etc/machine-id": "aaaa\n"}, new: files{"etc/machine-id": "bbbb\n"},
		user: func(u sh) {}, path: "etc/machine-id",
		want: map[Action]files{ActionKeep: {"etc/machine-id": "aaaa\n"}, ActionTake: {"etc/machine-id": "bbbb\n", "var/lib/molt/beside/old/etc/machine-id": ""}},
	},
}

func TestPolicies(t *testing.T) {
	for _, c := range policyCases {
		t.Run(c.name, func(t *testing.T) {
			s := newScenario(t, c.old, c.new, func(root string) { c.user(sh{t, root}) })
			info, _ := policy.InfoOf(c.concern)
			for _, action := range info.Allowed {
				t.Run(string(action), func(t *testing.T) {
					s := *s
					s.t = t
					s.options = Options{Policy: Policy{c.concern: action}}
					if action == ActionHold {
						p := s.plan(s.options)
						untouched := c.name == "F8 not touched"
						if held := p.Held(); len(held) != 1 || held[0].Code != "conflict" || held[0].Path != c.path || verdictOf(p.Report(), c.path) != Hold {
							t.Errorf("held: %v, untouched: %v", held, untouched)
						}
						return
					}
					want, ok := c.want[action]
					if !ok {
						t.Fatal("nothing is said about this action")
					}
					report := s.serviced(func(root string) { want.check(t, root) })
					if v, ok := c.verdicts[action]; ok && verdictOf(report, c.path) != v {
						t.Errorf("the verdict is %s, want %s", verdictOf(report, c.path), v)
					}
					unchangedBase(t, &s)
				})
			}
		})
	}
}

// TestInvalidOptions: a plan is not made with options that mean nothing.
func TestInvalidOptions(t *testing.T) {
	if _, err := NewPlan(t.Context(), Input{Options: Options{Policy: Policy{"x": "y"}}}); !errors.Is(err, ErrOptions) {
		t.Errorf("a plan with options that are not valid: %v", err)
	}
}
