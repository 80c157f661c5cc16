// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		says []string // nothing for valid
	}{
		{"nothing", Options{}, nil},
		{"all is allowed that the list says", allAllowed(), nil},
		{"an unknown concern", Options{Policy: Policy{"texts": ActionKeep}}, []string{`"texts"`, "text, binary", "package-files"}},
		{"an unknown action", Options{Policy: Policy{ConcernText: "merge"}}, []string{`"text"`, `"merge"`, "keep, take, beside, hold"}},
		{"an action on conflicts for a finding", Options{Policy: Policy{ConcernLink: ActionTake}}, []string{"hold, warn, ignore"}},
		{"two mistakes", Options{Policy: Policy{"x": "y", ConcernText: "z"}}, []string{`"x"`, `"z"`}},
		{"a pin", Options{Pins: []Pin{{Path: "/etc/a"}, {Path: "etc/*.conf"}, {Path: "*.so"}, {Path: "usr/lib/"}}}, nil},
		{"a pin on everything", Options{Pins: []Pin{{Path: "/"}}}, []string{"whole root"}},
		{"a pin on nothing", Options{Pins: []Pin{{}}}, []string{"whole root"}},
		{"a pin that leaves", Options{Pins: []Pin{{Path: "etc/../x"}}}, []string{".. are not allowed"}},
		{"a pin that is no pattern", Options{Pins: []Pin{{Path: "etc/[a"}}}, []string{"[...]"}},
		{"excluded", Options{Exclude: []string{"mnt", "a//b"}}, []string{`exclude "a//b"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.o.Validate()
			if (err != nil) != (len(c.says) > 0) || err != nil && !errors.Is(err, ErrOptions) {
				t.Fatalf("%v", err)
			}
			for _, text := range c.says {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q does not say %q", err, text)
				}
			}
		})
	}
}

func allAllowed() Options {
	o := Options{Policy: Policy{}}
	for _, info := range Concerns() {
		o.Policy[info.Concern] = info.Allowed[len(info.Allowed)-1]
	}
	return o
}

func TestOver(t *testing.T) {
	soon := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	general := Options{
		Policy: Policy{ConcernText: ActionTake, ConcernData: ActionHold}, Exclude: []string{"mnt", "srv"}, Now: soon,
		Pins: []Pin{{Path: "a", Reason: "general"}, {Path: "b"}},
	}
	particular := Options{Policy: Policy{ConcernText: ActionKeep}, Exclude: []string{"srv", "data"}, Force: true, Pins: []Pin{{Path: "a", Expires: soon}}}
	want := Options{
		Policy: Policy{ConcernText: ActionKeep, ConcernData: ActionHold}, Exclude: []string{"srv", "data", "mnt"}, Force: true, Now: soon,
		Pins: []Pin{{Path: "a", Expires: soon}, {Path: "b"}},
	}
	if got := particular.Over(general); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, o := range []Options{general, particular, {}} {
		if got := o.Over(Options{}); !reflect.DeepEqual(got, o) {
			t.Errorf("over nothing: %+v", got)
		}
		if got := (Options{}).Over(o); !reflect.DeepEqual(got, o) {
			t.Errorf("nothing over: %+v", got)
		}
	}
	if general.Policy[ConcernText] != ActionTake {
		t.Error("the base was changed")
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var again Options
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	again.Now = want.Now // the time is not among what is read
	if !reflect.DeepEqual(again, want) {
		t.Errorf("read again: %s", text)
	}
}

func TestSelector(t *testing.T) {
	for _, c := range []struct {
		text string
		has  []string
		not  []string
	}{
		{"etc/a", []string{"etc/a", "etc/a/b"}, []string{"etc", "etc/ab", "x/etc/a"}},
		{"/etc/a/", []string{"etc/a/b", "etc/a/b/c"}, []string{"etc/a", "etc"}},
		{"etc/*.conf", []string{"etc/a.conf", "etc/d.conf/x"}, []string{"etc/a", "etc/d/a.conf", "a.conf"}},
		{"*.so", []string{"a.so", "usr/lib/a.so", "d.so/x"}, []string{"a.so.1"}},
		{"/*.so", []string{"a.so"}, []string{"usr/a.so"}},
		{"usr/*/x/?", []string{"usr/a/x/1", "usr/b/x/2/y"}, []string{"usr/a/x", "usr/a/x/12", "usr/a/b/x/1"}},
	} {
		s := NewSelector(c.text)
		for _, p := range c.has {
			if !s.Has(p) {
				t.Errorf("%q does not have %q", c.text, p)
			}
		}
		for _, p := range c.not {
			if s.Has(p) {
				t.Errorf("%q has %q", c.text, p)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) { // whatever it has is below directories that lead to it
		s := NewSelector(rapid.StringMatching(`/?[ab*?](/[ab*?]){0,3}/?`).Draw(t, "selector"))
		p := rapid.StringMatching(`[ab](/[ab]){0,4}`).Draw(t, "path")
		if !s.Has(p) {
			return
		}
		for i, c := range p {
			if c == '/' && !s.LeadsTo(p[:i]) {
				t.Fatalf("%v has %q, but %q does not lead there", s, p, p[:i])
			}
		}
	})
}
