// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// said writes what an explanation says of each directory of the stack, in short.
func said(e *Explanation) string {
	var out []string
	for _, s := range e.Stack {
		text := s.From + " " + s.What
		if s.At != "" {
			text += " at " + s.At
		}
		if s.Shown {
			text += " shown"
		}
		if s.Merged {
			text += " merged"
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

func TestExplain(t *testing.T) {
	s := newScenario(t, files{"etc/a": "1", "etc/b": "1", "d/x": "1", "e/x": "1", "etc/machine-id": "1\n", "f": "1", "usr/bin/p": "0755 \x00"}, files{}, func(root string) {
		u := sh{t, root}
		u.put("etc/a", "0640 2")
		u.rm("etc/b", "d", "e", "f")
		u.put("e/y", "1")
		u.put("f/g", "1")
		u.put("srv/data", "1")
		u.put("opt/a.db", sqlite)
	})
	s.work(s.old, func(root string) { sh{t, root}.put("etc/a", "0600 3"); sh{t, root}.put("etc/c", "1") })
	names := []string{"top", "low", "base"}
	in := Input{New: tree.Stack{s.old}, User: s.nodes, Options: Options{
		Policy: Policy{ConcernData: ActionHold}, Exclude: []string{"mnt"}, Now: day(2),
		Pins: []Pin{{Path: "etc/a", Reason: "old", Expires: day(1)}, {Path: "etc/?", Reason: "still"}, {Path: "d", Expires: day(1)}},
	}}
	for _, c := range []struct {
		path, said, driver string
		exists             bool
		concern            Concern
		action             Action
		pin                string
	}{
		{path: "etc/a", said: "top regular file shown; low regular file; base regular file", exists: true, driver: "text", concern: ConcernText, action: ActionBeside, pin: "still"},
		{path: "etc/b", said: "low whiteout; base regular file", concern: ConcernDeletedByUser, action: ActionKeep, pin: "still", driver: ""},
		{path: "etc", said: "top directory shown; low directory merged; base directory merged", exists: true, concern: ConcernText, action: ActionBeside},
		{path: "d/x", said: "low whiteout at d; base regular file", concern: ConcernDeletedByUser, action: ActionKeep, pin: "expired"},
		{path: "e", said: "low opaque directory shown; base directory", exists: true, concern: ConcernText, action: ActionBeside},
		{path: "e/x", said: "low opaque directory at e; base regular file", concern: ConcernDeletedByUser, action: ActionKeep},
		{path: "f/g", said: "low regular file shown; base regular file at f", exists: true, driver: "text", concern: ConcernText, action: ActionBeside},
		{path: "srv/data", said: "low regular file shown", exists: true, concern: ConcernData, action: ActionHold},
		{path: "opt/a.db", said: "low regular file shown", exists: true, driver: "sqlite", concern: ConcernBinary, action: ActionBeside},
		{path: "etc/machine-id", said: "base regular file shown", exists: true, driver: "identity", concern: ConcernIdentity, action: ActionKeep},
		{path: "usr/bin/p", said: "base regular file shown", exists: true, concern: ConcernBinary, action: ActionBeside},
		{path: "nothing/here", concern: ConcernDeletedByUser, action: ActionKeep},
		{path: ".", said: "top directory shown; low directory merged; base directory merged", exists: true, concern: ConcernText, action: ActionBeside},
	} {
		e, err := Explain(t.Context(), in, c.path, names)
		must(t, err)
		pin := ""
		if e.Pin != nil {
			if pin = e.Pin.Reason; e.PinExpired {
				pin = "expired"
			}
		}
		if said(e) != c.said || e.Exists != c.exists || e.Driver != c.driver || e.Concern != c.concern || e.Action != c.action || pin != c.pin {
			t.Errorf("%s: %s; exists %v, driver %q, concern %s, action %s, pin %q", c.path, said(e), e.Exists, e.Driver, e.Concern, e.Action, pin)
		}
	}
	e, err := Explain(t.Context(), in, "etc/a", names)
	must(t, err)
	if top := e.Stack[0]; top.Mode != "0600" || !top.Storage || e.Stack[2].Storage || !strings.HasPrefix(string(top.Content), "sha256:") || top.Size != 1 || top.Time.IsZero() {
		t.Errorf("%+v", top)
	}
	if _, err := Explain(t.Context(), in, "etc/a", nil); err == nil {
		t.Error("explained without names")
	}
	if _, err := Explain(t.Context(), in, "/etc/a", names); err == nil {
		t.Error("explained an absolute path")
	}
}

func TestExplainPackages(t *testing.T) {
	base := debianRoot(t, lib("1.0"))
	s := &scenario{t: t, old: base, base: base}
	s.work(base, func(root string) { sh{t, root}.install(lib("2.0"), app("1.0", "")) })
	in := Input{New: tree.Stack{base}, User: s.nodes}
	for _, c := range []struct{ path, seen, base, driver string }{
		{"usr/lib/lib.so", "lib 2.0", "lib 1.0", ""},
		{"usr/bin/app", "app 1.0", "", "text"},
		{"usr/lib/lib-1.0", "", "lib 1.0", ""},
		{dpkgStatus, "", "", "dpkg"},
	} {
		e, err := Explain(t.Context(), in, c.path, []string{"w", "b"})
		must(t, err)
		if fix(e.Package) != c.seen || fix(e.BasePackage) != c.base || e.Driver != c.driver {
			t.Errorf("%s: %s %s %s", c.path, fix(e.Package), fix(e.BasePackage), e.Driver)
		}
	}
}

func fix(f *Fix) string {
	if f == nil {
		return ""
	}
	return f.Package + " " + f.Version
}

// TestAuditHeld: a storage whose update is held is compared with the base that it would be on, and what its user has nothing to do
// with is told from what is the user's.
func TestAuditHeld(t *testing.T) {
	stands := debianRoot(t, lib("1.0"), conf("1.0", oldText), app("1.0", ""))
	held := debianRoot(t, lib("1.1"), conf("1.0", oldText), app("1.1", ""))
	s := &scenario{t: t, old: stands, base: stands}
	s.work(stands, func(root string) {
		u := sh{t, root}
		u.install(app("0.9", ""))
		u.put("etc/conf", userText)
	})
	in := Input{Old: tree.Stack{stands}, New: tree.Stack{held}, User: s.nodes}
	r, err := AuditHeld(t.Context(), in)
	must(t, err)
	var got []string
	for _, p := range r.Packages {
		got = append(got, fmt.Sprintf("%s %s over %s, lower: %v, held: %v", p.Name, p.Base, p.Seen, p.Lower, p.Reason == heldUpdate))
	}
	want := []string{"app 1.1 over 0.9, lower: true, held: false", "lib 1.1 over 1.0, lower: true, held: true"}
	if !slices.Equal(got, want) || r.Fixes < 2 {
		t.Errorf("got %q with %d fixes, want %q", got, r.Fixes, want)
	}
	on, err := Audit(t.Context(), Input{New: tree.Stack{stands}, User: s.nodes})
	must(t, err)
	if len(on.Packages) != 1 {
		t.Errorf("on the base that it stands on: %+v", on.Packages)
	}
}

func TestAudit(t *testing.T) {
	first := debianRoot(t, lib("1.0"), conf("1.0", oldText), app("1.0", ""))
	base := debianRoot(t, lib("1.1"), conf("1.0", oldText), app("1.1", ""))
	s := &scenario{t: t, old: base, base: base}
	s.work(base, func(root string) {
		u := sh{t, root}
		u.install(app("1.0", "")) // lower than the base's: a downgrade
		u.put("usr/lib/lib.so", "\x00mine")
		u.put("etc/conf", userText)
		u.touch("usr/bin/conf")
		u.rm("usr/share/doc/lib", "usr/lib/lib-1.1")
		u.put("opt/own", "1")
	})
	for _, c := range []struct {
		name string
		old  tree.Stack
		want []string
	}{
		{"alone", nil, []string{
			"app 1.1 over 1.0 lower", "etc/conf replaced", "usr/bin/app other version fix", "usr/lib/lib-1.1 deleted", "usr/lib/lib.so replaced",
			"usr/share/doc/lib/copyright deleted",
		}},
		{"since an earlier base", tree.Stack{first}, []string{
			"app 1.1 over 1.0 lower", "etc/conf replaced", "usr/bin/app other version fix", "usr/lib/lib-1.1 deleted fix", "usr/lib/lib.so replaced fix pinned",
			"usr/share/doc/lib/copyright deleted",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := Input{Old: c.old, New: tree.Stack{base}, User: s.nodes}
			if c.old != nil {
				in.Options.Pins = []Pin{{Path: "*.so"}}
			}
			r, err := Audit(t.Context(), in)
			must(t, err)
			var got []string
			fixes := 0
			for _, p := range r.Packages {
				got = append(got, fmt.Sprintf("%s %s over %s lower", p.Name, p.Base, p.Seen))
				if p.Lower {
					fixes++
				}
			}
			for _, p := range r.Paths {
				text := p.Path + " " + p.How
				if p.Fix {
					text += " fix"
					if p.Package != "app" { // which is counted as a package
						fixes++
					}
				}
				if p.Pin != nil {
					text += " pinned"
				}
				got = append(got, text)
			}
			if !slices.Equal(got, c.want) || fixes != r.Fixes {
				t.Errorf("got %q (%d fixes)\nwant %q (%d)", got, r.Fixes, c.want, fixes)
			}
			again, err := Audit(t.Context(), in)
			must(t, err)
			one, err := json.Marshal(r)
			must(t, err)
			two, err := json.Marshal(again)
			must(t, err)
			if string(one) != string(two) {
				t.Errorf("another report from the same inputs: %s %s", one, two)
			}
		})
	}
	r, err := Audit(t.Context(), Input{New: tree.Stack{base}})
	must(t, err)
	if len(r.Paths)+len(r.Packages) > 0 {
		t.Errorf("an empty storage hides %+v", r)
	}
}
