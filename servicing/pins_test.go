// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"slices"
	"testing"
	"time"
)

// pinCases are storages with pins or excluded paths.
var pinCases = []struct {
	name     string
	old, new files
	user     func(u sh)
	options  Options
	want     files
	kept     []int // by pin
	empty    bool
	code     HoldCode // of the reason to hold
}{
	{
		name: "H11 pinned on purpose", old: files{"etc/a": oldText, "etc/b": "1"}, new: files{"etc/a": baseText, "etc/b": "2"},
		user: func(u sh) { u.put("etc/a", userText); u.touch("etc/b") }, options: Options{Pins: []Pin{{Path: "/etc/a", Reason: "ticket 7"}}},
		want: files{"etc/a": userText, "etc/b": "2"}, kept: []int{1},
	},
	{
		name: "H11 not in the storage", old: files{"etc/a": "0640 old", "etc/l": "-> a"}, new: files{"etc/a": "0600 new", "etc/l": "-> b"},
		options: Options{Pins: []Pin{{Path: "etc/?"}}}, want: files{"etc/a": "0640 old", "etc/l": "-> a"}, kept: []int{2},
	},
	{
		name: "H11 removed from the base", old: files{"opt/p/bin/x": "0755 1", "opt/p/lib/y": "1"}, new: files{"etc/x": "1"},
		options: Options{Pins: []Pin{{Path: "opt/p"}}}, want: files{"opt/p/bin/x": "0755 1", "opt/p/lib/y": "1"}, kept: []int{5},
	},
	{
		name: "H11 what the base adds stays away", old: files{"opt/p/x": "1", "opt/q": "dir"}, new: files{"opt/p/x": "1", "opt/p/y/z": "1", "opt/q": "dir"},
		options: Options{Pins: []Pin{{Path: "opt/p"}}}, want: files{"opt/p/x": "1", "opt/p/y": "", "opt/q": "dir"}, kept: []int{2},
	},
	{
		name: "H11 deleted by the user, back in the base", old: files{"opt/p/x": "1", "opt/q": "1"}, new: files{"opt/p/x": "2", "opt/p/y": "1", "opt/q": "1"},
		user: func(u sh) { u.rm("opt/p") }, options: Options{Pins: []Pin{{Path: "opt/p"}}}, want: files{"opt/p": ""}, kept: []int{3}, empty: true,
	},
	{
		name: "H11 a directory that is a file in the base", old: files{"opt/p/x": "1"}, new: files{"opt/p": "file"},
		user: func(u sh) { u.put("opt/p/mine", "1") }, options: Options{Pins: []Pin{{Path: "opt/p"}}}, want: files{"opt/p/x": "1", "opt/p/mine": "1"}, kept: []int{3},
	},
	{
		name: "H11 a file that is a directory in the base", old: files{"opt/p": "1"}, new: files{"opt/p/x/y": "1"},
		options: Options{Pins: []Pin{{Path: "opt/p"}}}, want: files{"opt/p": "1"}, kept: []int{3},
	},
	{
		name: "H11 below a file in the base", old: files{"opt/p/x": "1"}, new: files{"opt/p": "file"},
		options: Options{Pins: []Pin{{Path: "opt/p/x"}}}, code: "pin",
	},
	{
		name: "H11 usrmerge", old: files{"lib/a": "1", "lib/b": "1", "usr/lib/x": "1"}, new: files{"lib": "-> usr/lib", "usr/lib/a": "2", "usr/lib/b": "2", "usr/lib/x": "1"},
		user: func(u sh) { u.put("lib/b", "mine") }, options: Options{Pins: []Pin{{Path: "lib/a"}, {Path: "/lib/b"}}}, want: files{"lib": "-> usr/lib", "usr/lib/a": "1", "usr/lib/b": "mine"}, kept: []int{1, 1},
	},
	{
		name: "A3 pinned", old: files{"etc/a": "old"}, new: files{"etc/a": "new"},
		user: func(u sh) { u.put("etc/a", "new") }, options: Options{Pins: []Pin{{Path: "etc/a"}}}, want: files{"etc/a": "new"}, kept: []int{0}, empty: true,
	},
	{
		name: "A7 pinned with its mode", old: files{"usr/bin/a": "0755 old"}, new: files{"usr/bin/a": "0700 old"},
		options: Options{Pins: []Pin{{Path: "*bin/a"}, {Path: "a"}, {Path: "usr/bin/a"}}}, want: files{"usr/bin/a": "0755 old"}, kept: []int{0, 0, 1},
	},
	{
		name: "B3 pinned, removed from the base, not touched", old: files{"etc/a": "1", "etc/b": "1"}, new: files{"etc/b": "1"},
		user: func(u sh) { u.touch("etc/a") }, options: Options{Pins: []Pin{{Path: "etc/a"}}}, want: files{"etc/a": "1"}, kept: []int{1}, empty: true,
	},
	{
		name: "account files pinned", old: files{"etc/passwd": "root:x:0:0::/:/bin/sh\n"}, new: files{"etc/passwd": "root:x:0:0::/:/bin/sh\nnew:x:9:9::/:/bin/sh\n"},
		user: func(u sh) { u.put("etc/passwd", "root:x:0:0::/:/bin/sh\nmine:x:8:8::/:/bin/sh\n") }, options: Options{Pins: []Pin{{Path: "etc/passwd"}}},
		want: files{"etc/passwd": "root:x:0:0::/:/bin/sh\nmine:x:8:8::/:/bin/sh\n"}, kept: []int{1}, empty: true,
	},
	{
		name: "expired", old: files{"etc/a": "old", "etc/b": "old"}, new: files{"etc/a": "new", "etc/b": "new"},
		options: Options{Now: day(2), Pins: []Pin{{Path: "etc/a", Expires: day(2)}, {Path: "etc/b", Expires: day(3)}}}, want: files{"etc/a": "new", "etc/b": "old"}, kept: []int{-1, 1},
	},
	{
		name: "excluded", old: files{"etc/a": "old", "data/x": "1", "vol": "dir"}, new: files{"etc/a": "new", "data/x": "2", "vol": "-> etc"},
		user:    func(u sh) { u.touch("etc/a"); u.touch("data/x"); u.put("data/mine", "1"); u.put("vol/mine", "1") },
		options: Options{Exclude: []string{"data", "/vol"}}, want: files{"etc/a": "new", "data/x": "1", "data/mine": "1", "vol/mine": "1"},
	},
	{
		name: "excluded account files", old: files{"etc/passwd": "root:x:0:0::/:/bin/sh\n"}, new: files{"etc/passwd": "root:x:0:0::/:/bin/sh\nnew:x:9:9::/:/bin/sh\n"},
		user: func(u sh) { u.put("etc/passwd", "root:x:0:0::/:/bin/sh\nmine:x:8:8::/:/bin/sh\n") }, options: Options{Exclude: []string{"etc/passwd"}},
		want: files{"etc/passwd": "root:x:0:0::/:/bin/sh\nmine:x:8:8::/:/bin/sh\n"}, empty: true,
	},
}

func day(n int) time.Time { return time.Date(2030, 1, n, 0, 0, 0, 0, time.UTC) }

func TestH11Pins(t *testing.T) {
	for _, c := range pinCases {
		t.Run(c.name, func(t *testing.T) {
			s := newScenario(t, c.old, c.new, func(root string) {
				if c.user != nil {
					c.user(sh{t, root})
				}
			})
			s.options = c.options
			if c.code != "" {
				if held := s.plan(s.options).Held(); len(held) != 1 || held[0].Code != c.code {
					t.Errorf("held: %v", held)
				}
				return
			}
			report := s.serviced(func(root string) { c.want.check(t, root) })
			if empty := len(report.Effects) == 0; empty != c.empty {
				t.Errorf("empty is %v: %v", empty, report.Effects)
			}
			if len(report.Pins) != len(c.kept) {
				t.Fatalf("pins in the report: %+v", report.Pins)
			}
			for i, r := range report.Pins {
				want := PinReport{Pin: c.options.Pins[i], Kept: max(c.kept[i], 0), Expired: c.kept[i] < 0}
				if r != want {
					t.Errorf("pin %d: %+v, want %+v", i, r, want)
				}
			}
			unchangedBase(t, s)
		})
	}
}

// TestPinHidesFix checks that a pinned path tells which fix it hides, and that an update after the pin is gone brings it.
func TestPinHidesFix(t *testing.T) {
	s := &scenario{t: t, old: debianRoot(t, lib("1.0")), base: debianRoot(t, lib("1.1"))}
	s.work(s.old, nil)
	s.options = Options{Pins: []Pin{{Path: "usr/lib/lib.so", Reason: "waits for the vendor"}}}
	p := s.plan(s.options)
	found := false
	for _, r := range p.Report().Paths {
		found = found || r.Path == "usr/lib/lib.so" && r.Rule == "H11" && len(r.Hidden) == 1 && r.Hidden[0] == Fix{Package: "lib", Version: "1.1"}
	}
	if !found {
		t.Errorf("the hidden fix is not told: %s", encoded(t, p.Report()))
	}
	s.nodes = append(s.delta(p), s.nodes...)
	s.old, s.base, s.options = s.base, debianRoot(t, lib("1.2")), Options{}
	s.serviced(func(root string) { files{"usr/lib/lib.so": "\x00lib 1.0"}.check(t, root) })
	s.options = Options{Policy: Policy{ConcernPackageFile: ActionTake}}
	s.serviced(func(root string) { files{"usr/lib/lib.so": "\x00lib 1.2"}.check(t, root) })
}

// TestH11PinEnds checks that what only a pin has kept follows the base again when the pin is over, and that what the user
// changed in the meantime does not.
func TestH11PinEnds(t *testing.T) {
	old := files{"etc/p/a": "1", "etc/p/gone": "1", "etc/p/mode": "0644 1", "etc/p/edited": "1", "etc/p/mine": "1", "etc/p/\xff": "1"}
	next := files{"etc/p/a": "2", "etc/p/new": "1", "etc/p/d/new": "1", "etc/p/mode": "0600 1", "etc/p/edited": "2", "etc/p/mine": "2", "etc/p/\xff": "2"}
	last := files{"etc/p/a": "3", "etc/p/new": "1", "etc/p/d/new": "1", "etc/p/mode": "0600 1", "etc/p/edited": "3", "etc/p/mine": "3", "etc/p/\xff": "3"}
	pinned := Options{Pins: []Pin{{Path: "etc/p", Expires: day(10)}}, Now: day(5)}
	asOld := files{"etc/p/a": "1", "etc/p/gone": "1", "etc/p/mode": "0644 1", "etc/p/mine": "own", "etc/p/new": "", "etc/p/d": ""}
	var report *Report
	step := func(s *scenario, base files, o Options, want files) {
		t.Helper()
		if report != nil {
			s.nodes = append(s.delta(s.plan(s.options)), s.nodes...)
			s.withheld = report.Withheld
			s.old, s.base = s.base, tempDir(t)
			base.build(t, s.base)
		}
		s.options = o
		report = s.serviced(func(root string) { want.check(t, root) })
	}
	s := newScenario(t, old, next, func(root string) { sh{t, root}.put("etc/p/mine", "own") })
	step(s, nil, pinned, asOld)
	step(s, next, pinned, asOld) // the base stays the same, and so does the pin
	excluded := pinned
	excluded.Exclude = []string{"etc/p/a"}
	step(s, next, excluded, files{"etc/p/mode": "0644 1", "etc/p/d": ""})
	pinned.Now = day(20)
	follows := files{"etc/p/a": "3", "etc/p/gone": "", "etc/p/mode": "0600 1", "etc/p/mine": "own", "etc/p/new": "1", "etc/p/d/new": "1", "etc/p/\xff": "3"}
	step(s, last, pinned, follows)
	if len(report.Withheld) > 0 {
		t.Errorf("still withheld: %v", report.Withheld)
	}
	s.nodes = slices.Insert(s.nodes, 0, edited(t, s, "etc/p/edited", "mine"))
	report = s.serviced(func(root string) {
		files{"etc/p/edited": "mine", "var/lib/molt/beside/new/etc/p/edited": "3"}.check(t, root)
	})
}

// edited returns a node in which the user has put a file.
func edited(t *testing.T, s *scenario, name, text string) string {
	t.Helper()
	before := s.nodes
	s.work(s.old, func(root string) { sh{t, root}.put(name, text) })
	node := s.nodes[0]
	s.nodes = before
	return node
}
