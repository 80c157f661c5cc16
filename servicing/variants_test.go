// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// variant is a case that needs more than texts and modes: it is looked at by a function as well.
type variant struct {
	fileCase
	bases func(old, base sh) // what the description of files cannot say
	look  func(u sh)         // at what the container sees
}

// accessList returns an access control list as it is stored: rights of the owner, of a user with an id, of the group, of the mask
// and of others.
func accessList(owner, user, group, mask, other uint16) []byte {
	out := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, rights uint16
		id          uint32
	}{{1, owner, ^uint32(0)}, {2, user, 1234}, {4, group, ^uint32(0)}, {0x10, mask, ^uint32(0)}, {0x20, other, ^uint32(0)}} {
		out = binary.LittleEndian.AppendUint16(out, e.tag)
		out = binary.LittleEndian.AppendUint16(out, e.rights)
		out = binary.LittleEndian.AppendUint32(out, e.id)
	}
	return out
}

// bindCapability is a file capability: cap_net_bind_service=ep.
var bindCapability = []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

const defaultACL = "system.posix_acl_default"

func (s sh) set(name, attribute string, value []byte) {
	s.t.Helper()
	must(s.t, unix.Lsetxattr(filepath.Join(s.root, name), attribute, value, 0))
}

// has checks an extended attribute; nil is for none.
func (s sh) has(name, attribute string, want []byte) {
	s.t.Helper()
	buffer := make([]byte, 1<<10)
	n, err := unix.Lgetxattr(filepath.Join(s.root, name), attribute, buffer)
	if errors.Is(err, unix.ENODATA) {
		n, err = 0, nil
	}
	must(s.t, err)
	if !bytes.Equal(buffer[:n], want) {
		s.t.Errorf("%s of %s is %x, want %x", attribute, name, buffer[:n], want)
	}
}

// sparse makes a file with a hole of 64 MiB before its last byte.
func (s sh) sparse(name, last string) {
	s.t.Helper()
	s.put(name, "")
	file, err := os.OpenFile(filepath.Join(s.root, name), os.O_WRONLY, 0)
	must(s.t, err)
	_, err = file.WriteAt([]byte(last), 1<<26)
	must(s.t, errors.Join(err, file.Close()))
}

// isSparse checks a file that sparse made.
func (s sh) isSparse(name, last string) {
	s.t.Helper()
	file, err := os.Open(filepath.Join(s.root, name))
	must(s.t, err)
	defer file.Close()
	end := make([]byte, len(last))
	_, err = file.ReadAt(end, 1<<26)
	must(s.t, err)
	if string(end) != last {
		s.t.Errorf("%s ends with %q", name, end)
	}
	var on unix.Stat_t
	must(s.t, unix.Fstat(int(file.Fd()), &on))
	if on.Blocks*512 > 1<<20 {
		s.t.Errorf("%s takes %d bytes on disk", name, on.Blocks*512)
	}
}

func (s sh) mknod(name string, mode uint32, major, minor uint32) {
	s.t.Helper()
	must(s.t, unix.Mknod(filepath.Join(s.root, name), mode, int(unix.Mkdev(major, minor))))
}

func (s sh) link(old, name string) {
	s.t.Helper()
	must(s.t, os.MkdirAll(filepath.Dir(filepath.Join(s.root, name)), 0o755))
	must(s.t, linkIn(s.root, old, name))
}

// owns checks who owns a path.
func (s sh) owns(name string, uid, gid uint32) {
	s.t.Helper()
	owners(s.t, s.root, map[string][2]uint32{name: {uid, gid}})
}

var longName = strings.Repeat("n", 255)

func runVariants(t *testing.T, cases []variant) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newScenario(t, c.old, c.new, nil)
			s.nodes = nil
			if c.bases != nil {
				c.bases(sh{t, s.old}, sh{t, s.base})
			}
			s.work(s.old, func(root string) {
				if c.user != nil {
					c.user(sh{t, root})
				}
			})
			report := s.serviced(func(root string) {
				c.want.check(t, root)
				if c.look != nil {
					c.look(sh{t, root})
				}
			})
			for name, want := range c.verdicts {
				if got := verdictOf(report, name); got != want {
					t.Errorf("the verdict on %s is %q, want %q", name, got, want)
				}
			}
			if t.Failed() {
				t.Log(encoded(t, report))
			}
			unchangedBase(t, s)
		})
	}
}

func TestVariants(t *testing.T) { runVariants(t, variants) }

var variants = []variant{
	{fileCase: fileCase{
		name: "A1 owner changed and changed back", old: files{"etc/a": "old"}, new: files{"etc/a": "new"},
		user: func(u sh) { u.chown("etc/a", 5, 5); u.chown("etc/a", 0, 0) }, want: files{"etc/a": "new"},
	}},
	{fileCase: fileCase{
		name: "A1 copied away and back, with another time", old: files{"etc/a": "old", "etc/l": "-> x"}, new: files{"etc/a": "new", "etc/l": "-> y"},
		user: func(u sh) { u.rm("etc/a", "etc/l"); u.put("etc/a", "old"); u.put("etc/l", "-> x") }, want: files{"etc/a": "new", "etc/l": "-> y"},
	}},
	{fileCase: fileCase{
		name: "A1 a directory copied up by a change that was undone", old: files{"opt/d/a": "1", "opt/d": "dir 0755"}, new: files{"opt/d/a": "2", "opt/d": "dir 0700"},
		user: func(u sh) { u.put("opt/d/x", "1"); u.rm("opt/d/x") }, want: files{"opt/d": "dir 0700", "opt/d/a": "2"},
	}},
	{fileCase: fileCase{
		name: "A2 names that are no text", old: files{"etc/a\nb": "1", "etc/\xff\xfe": "1", "etc/" + longName: "1", "etc/ ": "1", "etc/-> x": "1"},
		new: files{"etc/a\nb": "2", "etc/\xff\xfe": "2", "etc/" + longName: "2", "etc/ ": "2", "etc/-> x": "2"},
		user: func(u sh) {
			u.touch("etc/a\nb")
			u.rm("etc/\xff\xfe")
			u.chmod("etc/"+longName, 0o600)
			u.touch("etc/-> x")
		},
		want: files{"etc/a\nb": "2", "etc/\xff\xfe": "", "etc/" + longName: "0600 2", "etc/ ": "2", "etc/-> x": "2"},
	}},
	{fileCase: fileCase{
		name: "A4 the last line has no end", old: files{"etc/a": "1\n2\n3\n4\n5"}, new: files{"etc/a": "one\n2\n3\n4\n5"},
		user: func(u sh) { u.put("etc/a", "1\n2\n3\n4\n5\n6") }, want: files{"etc/a": "one\n2\n3\n4\n5\n6"},
	}},
	{fileCase: fileCase{
		name: "A4 lines that end as on other systems", old: files{"etc/a": "1\r\n2\r\n3\r\n4\r\n"}, new: files{"etc/a": "one\r\n2\r\n3\r\n4\r\n"},
		user: func(u sh) { u.put("etc/a", "1\r\n2\r\n3\r\nfour\r\n") }, want: files{"etc/a": "one\r\n2\r\n3\r\nfour\r\n"},
	}},
	{fileCase: fileCase{
		name: "A4 JSON, keys side by side", old: files{"etc/a.json": "{\"a\": 1,\n \"b\": 1}\n"}, new: files{"etc/a.json": "{\"a\": 2,\n \"b\": 1}\n"},
		user: func(u sh) { u.put("etc/a.json", "{\"a\": 1,\n \"b\": 2}\n") }, want: files{"etc/a.json": "{\"a\": 2,\n \"b\": 2}\n"},
	}},
	{fileCase: fileCase{
		name: "A4 YAML with comments", old: files{"etc/a.yaml": "# top\na: 1 # one\nb: 1\n"}, new: files{"etc/a.yaml": "# top\na: 2 # one\nb: 1\n"},
		user: func(u sh) { u.put("etc/a.yaml", "# top\na: 1 # one\n# mine\nb: 2\n") }, want: files{"etc/a.yaml": "# top\na: 2 # one\n# mine\nb: 2\n"},
	}},
	{fileCase: fileCase{
		name: "A4 TOML, one table on each side", old: files{"etc/a.toml": "[a]\nx = 1\n[b]\ny = 1\n"}, new: files{"etc/a.toml": "[a]\nx = 2\n[b]\ny = 1\n"},
		user: func(u sh) { u.put("etc/a.toml", "[a]\nx = 1\n[b]\ny = 2\n") }, want: files{"etc/a.toml": "[a]\nx = 2\n[b]\ny = 2\n"},
	}},
	{fileCase: fileCase{
		name: "A5 emptied by the user", old: files{"etc/a": oldText}, new: files{"etc/a": baseText},
		user: func(u sh) { u.put("etc/a", "") }, want: files{"var/lib/molt/beside/new/etc/a": baseText},
	}, look: func(u sh) {
		if content(u.t, u.root, "etc/a") != "" {
			u.t.Error("not empty any more")
		}
	}},
	{fileCase: fileCase{
		name: "A5 a link of the base's, replaced by a file, leads elsewhere now", old: files{"etc/a": "-> b"}, new: files{"etc/a": "-> c"},
		user: func(u sh) { u.rm("etc/a"); u.put("etc/a", "mine") }, want: files{"etc/a": "mine", "var/lib/molt/beside/new/etc/a": "-> c"},
	}},
	{fileCase: fileCase{
		name: "A5 the name beside is the user's own", old: files{"etc/a": oldText}, new: files{"etc/a": baseText},
		user: func(u sh) { u.put("etc/a", clashText); u.put("etc/a.molt-new", "mine") }, want: files{"etc/a": clashText, "etc/a.molt-new": "", "var/lib/molt/beside/old/etc/a.molt-new": "mine", "var/lib/molt/beside/new/etc/a": baseText},
	}},
	{fileCase: fileCase{
		name: "A5 the name beside would be too long", old: files{"etc/" + longName: oldText}, new: files{"etc/" + longName: baseText},
		user: func(u sh) { u.put("etc/"+longName, clashText) }, want: files{"etc/" + longName: clashText, "var/lib/molt/beside/new/etc/" + longName: baseText},
	}},
	{fileCase: fileCase{
		name: "A7 owner changed", old: files{"usr/bin/a": "0755 old"}, new: files{"usr/bin/a": "0755 new"},
		user: func(u sh) { u.chown("usr/bin/a", 5, 6) }, want: files{"usr/bin/a": "0755 new"},
	}, look: func(u sh) { u.owns("usr/bin/a", 5, 6) }},
	{fileCase: fileCase{
		name: "A7 an access control list set by the user", old: files{"etc/a": "0640 old"}, new: files{"etc/a": "0640 new"},
		user: func(u sh) { u.set("etc/a", sides.ACLXattr, accessList(6, 6, 4, 6, 0)) }, want: files{"etc/a": "0660 new"},
	}, look: func(u sh) { u.has("etc/a", sides.ACLXattr, accessList(6, 6, 4, 6, 0)) }},
	{fileCase: fileCase{
		name: "A7 a default access control list on a directory that the base adds to", old: files{"srv/d/a": "1"}, new: files{"srv/d/a": "1", "srv/d/b": "1", "srv/d/s/c": "1"},
		user: func(u sh) { u.set("srv/d", defaultACL, accessList(7, 7, 5, 7, 0)); u.touch("srv/d/a") }, want: files{"srv/d/b": "0644 1", "srv/d/s/c": "0644 1", "srv/d/s": "dir 0755"},
	}, look: func(u sh) {
		u.has("srv/d", defaultACL, accessList(7, 7, 5, 7, 0))
		u.has("srv/d/s", defaultACL, nil)
		u.has("srv/d/s/c", sides.ACLXattr, nil)
	}},
	{fileCase: fileCase{
		name: "B5 with a default access control list, in which directories are made for what arrives", old: files{"srv/d/a": "1"}, new: files{"srv/d/a": "1", "srv/d/s/c": "1"},
		user: func(u sh) {
			u.rm("srv/d")
			u.put("srv/d/x", "1")
			u.set("srv/d", defaultACL, accessList(7, 7, 5, 7, 0))
		}, want: files{"srv/d/a": "", "srv/d/s": "dir 0755", "srv/d/s/c": "0644 1"},
	}, look: func(u sh) {
		u.has("srv/d", defaultACL, accessList(7, 7, 5, 7, 0))
		u.has("srv/d/s", defaultACL, nil)
		u.has("srv/d/s/c", sides.ACLXattr, nil)
	}},
	{fileCase: fileCase{
		name: "R5 a list of the user's where the base takes rights away", old: files{"etc/a": "0644 old"}, new: files{"etc/a": "0600 new"},
		user: func(u sh) { u.set("etc/a", sides.ACLXattr, accessList(6, 6, 4, 6, 4)) }, want: files{"etc/a": "0600 new"},
	}, look: func(u sh) { u.has("etc/a", sides.ACLXattr, accessList(6, 6, 4, 0, 0)) }},
	{fileCase: fileCase{
		name: "R5 a capability taken away", old: files{"usr/bin/a": "0755 old"}, new: files{"usr/bin/a": "0755 new"},
		user: func(u sh) { u.chmod("usr/bin/a", 0o700) }, want: files{"usr/bin/a": "0700 new"},
	}, bases: func(old, _ sh) { old.set("usr/bin/a", sides.CapabilityXattr, bindCapability) }, look: func(u sh) { u.has("usr/bin/a", sides.CapabilityXattr, nil) }},
	{fileCase: fileCase{
		name: "R2 attributes changed one on each side", old: files{"etc/a": "1"}, new: files{"etc/a": "2"},
		user: func(u sh) { u.set("etc/a", "user.mine", []byte("1")); u.set("etc/a", "user.both", []byte("u")) }, want: files{"etc/a": "2"},
	}, bases: func(old, base sh) {
		old.set("etc/a", "user.both", []byte("o"))
		old.set("etc/a", "user.gone", []byte("o"))
		base.set("etc/a", "user.both", []byte("n"))
		base.set("etc/a", "user.base", []byte("1"))
	}, look: func(u sh) {
		u.has("etc/a", "user.mine", []byte("1"))
		u.has("etc/a", "user.both", []byte("u"))
		u.has("etc/a", "user.base", []byte("1"))
		u.has("etc/a", "user.gone", nil)
	}},
	{fileCase: fileCase{
		name: "R2 the root of all", old: files{"etc/a": "1"}, new: files{"etc/a": "1"},
		user: func(u sh) { u.chmod(".", 0o750); u.set(".", "user.mine", []byte("1")) }, want: files{".": "dir 0750"},
	}, bases: func(_, base sh) { base.set(".", "user.base", []byte("1")) }, look: func(u sh) {
		u.has(".", "user.mine", []byte("1"))
		u.has(".", "user.base", []byte("1"))
	}},
	{fileCase: fileCase{
		name: "A10 labels", old: files{"etc/a": "old", "etc/b": "old"}, new: files{"etc/a": "new", "etc/b": "old"},
		user: func(u sh) {
			u.set("etc/a", sides.LabelXattr, []byte("mine\x00"))
			u.set("etc/b", sides.LabelXattr, []byte("mine\x00"))
		}, want: files{"etc/a": "new", "etc/b": "old"},
		verdicts: map[string]Verdict{"etc/a": Take, "etc/b": ""},
	}, bases: func(old, base sh) {
		old.set("etc/a", sides.LabelXattr, []byte("old\x00"))
		base.set("etc/a", sides.LabelXattr, []byte("base\x00"))
	}, look: func(u sh) { u.has("etc/a", sides.LabelXattr, []byte("base\x00")) }},
	{fileCase: fileCase{
		name: "B1 moved elsewhere by the user", old: files{"etc/a": "old", "etc/d/x": "1"}, new: files{"etc/a": "new", "etc/d/x": "2", "etc/d/y": "1"},
		user: func(u sh) { u.rm("etc/a", "etc/d"); u.put("etc/b", "old"); u.put("etc/e/x", "1") }, want: files{"etc/a": "", "etc/b": "old", "etc/d/x": "", "etc/d/y": "1", "etc/e/x": "1", "etc/e/y": ""},
	}},
	{fileCase: fileCase{
		name: "B3 a directory of edited files", old: files{"etc/d/a": "1", "etc/d/b": "1", "etc/d/s/c": "1"}, new: files{"etc/x": "1"},
		user: func(u sh) { u.put("etc/d/a", "mine"); u.link("etc/d/a", "etc/d/t/l") }, want: files{"etc/d/a": "mine", "etc/d/b": "", "etc/d/s": "", "etc/d/t/l": "= etc/d/a"},
	}},
	{fileCase: fileCase{
		name: "B4 deleted and made anew as a file", old: files{"etc/d/a": "1"}, new: files{"etc/d/a": "1", "etc/d/new": "1"},
		user: func(u sh) { u.rm("etc/d"); u.put("etc/d", "mine") }, want: files{"etc/d": "mine"}, verdicts: map[string]Verdict{"etc/d": Keep},
	}},
	{fileCase: fileCase{
		name: "B5 made anew, and one in it as well", old: files{"opt/d/s/a": "1", "opt/d/s/t/b": "1"}, new: files{"opt/d/s/a": "2", "opt/d/s/t/b": "2", "opt/d/s/t/new": "1", "opt/d/s/new": "1", "opt/d/new": "1"},
		user: func(u sh) {
			u.rm("opt/d")
			u.put("opt/d/s/a", "1")
			u.put("opt/d/s/t/b", "mine")
			u.rm("opt/d/s")
			u.put("opt/d/s/t/mine", "1")
		}, want: files{"opt/d/new": "1", "opt/d/s/a": "", "opt/d/s/new": "1", "opt/d/s/t/b": "", "opt/d/s/t/mine": "1", "opt/d/s/t/new": "1"},
	}},
	{fileCase: fileCase{
		name: "C1 a link to an absolute path, with a directory made anew below", old: files{"lib/d/a": "1", "lib/d/b": "1", "usr/lib/x": "1"},
		new:  files{"lib": "-> /usr/lib", "usr/lib/d/a": "2", "usr/lib/d/b": "1", "usr/lib/d/new": "1", "usr/lib/x": "1"},
		user: func(u sh) { u.rm("lib/d"); u.put("lib/d/mine", "1"); u.put("lib/d/b", "mine") },
		want: files{"lib": "-> /usr/lib", "usr/lib/d/a": "", "usr/lib/d/b": "mine", "usr/lib/d/mine": "1", "usr/lib/d/new": "1"},
	}},
	{fileCase: fileCase{
		name: "C1 three directories at once, one made anew", old: files{"bin/a": "1", "sbin/b": "1", "lib/c": "1", "lib/k": "1", "usr/x": "1"},
		new: files{"bin": "-> usr/bin", "sbin": "-> usr/bin", "lib": "-> usr/lib", "usr/bin/a": "2", "usr/bin/b": "2", "usr/lib/c": "2", "usr/lib/k": "2", "usr/lib/new": "1", "usr/x": "1"},
		user: func(u sh) {
			u.put("bin/m", "1")
			u.put("sbin/n", "1")
			u.touch("sbin/b")
			u.rm("lib")
			u.put("lib/mine", "1")
			u.put("lib/c", "1")
		},
		want: files{"bin": "-> usr/bin", "usr/bin/m": "1", "usr/bin/n": "1", "usr/bin/b": "2", "usr/lib/mine": "1", "usr/lib/c": "2", "usr/lib/new": "1", "usr/lib/k": ""},
	}},
	{fileCase: fileCase{
		name: "C1 links in a circle", old: files{"a/x": "1", "b/x": "1"}, new: files{"a": "-> b", "b": "-> a"},
		user: func(u sh) { u.put("a/mine", "1"); u.put("b/mine", "2") }, want: files{"a": "-> b", "b": "-> a", "var/lib/molt/beside/old/a/mine": "1", "var/lib/molt/beside/old/b/mine": "2"},
	}},
	{fileCase: fileCase{
		name: "A5 YAML, one key changed on both sides", old: files{"etc/a.yaml": "a: 1\nb: 1\n"}, new: files{"etc/a.yaml": "a: 2\nb: 2\n"},
		user: func(u sh) { u.put("etc/a.yaml", "a: 3\nb: 1\n") }, want: files{"etc/a.yaml": "a: 3\nb: 1\n", "var/lib/molt/beside/new/etc/a.yaml": "a: 2\nb: 2\n"},
	}},
	{fileCase: fileCase{
		name: "C1 conflicts at the target", old: files{"bin/a": "1", "usr/bin/x": "1"}, new: files{"bin": "-> usr/bin", "usr/bin/a": "2", "usr/bin/mine": "base", "usr/bin/x": "1"},
		user: func(u sh) { u.put("bin/a", "one"); u.put("bin/mine", "m1"); u.put("usr/bin/other", "1") }, want: files{"bin": "-> usr/bin", "usr/bin/a": "one", "var/lib/molt/beside/new/usr/bin/a": "2", "usr/bin/mine": "m1", "var/lib/molt/beside/new/usr/bin/mine": "base", "usr/bin/other": "1"},
	}},
	{fileCase: fileCase{
		name: "C1 links, devices and holes move along", old: files{"lib/a": "1", "usr/lib/x": "1"}, new: files{"lib": "-> usr/lib", "usr/lib/a": "1", "usr/lib/x": "1"},
		user: func(u sh) {
			u.put("lib/m", "mine")
			u.link("lib/m", "opt/m")
			u.put("lib/l", "-> m")
			u.mknod("lib/null", unix.S_IFCHR|0o666, 1, 3)
			u.sparse("lib/s", "end")
			u.put("lib/f", "fifo")
		}, want: files{"lib": "-> usr/lib", "usr/lib/m": "mine", "opt/m": "= usr/lib/m", "usr/lib/l": "-> m", "usr/lib/f": "fifo"},
	}, look: func(u sh) {
		u.isSparse("usr/lib/s", "end")
		var st unix.Stat_t
		must(u.t, unix.Lstat(filepath.Join(u.root, "usr/lib/null"), &st))
		if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 3) {
			u.t.Errorf("the device is %o %x", st.Mode, st.Rdev)
		}
	}},
	{fileCase: fileCase{
		name: "C2 a directory renamed, with hard links into it", old: files{"opt/a-1/x": "1", "opt/a-1/y": "1", "opt/k": "1"}, new: files{"opt/a-2/x": "1", "opt/a-2/y": "1", "opt/k": "1"},
		user: func(u sh) { u.put("opt/a-1/mine", "1"); u.link("opt/a-1/mine", "srv/mine"); u.rm("opt/a-1/y") }, want: files{"opt/a-1": "", "opt/a-2/mine": "1", "srv/mine": "= opt/a-2/mine", "opt/a-2/x": "1", "opt/a-2/y": ""},
	}},
	{fileCase: fileCase{
		name: "C3 a link changed on both sides", old: files{"etc/localtime": "-> /usr/share/zoneinfo/Etc/UTC"}, new: files{"etc/localtime": "-> ../usr/share/zoneinfo/UTC"},
		user: func(u sh) { u.rm("etc/localtime"); u.put("etc/localtime", "-> /usr/share/zoneinfo/Europe/Bern") }, want: files{"etc/localtime": "-> /usr/share/zoneinfo/Europe/Bern"}, verdicts: map[string]Verdict{"etc/localtime": Keep},
	}},
	{fileCase: fileCase{
		name: "C3 a file replaced by a device", old: files{"etc/a": "old"}, new: files{"etc/a": "new"},
		user: func(u sh) { u.rm("etc/a"); u.mknod("etc/a", unix.S_IFCHR|0o666, 1, 3) }, verdicts: map[string]Verdict{"etc/a": Keep},
	}, look: func(u sh) {
		info, err := os.Lstat(filepath.Join(u.root, "etc/a"))
		must(u.t, err)
		if info.Mode()&os.ModeCharDevice == 0 {
			u.t.Errorf("it is %v", info.Mode())
		}
	}},
	{fileCase: fileCase{
		name: "C3 a file replaced by a directory", old: files{"etc/a": "old"}, new: files{"etc/a": "new"},
		user: func(u sh) { u.rm("etc/a"); u.put("etc/a/x", "1") }, want: files{"etc/a/x": "1", "var/lib/molt/beside/new/etc/a": "new"},
	}},
	{fileCase: fileCase{
		name: "C4 a directory replaced by a link to its copy", old: files{"var/lib/app/a": "1", "var/lib/app/d/b": "1"}, new: files{"var/lib/app/a": "2", "var/lib/app/d/c": "1"},
		user: func(u sh) { u.rm("var/lib/app"); u.put("data/app/a", "1"); u.put("var/lib/app", "-> ../../data/app") }, want: files{"var/lib/app": "-> ../../data/app", "data/app/a": "1"}, verdicts: map[string]Verdict{"var/lib/app": Keep},
	}},
	{fileCase: fileCase{
		name: "C5 a directory became a link to nothing", old: files{"opt/d/a": "1"}, new: files{"opt/d": "-> /nowhere"},
		user: func(u sh) { u.put("opt/d/mine", "1") }, want: files{"opt/d": "-> /nowhere", "var/lib/molt/beside/old/opt/d/mine": "1", "var/lib/molt/beside/old/opt/d/a": ""},
	}},
	{fileCase: fileCase{
		name: "C5 a directory became a link to itself from above", old: files{"opt/d/a": "1"}, new: files{"opt/d": "-> ..", "opt/e": "1"},
		user: func(u sh) { u.put("opt/d/mine", "1") }, want: files{"opt/d": "-> .."},
	}, look: func(u sh) {
		if look(u.t, u.root, "var/lib/molt/beside/old/opt/d/mine", "") == "" && look(u.t, u.root, "mine", "") == "" {
			u.t.Error("what the user had is lost")
		}
	}},
	{fileCase: fileCase{
		name: "C5 the user's files with holes, links and attributes", old: files{"opt/d/a": "1", "opt/d/s/b": "1"}, new: files{"opt/d": "file"},
		user: func(u sh) {
			u.sparse("opt/d/s/big", "end")
			u.put("opt/d/x", "0600 mine")
			u.link("opt/d/x", "opt/d/s/y")
			u.set("opt/d/x", "user.mine", []byte("1"))
			u.chmod("opt/d/s", 0o711)
		}, want: files{"opt/d": "file", "var/lib/molt/beside/old/opt/d/x": "0600 mine", "var/lib/molt/beside/old/opt/d/s/y": "= var/lib/molt/beside/old/opt/d/x", "var/lib/molt/beside/old/opt/d/s": "dir 0700"},
	}, look: func(u sh) {
		u.isSparse("var/lib/molt/beside/old/opt/d/s/big", "end")
		u.has("var/lib/molt/beside/old/opt/d/x", "user.mine", []byte("1"))
	}},
	{fileCase: fileCase{
		name: "C7 a link of the user's where the base has a directory now", old: files{"etc/a": "1"}, new: files{"etc/a/x": "1"},
		user: func(u sh) { u.rm("etc/a"); u.put("etc/a", "-> b") }, want: files{"etc/a/x": "1", "var/lib/molt/beside/old/etc/a": "-> b"},
	}},
	{fileCase: fileCase{
		name: "C7 deleted by the user, a directory in the base now", old: files{"etc/a": "1"}, new: files{"etc/a/x/y": "1"},
		user: func(u sh) { u.rm("etc/a") }, want: files{"etc/a/x/y": "1"},
	}},
	{fileCase: fileCase{
		name: "C11 devices", old: files{"srv/x": "1", "srv/w": "1"}, new: files{"srv/x": "2", "srv/w": "2"},
		user: func(u sh) {
			u.rm("srv/w")
			u.mknod("srv/null", unix.S_IFCHR|0o600, 1, 3)
			u.mknod("srv/disk", unix.S_IFBLK|0o660, 7, 200)
			u.put("srv/sock", "socket")
		}, want: files{"srv/x": "2", "srv/w": ""},
	}, look: func(u sh) {
		for name, kind := range map[string]uint32{"srv/null": unix.S_IFCHR, "srv/disk": unix.S_IFBLK} {
			var st unix.Stat_t
			must(u.t, unix.Lstat(filepath.Join(u.root, name), &st))
			if st.Mode&unix.S_IFMT != kind {
				u.t.Errorf("%s is %o", name, st.Mode)
			}
		}
	}},
	{fileCase: fileCase{
		name: "G5 a large file with holes, of which only the mode was changed", old: files{"srv/x": "1"}, new: files{"srv/x": "1"},
		user: func(u sh) { u.chmod("opt/big", 0o600) },
	}, bases: func(old, base sh) { old.sparse("opt/big", "old"); base.sparse("opt/big", "new") }, look: func(u sh) { u.isSparse("opt/big", "new") }},
	{fileCase: fileCase{
		name: "H9 setuid, setgid, capabilities and owners of the base's arrive", old: files{"usr/bin/a": "0755 old", "usr/bin/b": "0755 old", "var/d/x": "1"}, new: files{"usr/bin/a": "0755 new", "usr/bin/b": "0755 new", "var/d/x": "1"},
		user: func(u sh) { u.touch("usr/bin/a"); u.touch("usr/bin/b"); u.put("var/d/y", "1") }, want: files{"usr/bin/a": "6755 new", "usr/bin/b": "0755 new", "var/d": "dir 3775"},
	}, bases: func(_, base sh) {
		base.chown("usr/bin/a", 33, 34)
		base.chmod("usr/bin/a", 0o6755)
		base.chown("usr/bin/b", 33, 34)
		base.set("usr/bin/b", sides.CapabilityXattr, bindCapability)
		base.chown("var/d", 33, 34)
		base.chmod("var/d", 0o3775)
	}, look: func(u sh) {
		u.owns("usr/bin/a", 33, 34)
		u.owns("usr/bin/b", 33, 34)
		u.owns("var/d", 33, 34)
		u.has("usr/bin/b", sides.CapabilityXattr, bindCapability)
	}},
	{fileCase: fileCase{
		name: "H9 setuid and capabilities of the user's stay when their owner changes", old: files{"opt/a": "0755 1", "opt/b": "0755 1"}, new: files{"opt/a": "0755 1", "opt/b": "0755 1"},
		user: func(u sh) { u.chmod("opt/a", 0o4755); u.set("opt/b", sides.CapabilityXattr, bindCapability) }, want: files{"opt/a": "4755 1", "opt/b": "0755 1"},
	}, bases: func(_, base sh) { base.chown("opt/a", 33, 34); base.chown("opt/b", 33, 34) }, look: func(u sh) {
		u.owns("opt/a", 33, 34)
		u.owns("opt/b", 33, 34)
		u.has("opt/b", sides.CapabilityXattr, bindCapability)
	}},
	{fileCase: fileCase{
		name: "R14 hard links across directories, merged", old: files{"etc/a": oldText, "opt/x": "1"}, new: files{"etc/a": baseText, "opt/x": "1"},
		user: func(u sh) { u.put("etc/a", userText); u.link("etc/a", "opt/b"); u.link("etc/a", "home/x/c") }, want: files{"etc/a": bothText, "opt/b": "= etc/a", "home/x/c": "= etc/a"},
	}},
	{fileCase: fileCase{
		name: "R14 hard links of the base's, parted by an edit", old: files{"usr/bin/a": "old", "usr/bin/b": "= usr/bin/a"}, new: files{"usr/bin/a": "new", "usr/bin/b": "= usr/bin/a"},
		user: func(u sh) { u.rm("usr/bin/a"); u.put("usr/bin/a", "mine") }, want: files{"usr/bin/a": "mine", "usr/bin/b": "new", "var/lib/molt/beside/new/usr/bin/a": "new"},
	}},
	{fileCase: fileCase{
		name: "F8 keys made on the first start, where the base brings one", old: files{"etc/ssh/sshd_config": "1"}, new: files{"etc/ssh/sshd_config": "1", "etc/ssh/ssh_host_ed25519_key": "0600 base", "etc/ssh/ssh_host_ed25519_key.pub": "base"},
		user: func(u sh) {
			u.put("etc/ssh/ssh_host_ed25519_key", "0600 mine")
			u.put("etc/ssh/ssh_host_ed25519_key.pub", "mine")
		},
		want: files{"etc/ssh/ssh_host_ed25519_key": "0600 mine", "etc/ssh/ssh_host_ed25519_key.pub": "mine", "var/lib/molt/beside/new/etc/ssh/ssh_host_ed25519_key": ""},
	}},
	{fileCase: fileCase{
		name: "F9 files of the runtime that the user wrote to", old: files{"etc/hosts": "1\n"}, new: files{"etc/hosts": "2\n"},
		user: func(u sh) { u.put("etc/hosts", "1\nmine\n"); u.put("etc/hostname", "me\n") }, want: files{"etc/hosts": "1\nmine\n", "etc/hostname": "me\n", "var/lib/molt/beside/new/etc/hosts": ""},
	}},
	{fileCase: fileCase{
		name: "G1 a database with its log, deleted by the base", old: files{"var/lib/a.db": sqlite + "1", "etc/x": "1"}, new: files{"etc/x": "1"},
		user: func(u sh) { u.put("var/lib/a.db-wal", "log"); u.put("var/lib/a.db-shm", "shared") }, want: files{"var/lib/a.db": sqlite + "1", "var/lib/a.db-wal": "log"},
	}},
	{fileCase: fileCase{
		name: "F5 sources, a list on each side", old: files{"etc/apt/sources.list": "deb http://a b c\n", "etc/apt/sources.list.d/x.list": "deb 1\n"}, new: files{"etc/apt/sources.list": "deb http://a b c\ndeb http://sec b c\n", "etc/apt/sources.list.d/x.list": "deb 2\n", "etc/apt/sources.list.d/base.sources": "1\n"},
		user: func(u sh) {
			u.put("etc/apt/sources.list", "deb http://a b c\ndeb http://mine b c\n")
			u.put("etc/apt/sources.list.d/mine.list", "deb 3\n")
			u.rm("etc/apt/sources.list.d/x.list")
		},
		want: files{"etc/apt/sources.list": "deb http://a b c\ndeb http://sec b c\ndeb http://mine b c\n", "etc/apt/sources.list.d/mine.list": "deb 3\n", "etc/apt/sources.list.d/x.list": "", "etc/apt/sources.list.d/base.sources": "1\n"},
	}},
}
