// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

const capability = "security.capability"

// capable is cap_setuid=ep as it is stored.
const capable = "\x01\x00\x00\x02\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// program is a file of one side: content, mode, owner, and perhaps a capability.
type program struct {
	content  string
	mode     uint32
	uid, gid int
	capable  bool
}

func (p program) put(t *testing.T, root, name string) {
	t.Helper()
	put(t, root, name, p.content, 0o755)
	full := filepath.Join(root, name)
	check(t, os.Chown(full, p.uid, p.gid))
	check(t, unix.Chmod(full, p.mode))
	if p.capable {
		check(t, unix.Setxattr(full, capability, []byte(capable), 0))
	}
}

const (
	su     = "usr/bin/su"
	binary = "\x7fELF\x00"
)

// rises are updates in which a program could get more rights than anybody gave to it.
var rises = []struct {
	name          string
	old, new      program
	user          program
	mine          func(t *testing.T, root string) // what else the storage has
	path, content string                          // of the result that is looked at
	mode          uint32
	uid           int
	capable       bool
}{
	{name: "the user's program where the base's becomes setuid", old: program{content: binary + "1", mode: 0o755}, new: program{content: binary + "2", mode: 0o4755},
		user: program{content: binary + "evil", mode: 0o755}, path: su, content: binary + "evil", mode: 0o755},
	{name: "only the mode is the base's", old: program{content: "1\n", mode: 0o755}, new: program{content: "1\n", mode: 0o6755},
		user: program{content: "evil\n", mode: 0o755}, path: su, content: "evil\n", mode: 0o755},
	{name: "a setuid program becomes root's", old: program{content: "1\n", mode: 0o755, uid: 1000, gid: 1000}, new: program{content: "1\n", mode: 0o755},
		user: program{content: "evil\n", mode: 0o6755, uid: 1000, gid: 1000}, path: su, content: "evil\n", mode: 0o755},
	{name: "a setuid bit of the user's on the base's program that becomes root's", old: program{content: "1\n", mode: 0o755, uid: 1000, gid: 1000}, new: program{content: "1\n", mode: 0o755},
		user: program{content: "1\n", mode: 0o6755, uid: 1000, gid: 1000}, path: su, content: "1\n", mode: 0o755},
	{name: "a capability of the base's for the user's program", old: program{content: "1\n", mode: 0o755}, new: program{content: "2\n", mode: 0o755, capable: true},
		user: program{content: "evil\n", mode: 0o755}, path: su, content: "evil\n", mode: 0o755},
	{name: "merged texts", old: program{content: "a\nb\nc\nd\ne\n", mode: 0o755}, new: program{content: "A\nb\nc\nd\ne\n", mode: 0o6755, capable: true},
		user: program{content: "a\nb\nc\nd\nE\n", mode: 0o755}, path: su, content: "A\nb\nc\nd\nE\n", mode: 0o755},
	{name: "the base's program beside the user's", old: program{content: "1\n", mode: 0o755}, new: program{content: "2\n", mode: 0o6755, capable: true},
		user: program{content: "evil\n", mode: 0o755}, path: "var/lib/molt/beside/new/" + su, content: "2\n", mode: 0o755},
	{name: "the user's hard link to a program that becomes setuid", old: program{content: binary, mode: 0o755}, new: program{content: binary, mode: 0o4755},
		user: program{content: binary, mode: 0o755}, mine: func(t *testing.T, root string) {
			t.Helper()
			check(t, os.MkdirAll(root+"/home/x", 0o755))
			check(t, os.Link(filepath.Join(root, su), root+"/home/x/su"))
		}, path: "home/x/su", content: binary, mode: 0o755},
	{name: "what the base gives to its own content arrives", old: program{content: binary + "1", mode: 0o755}, new: program{content: binary + "2", mode: 0o6755, capable: true},
		user: program{content: binary + "1", mode: 0o755}, path: su, content: binary + "2", mode: 0o6755, capable: true},
	{name: "what the user gave stays", old: program{content: binary + "1", mode: 0o755}, new: program{content: binary + "2", mode: 0o755},
		user: program{content: binary + "1", mode: 0o6755, capable: true}, path: su, content: binary + "2", mode: 0o6755, capable: true},
	{name: "what the base took away is gone", old: program{content: binary + "1", mode: 0o6755, capable: true}, new: program{content: binary + "1", mode: 0o755},
		user: program{content: binary + "evil", mode: 0o6755, capable: true}, path: su, content: binary + "evil", mode: 0o755},
}

func TestPrivilege(t *testing.T) {
	needRoot(t)
	for _, r := range rises {
		t.Run(r.name, func(t *testing.T) {
			s := newStage(t, tmpfs(t))
			r.old.put(t, s.old, su)
			r.new.put(t, s.base, su)
			r.user.put(t, s.user, su)
			if r.mine != nil {
				r.mine(t, s.user)
			}
			s.mustService()
			e, content := s.result(r.path)
			if content != r.content || e.Mode != r.mode || int(e.UID) != r.uid && e.Mode&0o4000 != 0 || hasCapability(e) != r.capable {
				t.Errorf("%s: %q, mode %o, owner %d, capable %t", r.path, content, e.Mode, e.UID, hasCapability(e))
			}
			s.noGain()
		})
	}
}

// A setuid program that has to leave its path is none where it is set aside.
func TestPrivilegeSetAside(t *testing.T) {
	s := newStage(t, tmpfs(t))
	program{content: "1", mode: 0o755}.put(t, s.old, "opt/d/x")
	put(t, s.base, "opt/d", "a file now", 0o644)
	program{content: "mine", mode: 0o6755, capable: true}.put(t, s.user, "opt/d/x")
	s.mustService()
	if e, content := s.result("var/lib/molt/beside/old/opt/d/x"); content != "mine" || e.Mode != 0o755 || hasCapability(e) {
		t.Errorf("set aside: %q, mode %o, capable %t", content, e.Mode, hasCapability(e))
	}
	s.noGain()
}

// An account of the base's that the user made root does not make the base's setuid programs of that account root's.
func TestPrivilegeRemap(t *testing.T) {
	s := newStage(t, tmpfs(t))
	s.all("etc/passwd", passwd(""), passwd("man:x:6:6::/:/bin/sh\n"), passwd("man:x:0:0::/:/bin/sh\n"))
	s.all("etc/group", "root:x:0:\n", "root:x:0:\nman:x:6:\n", "root:x:0:\nman:x:0:\n")
	program{content: binary, mode: 0o6755, uid: 6, gid: 6}.put(t, s.base, "usr/bin/man")
	s.mustService()
	if e, _ := s.result("usr/bin/man"); e.Mode&0o6000 != 0 && (e.UID == 0 || e.GID == 0) {
		t.Errorf("usr/bin/man: mode %o of %d:%d", e.Mode, e.UID, e.GID)
	}
}

func (s *stage) mustService() {
	s.t.Helper()
	if got := s.service(); got.Error != "" || len(got.Held) > 0 {
		s.t.Fatalf("%s, held: %s", got.Error, got.Held)
	}
}

// result returns what the container sees at a path.
func (s *stage) result(name string) (tree.Entry, string) {
	s.t.Helper()
	v, err := tree.Open(tree.Stack{s.into, s.user, s.base})
	check(s.t, err)
	defer v.Close()
	e, err := v.Lookup(name)
	check(s.t, err)
	content, err := v.ReadFile(name, 1<<20)
	check(s.t, err)
	return e, string(content)
}

// noGain checks every file of the result: it has a privilege only where the user or the new base had it with the same owner,
// the base with this content.
func (s *stage) noGain() {
	s.t.Helper()
	var views [3]*tree.View
	for i, stack := range []tree.Stack{{s.into, s.user, s.base}, {s.user, s.old}, {s.base}} {
		v, err := tree.Open(stack)
		check(s.t, err)
		s.t.Cleanup(func() { check(s.t, v.Close()) })
		views[i] = v
	}
	check(s.t, views[0].Tree(s.t.Context(), func(e tree.Entry) error {
		if e.Kind != tree.Regular || e.Mode&0o6000 == 0 && !hasCapability(e) {
			return nil
		}
		for i, v := range views[1:] {
			before, err := v.Lookup(e.Path)
			if err != nil || before.Kind != tree.Regular {
				continue
			}
			same, err := tree.SameContent(views[0], e, v, before)
			if err != nil {
				return err
			}
			if (same || i == 0) && before.UID == e.UID && before.GID == e.GID && e.Mode&0o6000&^before.Mode == 0 &&
				(!hasCapability(e) || hasCapability(before) && e.Xattrs[capability].Equal(before.Xattrs[capability])) {
				return nil
			}
		}
		s.t.Errorf("%s has mode %o and is capable: %t; nobody gave that", e.Path, e.Mode, hasCapability(e))
		return nil
	}))
}

// TestAttributes gives files of a storage attributes that mean something to overlayfs, or nothing to anybody.
func TestAttributes(t *testing.T) {
	for attr, refused := range map[string]bool{
		"trusted.overlay.redirect": true, "trusted.overlay.metacopy": true, "trusted.overlay.protattr": true, "trusted.overlay.unheard-of": true,
		"trusted.overlay.origin": false, "trusted.overlay.upper": false, "trusted.overlay.nlink": false, "trusted.overlay.opaque": false,
		"trusted.overlay.overlay.redirect": false, "trusted.overlay.overlay.metacopy": false,
		"user.overlay.redirect": false, "user.overlay.metacopy": false, "user.overlay.opaque": false, "user.overlay.protattr": false,
		"user.overlay.unheard-of": false, "user.overlay.overlay.redirect": false, "user.x": false,
	} {
		t.Run(attr, func(t *testing.T) {
			c := newCanary(t)
			s := newStage(t, tmpfs(t))
			s.all("etc/d/a", "1", "2", "3")
			for _, at := range []string{"/etc/d", "/etc/d/a"} {
				err := unix.Setxattr(s.user+at, attr, []byte(c.dir), 0)
				if strings.HasPrefix(attr, "user.") && err != nil {
					t.Skip("the file system has no attributes of users")
				}
				check(t, err)
			}
			c.seen()
			sealed := tree.Seal(t.Context(), s.user)
			if (sealed != nil) != refused {
				t.Errorf("seal: %v", sealed)
			}
			got := s.service()
			c.unharmed()
			hidesBelow(t, s.into)
			if !refused && (got.Error != "" || len(got.Held) > 0) {
				t.Errorf("cannot be serviced: %s %s", got.Error, got.Held)
			}
		})
	}
}

// TestMalformedLists gives access control lists and attributes of odd forms.
func TestMalformedLists(t *testing.T) {
	s := newStage(t, tmpfs(t))
	for i, value := range []string{"\x02\x00\x00\x00", "\x02\x00\x00\x00\x01", "\xff\xff\xff\xff" + strings.Repeat("\xff", 800), ""} {
		s.all("etc/f"+string(rune('a'+i)), "1\n", "2\n", "3\n")
		for _, attr := range []string{"trusted.acl", "system.posix_acl_access", capability} {
			err := unix.Setxattr(s.user+"/etc/f"+string(rune('a'+i)), attr, []byte(value), 0)
			t.Logf("%s %.20q: %v", attr, value, err) // most of it the kernel does not take
		}
	}
	s.mustService()
	s.noGain()
}

// hasCapability reports whether a file has a capability.
func hasCapability(e tree.Entry) bool {
	_, has := e.Xattrs[capability]
	return has
}
