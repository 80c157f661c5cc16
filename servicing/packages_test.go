// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// deb is a package; all are built and installed by the real dpkg.
type deb struct {
	name, version string
	fields        string // further ones, each with its newline
	files         files
	conffiles     []string
}

// file builds the package in a directory.
func (d deb) file(t tb, dir string) string {
	t.Helper()
	tree := filepath.Join(dir, d.name+"_"+d.version)
	d.files.build(t, tree)
	control := filepath.Join(tree, "DEBIAN")
	must(t, os.MkdirAll(control, 0o755))
	fields := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: for a test\n%s", d.name, d.version, d.fields)
	must(t, os.WriteFile(filepath.Join(control, "control"), []byte(fields), 0o644))
	if len(d.conffiles) > 0 {
		must(t, os.WriteFile(filepath.Join(control, "conffiles"), []byte("/"+strings.Join(d.conffiles, "\n/")+"\n"), 0o644))
	}
	var sums strings.Builder
	for name := range sortedKeys(d.files) {
		if info, err := os.Lstat(filepath.Join(tree, name)); err == nil && info.Mode().IsRegular() {
			out, err := exec.Command("md5sum", filepath.Join(tree, name)).Output()
			must(t, err)
			fmt.Fprintf(&sums, "%.32s  %s\n", out, name)
		}
	}
	must(t, os.WriteFile(filepath.Join(control, "md5sums"), []byte(sums.String()), 0o644))
	name := tree + ".deb"
	run(t, "dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, name)
	return name
}

func run(t tb, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// install installs packages below a root.
func install(t tb, root string, debs ...deb) {
	t.Helper()
	args := []string{"--root=" + root, "--force-confdef", "--force-confold", "--install"}
	dir := tempDir(t)
	for _, d := range debs {
		args = append(args, d.file(t, dir))
	}
	run(t, "dpkg", args...)
}

// debianRoot makes a base with packages.
func debianRoot(t tb, debs ...deb) string {
	t.Helper()
	root := tempDir(t)
	files{"var/lib/dpkg/status": "", "var/lib/dpkg/available": "", "var/lib/dpkg/info": "dir", "var/lib/dpkg/updates": "dir", "var/log": "dir"}.build(t, root)
	if len(debs) > 0 {
		install(t, root, debs...)
	}
	return root
}

// packageCase is a case of the list of cases about packages.
type packageCase struct {
	name     string
	old, new []deb
	user     func(u sh)
	versions map[string]string // afterwards; "" for not installed
	want     files
	verify   string // what dpkg --verify says: the user's own changes
	held     string // the package in the reason to hold
	code     HoldCode
	sides    map[string]unit.Side
}

func lib(version string) deb {
	return deb{name: "lib", version: version, files: files{"usr/lib/lib.so": "\x00lib " + version, "usr/lib/lib-" + version: version, "usr/share/doc/lib/copyright": "free"}}
}

func app(version, depends string) deb {
	d := deb{name: "app", version: version, files: files{"usr/bin/app": "0755 app " + version}}
	if depends != "" {
		d.fields = "Depends: " + depends + "\n"
	}
	return d
}

func conf(version, content string) deb {
	return deb{name: "conf", version: version, files: files{"etc/conf": content, "usr/bin/conf": "0755 conf " + version}, conffiles: []string{"etc/conf"}}
}

func (u sh) dpkg(args ...string) {
	u.t.Helper()
	run(u.t, "dpkg", append([]string{"--root=" + u.root}, args...)...)
}

func (u sh) install(debs ...deb) {
	u.t.Helper()
	install(u.t, u.root, debs...)
}

var packageCases = []packageCase{
	{
		name: "D1 installed by the user, others upgraded by the base", old: []deb{lib("1.0"), conf("1.0", oldText)}, new: []deb{lib("1.1"), conf("1.1", baseText)},
		user:     func(u sh) { u.install(app("1.0", "lib (>= 1.0)")); u.put("etc/conf", userText) },
		versions: map[string]string{"lib": "1.1", "app": "1.0", "conf": "1.1"},
		want:     files{"usr/lib/lib-1.0": "", "usr/lib/lib-1.1": "1.1", "usr/bin/app": "0755 app 1.0", "etc/conf": bothText, "usr/bin/conf": "0755 conf 1.1"},
		verify:   "??5?????? c /etc/conf\n",
	},
	{
		name: "D2 an exact version is gone", old: []deb{lib("1.0")}, new: []deb{lib("1.1")},
		user: func(u sh) { u.install(app("1.0", "lib (= 1.0)")) }, held: "app", code: "dependency",
	},
	{
		name: "D4 the user's version is higher", old: []deb{lib("1.0")}, new: []deb{lib("1.1")}, user: func(u sh) { u.install(lib("2.0")) },
		versions: map[string]string{"lib": "2.0"}, want: files{"usr/lib/lib-1.0": "", "usr/lib/lib-1.1": "", "usr/lib/lib-2.0": "2.0", "usr/lib/lib.so": "\x00lib 2.0"},
		sides: map[string]unit.Side{"lib": unit.User},
	},
	{
		name: "D4 the base's version is higher", old: []deb{lib("1.0")}, new: []deb{lib("2.0")}, user: func(u sh) { u.install(lib("1.1")) },
		versions: map[string]string{"lib": "2.0"}, want: files{"usr/lib/lib-1.0": "", "usr/lib/lib-1.1": "", "usr/lib/lib-2.0": "2.0", "usr/lib/lib.so": "\x00lib 2.0"},
		sides: map[string]unit.Side{"lib": unit.Base},
	},
	{
		name: "D4 the base's version is higher and has a file again", old: []deb{lib("1.0")}, new: []deb{{name: "lib", version: "2.0", files: lib("1.0").files}},
		user: func(u sh) { u.install(lib("1.1")) }, versions: map[string]string{"lib": "2.0"}, want: files{"usr/lib/lib-1.0": "1.0", "usr/lib/lib-1.1": "", "usr/lib/lib.so": "\x00lib 1.0"},
	},
	{
		name: "D4 both have the same version", old: []deb{lib("1.0")}, new: []deb{lib("1.1")}, user: func(u sh) { u.install(lib("1.1")) },
		versions: map[string]string{"lib": "1.1"}, want: files{"usr/lib/lib-1.0": "", "usr/lib/lib-1.1": "1.1"},
	},
	{
		name: "D4 both have the same version, a file of which was changed", old: []deb{conf("1.0", oldText)}, new: []deb{conf("1.1", baseText)},
		user:     func(u sh) { u.install(conf("1.1", baseText)); u.put("etc/conf", clashText) },
		versions: map[string]string{"conf": "1.1"}, want: files{"etc/conf": clashText, "var/lib/molt/beside/new/etc/conf": ""}, verify: "??5?????? c /etc/conf\n",
	},
	{
		name: "D5 removed by the user", old: []deb{lib("1.0"), app("1.0", "")}, new: []deb{lib("1.1"), app("1.0", "")}, user: func(u sh) { u.dpkg("--purge", "lib") },
		versions: map[string]string{"lib": "", "app": "1.0"}, want: files{"usr/lib/lib.so": "", "usr/lib/lib-1.1": "", "usr/share/doc/lib": "", "var/lib/dpkg/info/lib.list": ""},
	},
	{
		name: "D5 removed by the user, configuration left", old: []deb{conf("1.0", oldText), lib("1.0")}, new: []deb{conf("1.1", baseText), lib("1.1")}, user: func(u sh) { u.dpkg("--remove", "conf") },
		versions: map[string]string{"conf": "", "lib": "1.1"}, want: files{"usr/bin/conf": "", "etc/conf": oldText},
	},
	{
		name: "D6 the base dropped a dependency", old: []deb{lib("1.0")}, new: []deb{conf("1.0", oldText)}, user: func(u sh) { u.install(app("1.0", "lib")) },
		held: "app", code: "dependency",
	},
	{
		name: "D6 an alternative is left", old: []deb{lib("1.0")}, new: []deb{{name: "other", version: "1", fields: "Provides: lib-api (= 3)\n"}}, user: func(u sh) { u.install(app("1.0", "lib | lib-api (>= 2)")) },
		versions: map[string]string{"app": "1.0", "lib": "", "other": "1"},
	},
	{
		name: "R7 held by the user", old: []deb{lib("1.0")}, new: []deb{lib("1.1")},
		user: func(u sh) {
			run(u.t, "sh", "-c", "echo lib hold | dpkg --root="+u.root+" --set-selections")
		},
		versions: map[string]string{"lib": "1.0"}, want: files{"usr/lib/lib-1.0": "1.0", "usr/lib/lib-1.1": "", "usr/lib/lib.so": "\x00lib 1.0"}, sides: map[string]unit.Side{"lib": unit.User},
	},
	{
		name: "R7 removed from the base", old: []deb{lib("1.0"), conf("1.0", oldText), app("1.0", "")}, new: []deb{app("1.1", "")},
		user: func(u sh) {
			u.put("etc/conf", userText)
			u.put("usr/bin/conf", "0755 mine")
			u.install(deb{name: "own", version: "1"})
		},
		versions: map[string]string{"lib": "", "conf": "", "app": "1.1", "own": "1"},
		want:     files{"usr/lib/lib.so": "", "etc/conf": userText, "usr/bin/conf": "", "var/lib/molt/beside/old/usr/bin/conf": "0755 mine"},
	},
	{
		name: "A6 a program replaced by hand", old: []deb{lib("1.0")}, new: []deb{lib("1.1")}, user: func(u sh) { u.put("usr/lib/lib.so", "\x00mine") },
		versions: map[string]string{"lib": "1.1"}, want: files{"usr/lib/lib.so": "\x00mine", "var/lib/molt/beside/new/usr/lib/lib.so": ""}, verify: "??5??????   /usr/lib/lib.so\n",
	},
	{
		name: "A7 the mode of a program", old: []deb{app("1.0", "")}, new: []deb{app("1.1", "")}, user: func(u sh) { u.chmod("usr/bin/app", 0o700) },
		versions: map[string]string{"app": "1.1"}, want: files{"usr/bin/app": "0700 app 1.1"},
	},
	{
		name: "D15 interrupted", old: []deb{lib("1.0")}, new: []deb{lib("1.1")},
		user: func(u sh) { u.dpkg("--unpack", app("1.0", "").file(u.t, tempDir(u.t))) }, held: "app", code: "package-manager-interrupted",
	},
	{
		name: "D15 unfinished journal", old: []deb{lib("1.0")}, new: []deb{lib("1.1")}, user: func(u sh) { u.put("var/lib/dpkg/updates/0001", "Package: x\n") }, code: "package-manager-interrupted",
	},
	{
		name: "a package of the user's that breaks the new one", old: []deb{lib("1.0")}, new: []deb{lib("1.1")},
		user: func(u sh) {
			u.install(deb{name: "own", version: "1", fields: "Breaks: lib (>= 1.1)\n"})
		}, held: "own", code: "dependency",
	},
}

func TestPackageCases(t *testing.T) {
	for _, tool := range []string{"dpkg", "dpkg-deb", "apt-get"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	for _, c := range packageCases {
		t.Run(c.name, func(t *testing.T) {
			s := &scenario{t: t, old: debianRoot(t, c.old...), base: debianRoot(t, c.new...)}
			s.work(s.old, func(root string) { c.user(sh{t, root}) })
			if c.code != "" {
				c.checkHeld(t, s)
				return
			}
			report := s.serviced(func(root string) {
				c.want.check(t, root)
				checkDebian(t, root, c.versions, c.verify)
			})
			for _, p := range report.Packages {
				if want, ok := c.sides[p.Name]; ok && p.Side != want {
					t.Errorf("the side of %s is %s: %s", p.Name, p.Side, p.Reason)
				}
			}
			unchangedBase(t, s)
		})
	}
}

func (c packageCase) checkHeld(t *testing.T, s *scenario) {
	t.Helper()
	p := s.plan(Options{})
	held := p.Held()
	if len(held) != 1 || held[0].Code != c.code || held[0].Package != c.held {
		t.Fatalf("held: %v", held)
	}
	if err := p.Write(t.Context(), tempDir(t)); err == nil {
		t.Error("written although it is held")
	}
	if forced := s.plan(Options{Force: true}); len(forced.Held()) > 0 || !forced.Report().Forced {
		t.Errorf("forced, but held: %v", forced.Held())
	}
}

// checkDebian checks the database with the package manager itself.
func checkDebian(t tb, root string, versions map[string]string, verify string) {
	t.Helper()
	for name, want := range versions {
		out, err := exec.Command("dpkg-query", "--root="+root, "-W", "-f", "${db:Status-Status} ${Version}", name).Output()
		got, installed := strings.CutPrefix(string(out), "installed ")
		if err != nil || !installed {
			got = ""
		}
		if got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if out, _ := exec.Command("dpkg", "--root="+root, "--verify").CombinedOutput(); string(out) != verify {
		t.Errorf("dpkg --verify:\n%s\nwant:\n%s", out, verify)
	}
	if out := run(t, "dpkg", "--root="+root, "--audit"); out != "" {
		t.Errorf("dpkg --audit:\n%s", out)
	}
	state := tempDir(t)
	files{"lists/partial": "dir", "cache/archives/partial": "dir", "etc": "dir"}.build(t, state)
	run(t, "apt-get", "-o", "Dir::State::status="+root+"/var/lib/dpkg/status", "-o", "Dir::State="+state, "-o", "Dir::State::lists="+state+"/lists",
		"-o", "Dir::Cache="+state+"/cache", "-o", "Dir::Etc="+state+"/etc", "-o", "Debug::NoLocking=1", "check")
}
