// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// apkPackage is a package of Alpine's; all are installed by what apk does to a tree, written down here once more.
type apkPackage struct {
	name, version     string
	depends, provides string
	origin            string
	files             files
	script, trigger   string
}

// id is what stands for the archive that it comes from.
func (a apkPackage) id() string { return digestQ1([]byte(a.name + a.version)) }

func digestQ1(content []byte) string {
	sum := sha1.Sum(content)
	return "Q1" + base64.StdEncoding.EncodeToString(sum[:])
}

// record is what the database says about it.
func (a apkPackage) record() string {
	lines := []string{"C:" + a.id(), "P:" + a.name, "V:" + a.version, "A:x86_64", "T:for a test"}
	for key, value := range map[string]string{"D": a.depends, "p": a.provides, "o": a.origin} {
		if value != "" {
			lines = append(lines, key+":"+value)
		}
	}
	slices.Sort(lines[5:])
	dir := ""
	for name := range sortedKeys(a.files) {
		if path.Dir(name) != dir {
			dir = path.Dir(name)
			lines = append(lines, "F:"+dir)
		}
		content, _ := strings.CutPrefix(a.files[name], "0755 ")
		lines = append(lines, "R:"+path.Base(name), "a:0:0:755", "Z:"+digestQ1([]byte(content)))
	}
	return strings.Join(lines, "\n") + "\n\n"
}

// apkTree is a tree with packages.
type apkTree struct {
	t    tb
	root string
}

func (a apkTree) read(name string) string {
	a.t.Helper()
	content, err := os.ReadFile(filepath.Join(a.root, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		a.t.Fatal(err)
	}
	return string(content)
}

// records returns the database's records by package.
func (a apkTree) records() map[string]string {
	out := map[string]string{}
	for record := range strings.SplitSeq(a.read("lib/apk/db/installed"), "\n\n") {
		for line := range strings.SplitSeq(record, "\n") {
			if name, ok := strings.CutPrefix(line, "P:"); ok {
				out[name] = record + "\n\n"
			}
		}
	}
	return out
}

// scripts returns the members of the archive of scripts.
func (a apkTree) scripts() map[string]string {
	out := map[string]string{}
	r := tar.NewReader(strings.NewReader(a.read("lib/apk/db/scripts.tar")))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		must(a.t, err)
		content, err := io.ReadAll(r)
		must(a.t, err)
		out[h.Name] = string(content)
	}
}

func (a apkTree) write(records, scripts map[string]string, triggers []string) {
	a.t.Helper()
	installed := ""
	for name := range sortedKeys(records) {
		installed += records[name]
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for name := range sortedKeys(scripts) {
		must(a.t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(scripts[name])), Format: tar.FormatGNU}))
		_, err := io.WriteString(w, scripts[name])
		must(a.t, err)
	}
	must(a.t, w.Close())
	files{"lib/apk/db/installed": installed, "lib/apk/db/scripts.tar": archive.String(), "lib/apk/db/triggers": strings.Join(triggers, "")}.build(a.t, a.root)
}

// remove removes packages with their files, apart from changed ones in etc.
func (a apkTree) remove(names ...string) {
	a.t.Helper()
	records, scripts := a.records(), a.scripts()
	triggers := slices.Collect(strings.Lines(a.read("lib/apk/db/triggers")))
	for _, name := range names {
		for file, digest := range filesOf(records[name]) {
			if !strings.HasPrefix(file, "etc/") || digestQ1([]byte(a.read(file))) == digest {
				must(a.t, os.RemoveAll(filepath.Join(a.root, file)))
			}
		}
		id, version := field(records[name], "C"), field(records[name], "V")
		delete(scripts, name+"-"+version+"."+id+".post-install")
		triggers = slices.DeleteFunc(triggers, func(line string) bool { return strings.HasPrefix(line, id) })
		delete(records, name)
	}
	a.write(records, scripts, triggers)
}

// add installs packages in place of other versions, keeping changed files in etc.
func (a apkTree) add(all ...apkPackage) {
	a.t.Helper()
	for _, pkg := range all {
		before := a.records()[pkg.name]
		kept := map[string]bool{}
		for file, digest := range filesOf(before) {
			kept[file] = strings.HasPrefix(file, "etc/") && digestQ1([]byte(a.read(file))) != digest
		}
		if before != "" {
			a.remove(pkg.name)
		}
		for name, what := range pkg.files {
			if !kept[name] {
				files{name: what}.build(a.t, a.root)
			}
		}
		records, scripts := a.records(), a.scripts()
		triggers := slices.Collect(strings.Lines(a.read("lib/apk/db/triggers")))
		records[pkg.name] = pkg.record()
		if pkg.script != "" {
			scripts[pkg.name+"-"+pkg.version+"."+pkg.id()+".post-install"] = pkg.script
		}
		if pkg.trigger != "" {
			triggers = append(triggers, pkg.id()+" "+pkg.trigger+"\n")
		}
		a.write(records, scripts, triggers)
	}
}

// world asks for packages.
func (a apkTree) world(words ...string) {
	a.t.Helper()
	files{"etc/apk/world": strings.Join(words, "\n") + "\n"}.build(a.t, a.root)
}

func field(record, key string) string {
	for line := range strings.SplitSeq(record, "\n") {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			return value
		}
	}
	return ""
}

// filesOf returns the digests of a record's files by path.
func filesOf(record string) map[string]string {
	out := map[string]string{}
	dir, file := "", ""
	for line := range strings.SplitSeq(record, "\n") {
		switch key, value, _ := strings.Cut(line, ":"); key {
		case "F":
			dir = value
		case "R":
			file = path.Join(dir, value)
		case "Z":
			out[file] = value
		}
	}
	return out
}

func alpineRoot(t tb, world string, all ...apkPackage) string {
	t.Helper()
	root := tempDir(t)
	a := apkTree{t, root}
	files{"lib/apk/db/lock": "", "usr": "dir", "etc/alpine-release": "3.20\n"}.build(t, root)
	a.write(nil, nil, nil)
	a.add(all...)
	a.world(strings.Fields(world)...)
	return root
}

// verify checks that the database tells the truth: which packages in which versions, their files, scripts and triggers.
// edited lists the files that the user changed.
func (a apkTree) verify(versions map[string]string, edited ...string) {
	a.t.Helper()
	records, scripts := a.records(), a.scripts()
	for name, want := range versions {
		if got := field(records[name], "V"); got != want {
			a.t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if count := strings.Count(a.read("lib/apk/db/installed"), "P:"); count != len(records) {
		a.t.Errorf("%d records of %d packages", count, len(records))
	}
	known := map[string]bool{}
	for name, record := range records {
		id := field(record, "C")
		known[id] = true
		for file, digest := range filesOf(record) {
			if got := digestQ1([]byte(a.read(file))); got != digest && !slices.Contains(edited, file) {
				a.t.Errorf("%s of %s is not as its package has it", file, name)
			}
		}
		script := name + "-" + field(record, "V") + "." + id + ".post-install"
		if _, there := scripts[script]; there != strings.HasPrefix(name, "script") {
			a.t.Errorf("the script %s is there: %v", script, there)
		}
		delete(scripts, script)
	}
	if len(scripts) > 0 {
		a.t.Errorf("scripts of packages that are not there: %v", scripts)
	}
	for line := range strings.Lines(a.read("lib/apk/db/triggers")) {
		if id, _, _ := strings.Cut(line, " "); !known[id] {
			a.t.Errorf("a trigger of no package: %q", line)
		}
	}
}

func alpineLib(version string) apkPackage {
	return apkPackage{name: "lib", version: version, provides: "so:lib.so.1=" + version, files: files{
		"lib/lib.so.1": "0755 \x00lib " + version, "usr/lib/lib-" + version: version, "usr/share/lib/a": version,
	}}
}

// scripted has a configuration file, a script and a trigger.
func scripted(version, conf string) apkPackage {
	return apkPackage{name: "scripted", version: version, files: files{"etc/scripted.conf": conf, "usr/bin/scripted": "0755 " + version},
		script: "#!/bin/sh\n# " + version + "\n", trigger: "/usr/share/" + version}
}

func alpineApp(version, depends string) apkPackage {
	return apkPackage{name: "app", version: version, depends: depends, provides: "cmd:app=" + version, files: files{"usr/bin/app": "0755 app " + version}}
}

var alpineCases = []struct {
	name           string
	old, new       []apkPackage
	worlds         [2]string // of the bases
	user           func(a apkTree)
	versions       map[string]string
	want           files
	edited         []string
	code           HoldCode // of the reason to hold
	held           string
	heldForVersion string
}{
	{
		name: "D10 installed by the user, others upgraded by the base", old: []apkPackage{alpineLib("1.0-r0"), scripted("1", oldText)}, new: []apkPackage{alpineLib("1.1-r0"), scripted("2", baseText)},
		worlds: [2]string{"lib scripted", "lib scripted"},
		user: func(a apkTree) {
			a.add(alpineApp("1.0-r0", "so:lib.so.1 lib>=1.0"), apkPackage{name: "script-own", version: "1", script: "own", trigger: "/own"})
			a.world("app", "lib", "script-own", "scripted")
			files{"etc/scripted.conf": userText}.build(a.t, a.root)
		},
		versions: map[string]string{"lib": "1.1-r0", "app": "1.0-r0", "scripted": "2", "script-own": "1"}, edited: []string{"etc/scripted.conf"},
		want: files{"usr/lib/lib-1.0-r0": "", "usr/bin/app": "0755 app 1.0-r0", "etc/scripted.conf": bothText, "etc/apk/world": "app\nlib\nscript-own\nscripted\n", "var/lib/molt/beside/new/lib/apk/db/installed": ""},
	},
	{
		name: "D10 asked for on both sides", old: []apkPackage{alpineLib("1")}, new: []apkPackage{alpineLib("1"), scripted("1", oldText)}, worlds: [2]string{"lib", "lib scripted"},
		user:     func(a apkTree) { a.add(alpineApp("1", "lib")); a.world("app", "lib") },
		versions: map[string]string{"lib": "1", "app": "1", "scripted": "1"}, want: files{"etc/apk/world": "app\nlib\nscripted\n"},
	},
	{
		name: "D2 an exact version is gone", old: []apkPackage{alpineLib("1.0")}, new: []apkPackage{alpineLib("1.1")}, worlds: [2]string{"lib", "lib"},
		user: func(a apkTree) { a.add(alpineApp("1", "so:lib.so.1=1.0")) }, code: "dependency", held: "app", heldForVersion: "1",
	},
	{
		name: "D4 the user's version is higher", old: []apkPackage{alpineLib("1.9")}, new: []apkPackage{alpineLib("1.9-r1"), scripted("1", oldText)}, user: func(a apkTree) { a.add(alpineLib("1.10")) },
		versions: map[string]string{"lib": "1.10", "scripted": "1"}, want: files{"usr/lib/lib-1.9": "", "usr/lib/lib-1.9-r1": "", "usr/lib/lib-1.10": "1.10"},
	},
	{
		name: "D4 the base's version is higher", old: []apkPackage{alpineLib("1.8")}, new: []apkPackage{alpineLib("1.10")}, user: func(a apkTree) { a.add(alpineLib("1.9")) },
		versions: map[string]string{"lib": "1.10"}, want: files{"usr/lib/lib-1.8": "", "usr/lib/lib-1.9": "", "usr/lib/lib-1.10": "1.10", "usr/share/lib/a": "1.10"},
	},
	{
		name: "D4 both have the same version", old: []apkPackage{alpineLib("1.0")}, new: []apkPackage{alpineLib("1.1")}, user: func(a apkTree) { a.add(alpineLib("1.1")) },
		versions: map[string]string{"lib": "1.1"},
	},
	{
		name: "D5 removed by the user", old: []apkPackage{alpineLib("1.0"), scripted("1", oldText)}, new: []apkPackage{alpineLib("1.1"), scripted("2", baseText)}, worlds: [2]string{"lib scripted", "lib scripted"},
		user:     func(a apkTree) { a.remove("lib"); a.world("scripted") },
		versions: map[string]string{"lib": "", "scripted": "2"}, want: files{"lib/lib.so.1": "", "usr/lib/lib-1.1": "", "usr/share/lib/a": "", "etc/apk/world": "scripted\n"},
	},
	{
		name: "D5 removed by the user, a changed configuration file left", old: []apkPackage{scripted("1", oldText)}, new: []apkPackage{scripted("2", baseText)}, worlds: [2]string{"scripted", "scripted"},
		user: func(a apkTree) {
			files{"etc/scripted.conf": userText}.build(a.t, a.root)
			a.remove("scripted")
			a.world()
		}, versions: map[string]string{"scripted": ""}, want: files{"usr/bin/scripted": ""},
	},
	{
		name: "D6 the base dropped a dependency", old: []apkPackage{alpineLib("1.0"), scripted("1", oldText)}, new: []apkPackage{scripted("2", oldText)}, worlds: [2]string{"lib scripted", "scripted"},
		user: func(a apkTree) { a.add(alpineApp("1.0", "so:lib.so.1")); a.world("app", "lib", "scripted") }, code: "dependency", held: "app", heldForVersion: "1.0",
	},
	{
		name: "D6 the base dropped what the user asks for", old: []apkPackage{alpineLib("1.0"), scripted("1", oldText)}, new: []apkPackage{scripted("2", oldText)}, worlds: [2]string{"scripted", "scripted"},
		user: func(a apkTree) { a.world("lib", "scripted") }, code: "dependency", held: "world",
	},
	{
		name: "D6 another package provides it", old: []apkPackage{alpineLib("1.0")}, new: []apkPackage{{name: "other", version: "1", provides: "so:lib.so.1=7", files: files{"lib/lib.so.1": "\x00other"}}},
		user: func(a apkTree) { a.add(alpineApp("1.0", "so:lib.so.1")) }, versions: map[string]string{"app": "1.0", "lib": "", "other": "1"}, want: files{"lib/lib.so.1": "\x00other"},
	},
	{
		name: "a version that the user asked for", old: []apkPackage{alpineLib("1.0")}, new: []apkPackage{alpineLib("1.1")}, worlds: [2]string{"lib", "lib"}, user: func(a apkTree) { a.world("lib=1.0") },
		versions: map[string]string{"lib": "1.0"}, want: files{"lib/lib.so.1": "0755 \x00lib 1.0", "usr/lib/lib-1.1": "", "etc/apk/world": "lib=1.0\n"},
	},
	{
		name: "D15 apk was interrupted", old: []apkPackage{alpineLib("1.0")}, new: []apkPackage{alpineLib("1.1")},
		user: func(a apkTree) { files{"lib/apk/db/installed.new": "P:a\n"}.build(a.t, a.root) }, code: "package-manager-interrupted",
	},
	{
		name: "D15 a package is broken", old: []apkPackage{alpineLib("1.0")}, new: []apkPackage{alpineLib("1.1")},
		user: func(a apkTree) {
			broken := strings.Replace(alpineApp("1", "").record(), "T:", "f:f\nT:", 1)
			files{"lib/apk/db/installed": a.read("lib/apk/db/installed") + broken}.build(a.t, a.root)
		}, code: "package-manager-interrupted", held: "app", heldForVersion: "1",
	},
	{
		name: "A7 the mode of a program", old: []apkPackage{alpineApp("1", "")}, new: []apkPackage{alpineApp("2", "")}, user: func(a apkTree) { must(a.t, os.Chmod(filepath.Join(a.root, "usr/bin/app"), 0o700)) },
		versions: map[string]string{"app": "2"}, want: files{"usr/bin/app": "0700 app 2"},
	},
	{
		name: "A6 a library replaced by hand", old: []apkPackage{alpineLib("1.0")}, new: []apkPackage{alpineLib("1.1")}, user: func(a apkTree) { files{"lib/lib.so.1": "\x00mine"}.build(a.t, a.root) },
		versions: map[string]string{"lib": "1.1"}, want: files{"lib/lib.so.1": "\x00mine"}, edited: []string{"lib/lib.so.1"},
	},
}

func TestAlpineCases(t *testing.T) {
	for _, c := range alpineCases {
		t.Run(c.name, func(t *testing.T) {
			s := &scenario{t: t, old: alpineRoot(t, c.worlds[0], c.old...), base: alpineRoot(t, c.worlds[1], c.new...)}
			s.work(s.old, func(root string) { c.user(apkTree{t, root}) })
			if c.code != "" {
				held := s.plan(Options{}).Held()
				if len(held) != 1 || held[0].Code != c.code || held[0].Package != c.held || held[0].Version != c.heldForVersion {
					t.Fatalf("held: %v", held)
				}
				return
			}
			s.serviced(func(root string) {
				c.want.check(t, root)
				apkTree{t, root}.verify(c.versions, c.edited...)
			})
			unchangedBase(t, s)
		})
	}
}

// TestAlpineUsrMerge services a base that moves /lib, with apk's database in it, into /usr.
func TestAlpineUsrMerge(t *testing.T) {
	s := &scenario{t: t, old: alpineRoot(t, "lib", alpineLib("1.0")), base: tempDir(t)}
	files{"usr/lib/x": "1", "lib": "-> usr/lib"}.build(t, s.base)
	a := apkTree{t, s.base}
	a.write(nil, nil, nil)
	a.add(alpineLib("1.1"))
	s.work(s.old, func(root string) { apkTree{t, root}.add(alpineApp("1", "lib")) })
	s.serviced(func(root string) {
		files{"lib": "-> usr/lib", "usr/lib/lib.so.1": "0755 \x00lib 1.1"}.check(t, root)
		apkTree{t, root}.verify(map[string]string{"lib": "1.1", "app": "1"})
	})
}

// gzipped has a root keep the scripts as apk 3 does.
func gzipped(t *testing.T, root string) {
	t.Helper()
	plain := filepath.Join(root, "lib/apk/db/scripts.tar")
	content, err := os.ReadFile(plain)
	must(t, err)
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err = w.Write(content)
	must(t, errors.Join(err, w.Close(), os.Remove(plain), os.WriteFile(plain+".gz", out.Bytes(), 0o644)))
}

// gunzipped is the reverse of gzipped.
func gunzipped(t *testing.T, root string) {
	t.Helper()
	packed := filepath.Join(root, "lib/apk/db/scripts.tar.gz")
	content, err := os.ReadFile(packed)
	must(t, err)
	r, err := gzip.NewReader(bytes.NewReader(content))
	must(t, err)
	plain, err := io.ReadAll(r)
	must(t, errors.Join(err, os.Remove(packed), os.WriteFile(strings.TrimSuffix(packed, ".gz"), plain, 0o644)))
}

// TestK5 has the base keep the scripts of packages as apk 3 does, and the user install a package with a script: both are in the
// archive that apk 3 reads.
func TestK5(t *testing.T) {
	for _, both := range []bool{false, true} {
		t.Run(fmt.Sprintf("apk 3 before as well is %v", both), func(t *testing.T) {
			s := &scenario{t: t, old: tempDir(t), base: tempDir(t)}
			apkTree{t, s.old}.add(alpineLib("1"), scripted("1", oldText))
			apkTree{t, s.base}.add(alpineLib("2"), scripted("2", baseText))
			gzipped(t, s.base)
			if both {
				gzipped(t, s.old)
			}
			s.work(s.old, func(root string) {
				if both {
					gunzipped(t, root)
				}
				apkTree{t, root}.add(apkPackage{name: "own", version: "1", script: "own script"})
				if both {
					gzipped(t, root)
				}
			})
			s.serviced(func(root string) {
				if _, err := os.Lstat(filepath.Join(root, "lib/apk/db/scripts.tar")); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("the old archive is left: %v", err)
				}
				gunzipped(t, root)
				var names []string
				for name := range (apkTree{t, root}).scripts() {
					names = append(names, name[:strings.LastIndex(name[:strings.LastIndex(name, ".")], ".")])
				}
				slices.Sort(names)
				if got := strings.Join(names, " "); got != "own-1 scripted-2" {
					t.Errorf("there are scripts of %s", got)
				}
			})
		})
	}
}
