// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// small and whole are packages of one source, of which the second needs the very version of the first.
func small(version string) deb {
	return deb{
		name: "small", version: version, fields: "Source: tied\n", conffiles: []string{"etc/small"},
		files: files{"usr/bin/small": "0755 small " + version, "usr/lib/small-" + version: version, "etc/small": "small " + version + "\n", "usr/lib/small": "-> small-" + version},
	}
}

func whole(version string) deb {
	return deb{name: "whole", version: version, fields: "Source: tied\nDepends: small (= " + version + ")\n", files: files{"usr/bin/whole": "0755 whole " + version}}
}

// waits are the packages that wait in a scenario with small and whole.
func waits(kept, base string) []Waiting {
	return []Waiting{{
		Package: "small", Arch: "all", Source: "tied", Kept: kept, Base: base, Fix: true,
		For: []unit.Dependent{{Package: "whole", Version: kept, Needs: "small (= " + kept + ")"}},
		Do:  "apt-get update && apt-get install --only-upgrade small whole",
	}}
}

// tiedScenario is a storage whose user installed whole, and of which small waits after an update to 1.1. Files of the
// bases are emptied.
func tiedScenario(t *testing.T, empty ...string) (s *scenario, report *Report) {
	t.Helper()
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip(err)
	}
	s = &scenario{t: t, old: debianRoot(t, small("1.0"), conf("1.0", oldText)), base: debianRoot(t, small("1.1"), conf("1.1", baseText))}
	for _, base := range []string{s.old, s.base} {
		emptied(t, base, empty...)
	}
	s.work(s.old, func(root string) { sh{t, root}.install(whole("1.0")) })
	report = s.serviced(func(root string) {
		checkSmall(t, root, "1.0", map[string]string{"small": "1.0", "whole": "1.0", "conf": "1.1"})
	})
	if !slices.EqualFunc(report.Waiting, waits("1.0", "1.1"), sameWaiting) {
		t.Fatalf("waiting: %s", encoded(t, report))
	}
	return s, report
}

func emptied(t *testing.T, root string, names ...string) {
	t.Helper()
	for _, name := range names {
		must(t, os.Truncate(filepath.Join(root, name), 0))
	}
}

func sameWaiting(a, b Waiting) bool {
	same := slices.Equal(a.For, b.For)
	a.For, b.For = nil, nil
	return same && a.Package == b.Package && a.Arch == b.Arch && a.Source == b.Source && a.Kept == b.Kept && a.Base == b.Base &&
		a.Fix == b.Fix && a.With == b.With && a.Do == b.Do
}

// checkSmall checks that small is there in one version, whole, and that dpkg finds nothing wrong.
func checkSmall(t *testing.T, root, version string, versions map[string]string) {
	t.Helper()
	other := map[string]string{"1.0": "1.1", "1.1": "1.0", "1.2": "1.0"}[version]
	files{
		"usr/bin/small": "0755 small " + version, "usr/lib/small-" + version: version, "usr/lib/small-" + other: "",
		"etc/small": "small " + version + "\n", "usr/lib/small": "-> small-" + version, "var/lib/molt/beside/new/etc/small": "", "var/lib/molt/beside/old/etc/small": "",
	}.check(t, root)
	checkDebian(t, root, versions, "")
}

// next returns the scenario of the update after the first one, in which the user has done something in the meantime.
func next(s *scenario, report *Report, base string, user func(root string)) *scenario {
	s.t.Helper()
	after := &scenario{t: s.t, old: s.base, base: base, nodes: slices.Concat(s.delta(s.plan(s.options)), s.nodes), withheld: report.Withheld, waiting: report.Waiting}
	after.work(s.base, user)
	return after
}

// TestK16 applies an update but for the package that another one of the same source needs in its old version. What waits does not
// count as the user's: it follows the base as soon as nothing needs it, and until then it waits in each update.
func TestK16(t *testing.T) {
	for _, c := range []struct {
		name   string
		user   func(u sh) // after the first update
		base   []deb      // of the second one
		want   string     // the version of small
		whole  string
		waits  []Waiting
		policy Policy
	}{
		{name: "still needed", user: func(sh) {}, base: []deb{small("1.2")}, want: "1.0", whole: "1.0", waits: waits("1.0", "1.2")},
		{name: "the base does not change it again", user: func(sh) {}, base: []deb{small("1.1")}, want: "1.0", whole: "1.0", waits: waits("1.0", "1.1")},
		{name: "no longer needed", user: func(u sh) { u.dpkg("--purge", "whole") }, base: []deb{small("1.2")}, want: "1.2"},
		{name: "no longer needed, and the base does not change it again", user: func(u sh) { u.dpkg("--purge", "whole") }, base: []deb{small("1.1")}, want: "1.1"},
		{name: "upgraded in the container", user: func(u sh) { u.install(small("1.1"), whole("1.1")) }, base: []deb{small("1.1")}, want: "1.1", whole: "1.1"},
		{name: "upgraded in the container, and the base goes on", user: func(u sh) { u.install(small("1.1"), whole("1.1")) }, base: []deb{small("1.2")}, want: "1.1", whole: "1.1", waits: waits("1.1", "1.2")},
		{name: "upgraded in the container to what comes", user: func(u sh) { u.install(small("1.2"), whole("1.2")) }, base: []deb{small("1.2")}, want: "1.2", whole: "1.2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, report := tiedScenario(t)
			after := next(s, report, debianRoot(t, append(c.base, conf("1.1", baseText))...), func(root string) { c.user(sh{t, root}) })
			again := after.serviced(func(root string) {
				checkSmall(t, root, c.want, map[string]string{"small": c.want, "whole": c.whole, "conf": "1.1"})
			})
			if !slices.EqualFunc(again.Waiting, c.waits, sameWaiting) {
				t.Errorf("waiting: %v, want %v", again.Waiting, c.waits)
			}
		})
	}
}

// TestK16Withdrawn carries what was written after an update back to the old base: what waited needs nothing there, and what was
// upgraded in the container stays.
func TestK16Withdrawn(t *testing.T) {
	for _, c := range []struct {
		name string
		user func(u sh)
		want string
	}{
		{name: "nothing done", user: func(u sh) { u.put("srv/x", "1") }, want: "1.0"},
		{name: "upgraded", user: func(u sh) { u.install(small("1.1"), whole("1.1")) }, want: "1.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, report := tiedScenario(t)
			after := next(s, report, s.base, func(root string) { c.user(sh{t, root}) })
			in := Input{
				Old: slices.Concat(tree.Stack(after.nodes[1:]), tree.Stack{s.base}), New: slices.Concat(tree.Stack(s.nodes), tree.Stack{s.old}), User: tree.Stack(after.nodes[:1]),
				Withheld: report.Withheld, Waiting: report.Waiting,
			}
			p, err := NewPlan(context.Background(), in)
			must(t, err)
			defer func() { must(t, p.Close()) }()
			if len(p.Held()) > 0 {
				t.Fatalf("held: %v", p.Held())
			}
			lower := slices.Concat(in.User, in.New)
			if !p.Empty() {
				delta := tempDir(t)
				must(t, p.Write(context.Background(), delta))
				lower = append(tree.Stack{delta}, lower...)
			}
			s.mounted("", lower, func(root string) {
				checkSmall(t, root, c.want, map[string]string{"small": c.want, "whole": c.want})
			})
			if len(p.Report().FixesWaiting()) > 0 {
				t.Errorf("fixes wait on the old base: %v", p.Report().Waiting)
			}
		})
	}
}

// TestK16Audited: an audit names what waits, for whom, and the command that ends it, until that was run.
func TestK16Audited(t *testing.T) {
	s, report := tiedScenario(t)
	after := next(s, report, s.base, func(string) {})
	audit := func() *AuditReport {
		r, err := Audit(context.Background(), Input{Old: tree.Stack{s.old}, New: tree.Stack{s.base}, User: after.nodes, Waiting: report.Waiting})
		must(t, err)
		return r
	}
	found := audit()
	if len(found.Packages) != 1 || found.Fixes == 0 || found.Packages[0].Waits == nil || !strings.Contains(found.Packages[0].Waits.Do, "small whole") {
		t.Errorf("the audit finds %+v", found.Packages)
	}
	after.work(s.base, func(root string) { sh{t, root}.install(small("1.1"), whole("1.1")) })
	if found := audit(); found.Fixes != 0 {
		t.Errorf("after the upgrade the audit finds %+v, %+v", found.Packages, found.Paths)
	}
}

// TestTieWithTheUsersConfiguration: an edit of a configuration file of a package that waits stays, and is merged when it no longer
// waits.
func TestTieWithTheUsersConfiguration(t *testing.T) {
	s, _ := tiedScenario(t)
	s.work(s.old, func(root string) { sh{t, root}.put("etc/small", "mine\n") })
	report := s.serviced(func(root string) {
		files{"etc/small": "mine\n", "usr/lib/small-1.0": "1.0", "usr/lib/small-1.1": ""}.check(t, root)
		checkDebian(t, root, map[string]string{"small": "1.0"}, "??5?????? c /etc/small\n")
	})
	after := next(s, report, debianRoot(t, small("1.2"), conf("1.1", baseText)), func(root string) { sh{t, root}.dpkg("--purge", "whole") })
	after.serviced(func(root string) {
		files{"etc/small": "mine\n", "usr/lib/small-1.2": "1.2", "usr/lib/small-1.0": ""}.check(t, root)
		checkDebian(t, root, map[string]string{"small": "1.2"}, "??5?????? c /etc/small\n")
	})
}

// TestTieWithoutDigests: files of which no digest is known follow the base, too, when their package no longer waits.
func TestTieWithoutDigests(t *testing.T) {
	const digests = "var/lib/dpkg/info/small.md5sums"
	s, report := tiedScenario(t, digests)
	base := debianRoot(t, small("1.2"), conf("1.1", baseText))
	emptied(t, base, digests)
	after := next(s, report, base, func(root string) { sh{t, root}.dpkg("--purge", "whole") })
	after.serviced(func(root string) { checkSmall(t, root, "1.2", map[string]string{"small": "1.2"}) })
}

// TestTiePolicies: hold holds what keep-source, the default, lets wait.
func TestTiePolicies(t *testing.T) {
	s, _ := tiedScenario(t)
	held := s.plan(Options{Policy: Policy{ConcernDependency: ActionHold}}).Held()
	if len(held) != 1 || held[0].Code != HoldDependency || held[0].Package != "whole" {
		t.Errorf("held: %v", held)
	}
	for _, action := range []Action{ActionKeep, ActionKeepSource} {
		p := s.plan(Options{Policy: Policy{ConcernDependency: action}})
		if len(p.Held()) > 0 || !slices.EqualFunc(p.Report().Waiting, waits("1.0", "1.1"), sameWaiting) {
			t.Errorf("with %s: held %v, waiting %v", action, p.Held(), p.Report().Waiting)
		}
	}
}

// TestTieOfAlpine is the same for apk, where packages of one source have one origin.
func TestTieOfAlpine(t *testing.T) {
	library := func(version string) apkPackage {
		pkg := alpineLib(version)
		pkg.origin = "tied"
		return pkg
	}
	dev := alpineApp("1.0", "lib=1.0")
	dev.origin = "tied"
	first := &scenario{
		t: t, old: alpineRoot(t, "lib scripted", library("1.0"), scripted("1", oldText)), base: alpineRoot(t, "lib scripted", library("1.1"), scripted("2", baseText)),
	}
	first.work(first.old, func(root string) { apkTree{t, root}.add(dev) })
	report := first.serviced(func(root string) {
		files{"lib/lib.so.1": "0755 \x00lib 1.0", "usr/lib/lib-1.0": "1.0", "usr/lib/lib-1.1": ""}.check(t, root)
		apkTree{t, root}.verify(map[string]string{"lib": "1.0", "app": "1.0", "scripted": "2"})
	})
	want := []Waiting{{
		Package: "lib", Arch: "x86_64", Source: "tied", Kept: "1.0", Base: "1.1", Fix: true,
		For: []unit.Dependent{{Package: "app", Version: "1.0", Needs: "lib=1.0"}}, Do: "apk update && apk add --upgrade app lib",
	}}
	if !slices.EqualFunc(report.Waiting, want, sameWaiting) {
		t.Errorf("waiting: %v, want %v", report.Waiting, want)
	}
	for name, packages := range map[string][]apkPackage{
		"1.2": {library("1.2"), scripted("2", baseText)}, "1.1": {library("1.1"), scripted("2", baseText)}, // the base does not change it again
	} {
		after := next(first, report, alpineRoot(t, "lib scripted", packages...), func(root string) { apkTree{t, root}.remove("app") })
		again := after.serviced(func(root string) {
			files{"lib/lib.so.1": "0755 \x00lib " + name, "usr/lib/lib-1.0": "", "usr/lib/lib-" + name: name}.check(t, root)
			apkTree{t, root}.verify(map[string]string{"lib": name, "app": "", "scripted": "2"})
		})
		if len(again.Waiting) > 0 {
			t.Errorf("waiting: %v", again.Waiting)
		}
	}
}
