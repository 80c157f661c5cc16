// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"encoding/binary"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// accountsOnly returns account files without shadows, with accounts ("name:id") beside root, the group of each by its name.
func accountsOnly(more files, names ...string) files {
	passwd, group := rootUser, rootGroup
	for _, one := range names {
		name, id, _ := strings.Cut(one, ":")
		passwd += name + ":x:" + id + ":" + id + "::/:/bin/sh\n"
		group += name + ":x:" + id + ":\n"
	}
	out := files{"etc/passwd": passwd, "etc/group": group}
	maps.Copy(out, more)
	return out
}

// nameOf returns the first name of an id in a file of accounts below a root; "" for none.
func nameOf(t tb, root, file string, id uint32) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, file))
	if os.IsNotExist(err) {
		return ""
	}
	must(t, err)
	for line := range strings.SplitSeq(string(text), "\n") {
		fields := strings.Split(line, ":")
		if len(fields) > 3 && fields[2] == number(id) {
			return fields[0]
		}
	}
	return ""
}

// belongs checks by their names who has files: "user:group", where a number stands for an id without a name.
func (s sh) belongs(want map[string]string) {
	s.t.Helper()
	for name, owner := range want {
		var st unix.Stat_t
		must(s.t, unix.Lstat(filepath.Join(s.root, name), &st))
		if got := ownerIn(s.t, s.root, st); got != owner {
			s.t.Errorf("%s belongs to %s (%d:%d), want %s", name, got, st.Uid, st.Gid, owner)
		}
	}
}

func ownerIn(t tb, root string, st unix.Stat_t) string {
	t.Helper()
	name := func(file string, id uint32) string {
		if known := nameOf(t, root, file, id); known != "" {
			return known
		}
		return number(id)
	}
	return name("etc/passwd", st.Uid) + ":" + name("etc/group", st.Gid)
}

// give makes files and gives them to an id, user and group.
func (s sh) give(id int, f files) {
	s.t.Helper()
	for name := range sortedKeys(f) {
		s.put(name, f[name])
		s.chown(name, id, id)
		if !strings.HasPrefix(f[name], "->") {
			s.chmod(name, octalMode(s.t, f[name])) // a change of owner takes bits away
		}
	}
}

func octalMode(t tb, what string) uint32 {
	t.Helper()
	kind, rest, _ := strings.Cut(what, " ")
	if kind == "dir" {
		kind = rest
	}
	if len(kind) == 4 {
		return uint32(octal(t, kind))
	}
	return 0o644
}

// idCase is a storage whose files belong to accounts that the base moves.
type idCase struct {
	name     string
	old, new []string // accounts, "name:id"
	bases    func(old, base sh)
	user     func(u sh)
	want     map[string]string // by path, the names of its owners
	see      files
	moves    []string // of the report: "uid 105 106 other 2"
	findings int
	held     bool
	options  Options
}

func setAccounts(u sh, names ...string) {
	f := accountsOnly(nil, names...)
	for name := range sortedKeys(f) {
		u.put(name, f[name])
	}
}

// What the sides of idCases have, and whose it is.
var (
	secret = files{"var/lib/svc": "dir 0700", "var/lib/svc/data": "0600 secret"}
	others = files{"var/lib/other": "dir 0700", "var/lib/other/a": "0600 theirs"}
	ofSvc  = map[string]string{"var/lib/svc": "svc:svc", "var/lib/svc/data": "svc:svc"}
	ofBoth = map[string]string{
		"var/lib/svc": "svc:svc", "var/lib/svc/data": "svc:svc", "var/lib/other": "other:other", "var/lib/other/a": "other:other",
	}
)

var idCases = []idCase{
	{
		name: "K12 dropped, and the id given to another account", old: []string{"svc:105"}, new: []string{"other:105"},
		bases: func(_, base sh) { base.give(105, others) }, user: func(u sh) { u.give(105, secret) }, want: ofBoth,
		see: secret, moves: []string{"gid 105 100 other 2", "uid 105 100 other 2"}, findings: 4,
	},
	{
		name: "K12 the same, the account files touched", old: []string{"svc:105"}, new: []string{"other:105"},
		bases: func(_, base sh) { base.give(105, others) },
		user:  func(u sh) { u.give(105, secret); setAccounts(u, "svc:105", "mine:1000") }, want: ofBoth,
		see: others, moves: []string{"gid 105 100 other 2", "uid 105 100 other 2"}, findings: 4,
	},
	{
		name: "K12 dropped, the id not given to anybody", old: []string{"svc:105"}, new: nil, user: func(u sh) { u.give(105, secret) },
		want: ofSvc, findings: 2,
	},
	{
		name: "K12 renumbered, and the id given to another account", old: []string{"svc:105"}, new: []string{"other:105", "svc:106"},
		bases: func(_, base sh) { base.give(105, others); base.give(106, files{"usr/svc/new": "0600 1"}) },
		user:  func(u sh) { u.give(105, secret) }, want: map[string]string{"usr/svc/new": "svc:svc", "var/lib/svc/data": "svc:svc", "var/lib/other/a": "other:other"},
		moves: []string{"gid 105 100 other 2", "gid 106 105 svc 1", "uid 105 100 other 2", "uid 106 105 svc 1"}, findings: 4,
	},
	{
		name: "K12 two ids swapped by the base", old: []string{"svc:105", "other:106"}, new: []string{"svc:106", "other:105"},
		bases: func(_, base sh) { base.give(105, others); base.give(106, files{"usr/svc/new": "0600 1"}) },
		user:  func(u sh) { u.give(105, secret); u.give(106, files{"srv/theirs": "0600 1"}) },
		want:  map[string]string{"usr/svc/new": "svc:svc", "var/lib/svc/data": "svc:svc", "var/lib/other/a": "other:other", "srv/theirs": "other:other"},
		moves: []string{"gid 105 106 other 2", "gid 106 105 svc 1", "uid 105 106 other 2", "uid 106 105 svc 1"}, findings: 4,
	},
	{
		name: "K12 a group alone", old: []string{"svc:105"}, new: []string{"other:105"},
		bases: func(_, base sh) { base.give(105, others) }, user: func(u sh) { u.put("srv/a", "0640 1"); u.chown("srv/a", 0, 105) },
		want:  map[string]string{"srv/a": "root:svc", "var/lib/other/a": "other:other"},
		moves: []string{"gid 105 100 other 2"}, findings: 2,
	},
	{
		name: "K12 renumbered by the user, the base adds files", old: []string{"svc:105"}, new: []string{"svc:105"},
		bases: func(old, base sh) {
			for _, b := range []sh{old, base} {
				b.give(105, files{"usr/svc/as-it-was": "1"})
			}
			base.give(105, files{"usr/svc/new": "0600 1", "usr/svc/link": "-> new", "usr/svc/run": "6755 x"})
		},
		user:  func(u sh) { u.give(205, secret); setAccounts(u, "svc:205") },
		want:  map[string]string{"usr/svc/new": "svc:svc", "usr/svc/link": "svc:svc", "usr/svc/run": "svc:svc", "var/lib/svc/data": "svc:svc", "usr/svc/as-it-was": "105:105"},
		see:   files{"usr/svc/run": "6755 x"},
		moves: []string{"gid 105 205 svc 3", "uid 105 205 svc 3"}, findings: 2,
	},
	{
		name: "K12 an id without a name gets one", old: nil, new: []string{"app:1000"},
		bases: func(_, base sh) { base.give(1000, files{"home/app": "dir 0700"}) }, user: func(u sh) { u.give(1000, files{"srv/a": "0600 1", "srv/b": "0600 1"}) },
		want: map[string]string{"srv/a": "app:app", "srv/b": "app:app", "home/app": "app:app"}, findings: 2,
	},
	{
		name: "K12 a file that both bases have and the user edited", old: []string{"svc:105"}, new: []string{"other:105"},
		bases: func(old, base sh) {
			for _, b := range []sh{old, base} {
				b.give(105, files{"var/lib/x": "0600 " + oldText, "var/lib/y": "0600 1"})
			}
			base.put("var/lib/x", "0600 "+baseText)
		},
		user: func(u sh) { u.put("var/lib/x", "0600 "+userText) },
		want: map[string]string{"var/lib/x": "svc:svc", "var/lib/y": "other:other"}, see: files{"var/lib/x": "0600 " + bothText},
		moves: []string{"gid 105 100 other 1", "uid 105 100 other 1"}, findings: 4,
	},
	{
		name: "K12 a directory made anew, in which the base has files of another account", old: []string{"svc:105"}, new: []string{"other:105"},
		bases: func(old, base sh) {
			old.give(105, files{"opt/d/a": "1"})
			base.give(105, files{"opt/d/a": "1", "opt/d/new/b": "0600 1"})
		},
		user: func(u sh) { u.rm("opt/d"); u.give(105, files{"opt/d/mine": "0600 1"}) },
		want: map[string]string{"opt/d/new/b": "other:other", "opt/d/mine": "svc:svc"}, see: files{"opt/d/a": ""},
		moves: []string{"gid 105 100 other 1", "uid 105 100 other 1"}, findings: 4,
	},
	{
		name: "K12 hard links and capabilities of an account that moves", old: []string{"svc:105"}, new: []string{"other:105"},
		bases: func(_, base sh) {
			base.give(105, files{"usr/bin/a": "0750 x"})
			base.link("usr/bin/a", "usr/lib/b")
			base.set("usr/bin/a", sides.CapabilityXattr, bindCapability)
		},
		user:  func(u sh) { u.give(105, secret) },
		want:  map[string]string{"usr/bin/a": "other:other", "usr/lib/b": "other:other", "var/lib/svc/data": "svc:svc"},
		see:   files{"usr/bin/a": "0750 x", "usr/lib/b": "= usr/bin/a"},
		moves: []string{"gid 105 100 other 2", "uid 105 100 other 2"}, findings: 4,
	},
	{
		name: "K12 the account files are gone from the base", old: []string{"svc:105"}, new: nil,
		bases: func(_, base sh) { base.rm("etc/passwd", "etc/group") }, user: func(u sh) { u.give(105, secret) }, want: ofSvc, findings: 4,
	},
	{
		name: "K12 an account of the base that has files of nobody goes", old: []string{"svc:105"}, new: []string{"other:105"},
		bases: func(_, base sh) { base.give(105, others) }, user: func(u sh) { u.put("srv/a", "1") }, want: map[string]string{"var/lib/other/a": "other:other"},
	},
	{
		name: "K12 pinned account files", old: []string{"svc:105"}, new: []string{"other:105"},
		bases: func(_, base sh) { base.give(105, others) }, user: func(u sh) { u.give(105, secret) },
		options: Options{Pins: []Pin{{Path: "/etc/passwd"}, {Path: "/etc/group"}}}, held: true,
	},
	{
		name: "K12 no id is free", old: []string{"svc:105"}, new: []string{"other:105"},
		bases: func(_, base sh) { base.give(105, others) },
		user: func(u sh) {
			all := []string{"svc:105"}
			for id := uint32(100); id < 1000; id++ {
				if id != 105 {
					all = append(all, "u"+number(id)+":"+number(id))
				}
			}
			setAccounts(u, all...)
			u.give(105, secret)
		},
		held: true,
	},
}

// TestAccountIDs checks through a mount that files keep the names of their owners.
func TestAccountIDs(t *testing.T) {
	for _, c := range idCases {
		t.Run(c.name, func(t *testing.T) {
			s := newScenario(t, accountsOnly(nil, c.old...), accountsOnly(nil, c.new...), nil)
			s.nodes, s.options = nil, c.options
			if c.bases != nil {
				c.bases(sh{t, s.old}, sh{t, s.base})
			}
			s.work(s.old, func(root string) { c.user(sh{t, root}) })
			if c.held {
				held := s.plan(s.options).Held()
				if !slices.ContainsFunc(held, func(r Reason) bool { return r.Code == HoldAccounts }) {
					t.Errorf("held: %v", held)
				}
				return
			}
			report := s.serviced(func(root string) {
				sh{t, root}.belongs(c.want)
				c.see.check(t, root)
			})
			var moves []string
			for _, r := range report.IDs {
				moves = append(moves, strings.Join([]string{r.Kind, number(r.From), number(r.To), r.Name, number(uint32(r.Files))}, " "))
			}
			if !slices.Equal(moves, c.moves) {
				t.Errorf("moved %q, want %q", moves, c.moves)
			}
			if len(report.Findings) != c.findings {
				t.Errorf("found %v, want %d", report.Findings, c.findings)
			}
			if t.Failed() {
				t.Log(encoded(t, report))
			}
			unchangedBase(t, s)
			twice := &scenario{t: t, old: s.base, base: s.base, nodes: slices.Concat(s.delta(s.plan(s.options)), s.nodes)}
			if p := twice.plan(Options{}); !p.Empty() {
				t.Errorf("side effects the second time: %s", encoded(t, p.Report()))
			}
		})
	}
}

// TestK12AccessControlList checks that a list that names an account names the same one afterwards, on both sides.
func TestK12AccessControlList(t *testing.T) {
	s := newScenario(t, accountsOnly(files{"srv/same": "1"}, "svc:1234"), accountsOnly(files{"srv/base": "1", "srv/same": "1"}, "other:1234"), nil)
	s.nodes = nil
	for _, b := range []sh{{t, s.old}, {t, s.base}} {
		b.set("srv/same", sides.ACLXattr, accessList(6, 6, 4, 6, 0))
	}
	sh{t, s.base}.set("srv/base", sides.ACLXattr, accessList(6, 6, 4, 6, 0))
	s.work(s.old, func(root string) {
		u := sh{t, root}
		u.put("srv/mine", "1")
		u.set("srv/mine", sides.ACLXattr, accessList(6, 6, 4, 6, 0))
		u.put("srv/same", "edited")
	})
	s.serviced(func(root string) {
		for name, want := range map[string]string{"srv/mine": "svc", "srv/base": "other", "srv/same": "svc"} {
			buffer := make([]byte, 1<<10)
			n, err := unix.Lgetxattr(filepath.Join(root, name), sides.ACLXattr, buffer)
			must(t, err)
			if got := nameOf(t, root, "etc/passwd", binary.LittleEndian.Uint32(buffer[:n][16:])); got != want {
				t.Errorf("the list of %s names %q, want %q", name, got, want)
			}
		}
	})
	unchangedBase(t, s)
}

// TestK12NextUpdate brings more files of the account that has made way, and changes nothing else.
func TestK12NextUpdate(t *testing.T) {
	s := reused(t)
	next := tempDir(t)
	run(t, "cp", "-a", s.base+"/.", next)
	sh{t, next}.give(105, files{"var/lib/other/new": "0600 1"})
	s.nodes = append(s.delta(s.plan(Options{})), s.nodes...)
	s.old, s.base = s.base, next
	s.serviced(func(root string) {
		sh{t, root}.belongs(map[string]string{"var/lib/other/new": "other:other", "var/lib/other/a": "other:other", "var/lib/svc/data": "svc:svc"})
	})
}

// reused is the storage of K12, not yet serviced.
func reused(t tb) *scenario {
	t.Helper()
	s := newScenario(t, accountsOnly(nil, "svc:105"), accountsOnly(nil, "other:105"), nil)
	s.nodes = nil
	sh{t, s.base}.give(105, files{"var/lib/other": "dir 0700", "var/lib/other/a": "0600 1"})
	s.work(s.old, func(root string) {
		sh{t, root}.give(105, files{"var/lib/svc": "dir 0700", "var/lib/svc/data": "0600 1"})
	})
	return s
}

// TestK12Carry carries what was written after the update back to before it, as a rollback does: what both accounts wrote stays
// theirs.
func TestK12Carry(t *testing.T) {
	s := reused(t)
	before, delta := s.nodes, s.delta(s.plan(Options{}))
	after := &scenario{t: t, nodes: slices.Concat(delta, before)}
	after.work(s.base, func(root string) {
		u := sh{t, root}
		u.give(100, files{"srv/theirs": "0600 1"})
		u.give(105, files{"srv/mine": "0600 1"})
		u.belongs(map[string]string{"srv/theirs": "other:other", "srv/mine": "svc:svc"})
	})
	written := after.nodes[:1]
	got, report, nodes := s.result(Input{
		Old: slices.Concat(delta, before, tree.Stack{s.base}), New: slices.Concat(before, tree.Stack{s.old}), User: written,
	})
	if got.all()["var/lib/other"] != nil {
		t.Errorf("files of the base that is left: %s", encoded(t, report))
	}
	s.mounted("", slices.Concat(nodes, before, []string{s.old}), func(root string) {
		sh{t, root}.belongs(map[string]string{"srv/theirs": "other:other", "srv/mine": "svc:svc", "var/lib/svc/data": "svc:svc"})
	})
}

func number(id uint32) string { return strconv.FormatUint(uint64(id), 10) }
