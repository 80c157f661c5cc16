// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

func TestSystemVariants(t *testing.T) { runVariants(t, systemVariants) }

const (
	rootUser  = "root:x:0:0:root:/root:/bin/sh\n"
	rootGroup = "root:x:0:\n"
)

var systemVariants = []variant{
	{fileCase: fileCase{
		name: "R4 the same line changed on both sides, other hunks apart", old: files{"etc/a": oldText}, new: files{"etc/a": strings.Replace(baseText, "5", "five", 1)},
		user: func(u sh) { u.put("etc/a", strings.Replace(clashText, "8", "eight", 1)) },
		want: files{"etc/a": strings.Replace(clashText, "8", "eight", 1), "var/lib/molt/beside/new/etc/a": strings.Replace(baseText, "5", "five", 1)},
	}},
	{fileCase: fileCase{
		name: "R9 a derived text is not merged", old: files{"usr/share/applications/mimeinfo.cache": oldText}, new: files{"usr/share/applications/mimeinfo.cache": baseText},
		user: func(u sh) { u.put("usr/share/applications/mimeinfo.cache", userText) }, want: files{"var/lib/molt/beside/new/usr/share/applications/mimeinfo.cache": ""},
	}, look: func(u sh) {
		if look(u.t, u.root, "usr/share/applications/mimeinfo.cache", "") == bothText {
			u.t.Error("it was merged")
		}
	}},
	{fileCase: fileCase{
		name: "R10 an identity that was still to be made does not come from the base", old: files{"etc/machine-id": "\n", "var/lib/dbus/machine-id": "uninitialized\n"},
		new: files{"etc/machine-id": "bbbb\n", "var/lib/dbus/machine-id": "bbbb\n"}, want: files{"etc/machine-id": "\n", "var/lib/dbus/machine-id": "uninitialized\n"},
	}},
	{fileCase: fileCase{
		name: "R12 what cannot be decided is kept, the rest goes on", old: files{"etc/passwd": rootUser, "etc/group": rootGroup, "etc/a.json": "{\"a\": 1}\n", "etc/b": "1"},
		new: files{"etc/passwd": rootUser + "svc:x:9:9::/:/x\n", "etc/group": rootGroup, "etc/a.json": "{\"a\": 2}\n", "etc/b": "2"},
		user: func(u sh) {
			u.put("etc/a.json", "{ not json")
			u.rm("etc/passwd")
			u.put("etc/passwd", "fifo")
			u.touch("etc/b")
		},
		want: files{"etc/a.json": "{ not json", "var/lib/molt/beside/new/etc/a.json": "{\"a\": 2}\n", "etc/passwd": "fifo", "etc/b": "2"},
	}},
	{fileCase: fileCase{
		name: "E1 accounts added on both sides, in all files", old: accountBase(nil, "www:33"), new: accountBase(nil, "www:33", "redis:101"),
		user: func(u sh) { u.add("alice", "1000") },
	}, look: func(u sh) {
		checkAccounts(u.t, u.root)
		for _, name := range []string{"etc/passwd", "etc/shadow", "etc/group", "etc/gshadow"} {
			for _, account := range []string{"root:", "www:", "redis:", "alice:"} {
				if strings.Count("\n"+content(u.t, u.root, name), "\n"+account) != 1 {
					u.t.Errorf("%s has not one %s", name, account)
				}
			}
		}
	}},
	{fileCase: fileCase{
		name: "E1 the user's shell and the base's home", old: files{"etc/passwd": rootUser + "www:x:33:33:www:/var/www:/bin/false\n", "etc/group": rootGroup + "www:x:33:\n"},
		new:  files{"etc/passwd": rootUser + "www:x:33:33:web:/srv/www:/bin/false\n", "etc/group": rootGroup + "www:x:33:\n"},
		user: func(u sh) { u.put("etc/passwd", rootUser+"www:x:33:33:www:/var/www:/bin/sh\n") }, want: files{"etc/passwd": rootUser + "www:x:33:33:web:/srv/www:/bin/sh\n"},
	}},
	{fileCase: fileCase{
		name: "E1 records that are none stay as they are", old: files{"etc/passwd": rootUser, "etc/group": rootGroup}, new: files{"etc/passwd": rootUser + "svc:x:9:9::/:/x\n", "etc/group": rootGroup + "svc:x:9:\n"},
		user: func(u sh) { u.put("etc/passwd", rootUser+"# a comment\n+::::::\nhalf:x:7\n\nmine:x:8:8::/:/x\n") },
	}, look: func(u sh) {
		got := content(u.t, u.root, "etc/passwd")
		for _, line := range []string{"# a comment\n", "+::::::\n", "half:x:7\n", "mine:x:8:8::/:/x\n", "svc:x:9:9::/:/x\n"} {
			if strings.Count(got, line) != 1 {
				u.t.Errorf("%q is not once in %q", line, got)
			}
		}
	}},
	{fileCase: fileCase{
		name: "E1 an account deleted by the user, changed by the base", old: accountBase(nil, "games:60", "www:33"), new: accountBase(nil, "games:60", "www:33", "new:102"),
		user: func(u sh) {
			for _, name := range []string{"etc/passwd", "etc/shadow", "etc/group", "etc/gshadow"} {
				var kept []string
				for _, line := range strings.SplitAfter(content(u.t, u.root, name), "\n") {
					if !strings.HasPrefix(line, "games:") {
						kept = append(kept, line)
					}
				}
				must(u.t, os.WriteFile(filepath.Join(u.root, name), []byte(strings.Join(kept, "")), 0o644))
			}
		},
	}, look: func(u sh) {
		for _, name := range []string{"etc/passwd", "etc/shadow", "etc/group", "etc/gshadow"} {
			got := content(u.t, u.root, name)
			if strings.Contains(got, "games:") || !strings.Contains(got, "new:") {
				u.t.Errorf("%s is %q", name, got)
			}
		}
	}},
	{fileCase: fileCase{
		name: "E2 files nested below that belong to an id which both took", old: accountBase(nil), new: accountBase(files{"var/lib/svc/a/b/c": "1", "usr/bin/svc": "0755 x"}, "svc:101"),
		user: func(u sh) { u.add("mine", "101"); u.put("srv/m/x", "1"); u.chown("srv/m/x", 101, 101) },
	}, bases: func(_, base sh) {
		for _, name := range []string{"var/lib/svc", "var/lib/svc/a", "var/lib/svc/a/b", "var/lib/svc/a/b/c", "usr/bin/svc"} {
			base.chown(name, 101, 101)
		}
		base.chmod("usr/bin/svc", 0o4755)
	}, look: func(u sh) {
		checkAccounts(u.t, u.root)
		u.owns("srv/m/x", 101, 101)
		_, after, _ := strings.Cut(content(u.t, u.root, "etc/passwd"), "svc:x:")
		id, _, _ := strings.Cut(after, ":")
		if id == "101" || id == "" {
			u.t.Fatalf("svc has the id %q", id)
		}
		for _, name := range []string{"var/lib/svc", "var/lib/svc/a/b/c", "usr/bin/svc"} {
			var st, first unix.Stat_t
			must(u.t, unix.Lstat(filepath.Join(u.root, name), &st))
			must(u.t, unix.Lstat(filepath.Join(u.root, "var/lib/svc"), &first))
			if st.Uid == 101 || st.Uid != first.Uid || st.Gid == 101 {
				u.t.Errorf("%s belongs to %d:%d", name, st.Uid, st.Gid)
			}
		}
		files{"usr/bin/svc": "4755 x"}.check(u.t, u.root)
	}},
	{fileCase: fileCase{
		name: "E3 the same name added on both sides, with other ids", old: accountBase(nil), new: accountBase(files{"var/lib/redis/a": "1"}, "redis:101"),
		user: func(u sh) { u.add("redis", "105"); u.put("srv/mine", "1"); u.chown("srv/mine", 105, 105) },
	}, bases: func(_, base sh) { base.chown("var/lib/redis", 101, 101); base.chown("var/lib/redis/a", 101, 101) }, look: func(u sh) {
		checkAccounts(u.t, u.root)
		u.owns("srv/mine", 105, 105)
		u.owns("var/lib/redis", 105, 105)
		u.owns("var/lib/redis/a", 105, 105)
		if strings.Count(content(u.t, u.root, "etc/passwd"), "redis:") != 1 {
			u.t.Error("redis is there twice")
		}
	}},
	{fileCase: fileCase{
		name: "E2 an access control list names the id that both took", old: accountBase(nil), new: accountBase(files{"srv/shared": "1"}, "svc:1234"),
		user: func(u sh) { u.add("mine", "1234"); u.put("srv/x", "1") },
	}, bases: func(_, base sh) { base.set("srv/shared", sides.ACLXattr, accessList(6, 6, 4, 6, 0)) }, look: func(u sh) {
		_, after, _ := strings.Cut(content(u.t, u.root, "etc/passwd"), "svc:x:")
		id, _, _ := strings.Cut(after, ":")
		buffer := make([]byte, 1<<10)
		n, err := unix.Lgetxattr(filepath.Join(u.root, "srv/shared"), sides.ACLXattr, buffer)
		must(u.t, err)
		if got := binary.LittleEndian.Uint32(buffer[:n][16:]); fmt.Sprint(got) != id {
			u.t.Errorf("the list names %d, svc is %s", got, id)
		}
	}},
	{fileCase: fileCase{
		name: "E5 members added on both sides, removed on one", old: files{"etc/passwd": rootUser, "etc/group": rootGroup + "audio:x:29:a,b,c\n"},
		new:  files{"etc/passwd": rootUser, "etc/group": rootGroup + "audio:x:29:a,b,base\n"},
		user: func(u sh) { u.put("etc/group", rootGroup+"audio:x:29:b,c,mine\n") },
	}, look: func(u sh) {
		_, list, _ := strings.Cut(content(u.t, u.root, "etc/group"), "audio:x:29:")
		members := map[string]bool{}
		for name := range strings.SplitSeq(strings.TrimSpace(list), ",") {
			members[name] = true
		}
		if len(members) != 3 || !members["b"] || !members["base"] || !members["mine"] {
			u.t.Errorf("the members are %q", list)
		}
	}},
	{fileCase: fileCase{
		name: "E9 a password set by the user", old: accountBase(nil, "www:33"), new: accountBase(nil, "www:33", "svc:101"),
		user: func(u sh) {
			text := strings.Replace(content(u.t, u.root, "etc/shadow"), "root:*:", "root:$y$mine:", 1)
			u.put("etc/shadow", "0640 "+text)
			u.chown("etc/shadow", 0, 42)
		},
	}, bases: func(old, base sh) { old.chown("etc/shadow", 0, 42); base.chown("etc/shadow", 0, 42) }, look: func(u sh) {
		u.owns("etc/shadow", 0, 42)
		text := look(u.t, u.root, "etc/shadow", "0640 ")
		if !strings.HasPrefix(text, "0640 root:$y$mine:") || !strings.Contains(text, "\nsvc:") {
			u.t.Errorf("shadow is %q", text)
		}
		checkAccounts(u.t, u.root)
	}},
	{fileCase: fileCase{
		name: "E9 the base locks an account whose password the user set", old: files{"etc/passwd": rootUser, "etc/shadow": "0640 root:*:1::::::\nop:$y$old:1::::::\n"},
		new:  files{"etc/passwd": rootUser, "etc/shadow": "0640 root:*:1::::::\nop:!:2:0:90:7:::\n"},
		user: func(u sh) { u.put("etc/shadow", "0600 root:*:1::::::\nop:$y$mine:3::::::\n") },
	}, look: func(u sh) {
		text := look(u.t, u.root, "etc/shadow", "0600 ")
		if !strings.HasPrefix(text, "0600 ") || !strings.Contains(text, "op:$y$mine:") {
			u.t.Errorf("shadow is %q", text)
		}
	}},
	{fileCase: fileCase{
		name: "E1 ranges of subordinate ids", old: files{"etc/passwd": rootUser, "etc/subuid": "a:100000:65536\n", "etc/subgid": "a:100000:65536\n"},
		new:  files{"etc/passwd": rootUser, "etc/subuid": "a:100000:65536\nbase:165536:65536\n", "etc/subgid": "a:100000:65536\n"},
		user: func(u sh) { u.put("etc/subuid", "a:100000:65536\nmine:231072:65536\n") },
	}, look: func(u sh) {
		got := content(u.t, u.root, "etc/subuid")
		for _, line := range []string{"a:100000:65536\n", "base:165536:65536\n", "mine:231072:65536\n"} {
			if !strings.Contains(got, line) {
				u.t.Errorf("subuid is %q", got)
			}
		}
	}},
	{fileCase: fileCase{
		name: "D8 diversions on both sides", old: files{"var/lib/dpkg/diversions": "/usr/bin/a\n/usr/bin/a.real\n:\n"}, new: files{"var/lib/dpkg/diversions": "/usr/bin/a\n/usr/bin/a.real\n:\n/usr/bin/b\n/usr/bin/b.distrib\nbase\n"},
		user: func(u sh) {
			u.put("var/lib/dpkg/diversions", "/usr/bin/a\n/usr/bin/a.real\n:\n/usr/bin/c\n/usr/bin/c.distrib\n:\n")
		},
	}, look: func(u sh) {
		got := content(u.t, u.root, "var/lib/dpkg/diversions")
		for _, name := range []string{"/usr/bin/a\n", "/usr/bin/b\n/usr/bin/b.distrib\nbase\n", "/usr/bin/c\n/usr/bin/c.distrib\n:\n"} {
			if strings.Count(got, name) != 1 {
				u.t.Errorf("diversions are %q", got)
			}
		}
	}},
	{fileCase: fileCase{
		name: "D8 overrides of owner and mode on both sides, one removed", old: files{"var/lib/dpkg/statoverride": "root root 4755 /usr/bin/a\nroot root 755 /usr/bin/z\n"},
		new:  files{"var/lib/dpkg/statoverride": "root root 4755 /usr/bin/a\nroot root 755 /usr/bin/z\nroot www 2755 /usr/bin/b\n"},
		user: func(u sh) { u.put("var/lib/dpkg/statoverride", "root root 755 /usr/bin/a\nroot adm 750 /usr/bin/c\n") },
	}, look: func(u sh) {
		got := content(u.t, u.root, "var/lib/dpkg/statoverride")
		for _, line := range []string{"root root 755 /usr/bin/a\n", "root www 2755 /usr/bin/b\n", "root adm 750 /usr/bin/c\n"} {
			if strings.Count(got, line) != 1 || strings.Contains(got, "/usr/bin/z") {
				u.t.Errorf("overrides are %q", got)
			}
		}
	}},
	{fileCase: fileCase{
		name: "F4 a link of the bundle's directory to a certificate of the user's", old: files{"etc/ssl/certs/x": "1"}, new: files{"etc/ssl/certs/x": "2"},
		user: func(u sh) {
			u.put("usr/local/share/ca-certificates/mine.crt", "no certificate\n")
			u.put("etc/ssl/certs/mine.pem", "-> /usr/local/share/ca-certificates/mine.crt")
		}, want: files{"etc/ssl/certs/mine.pem": "-> /usr/local/share/ca-certificates/mine.crt", "etc/ssl/certs/x": "2"},
	}},
	{fileCase: fileCase{
		name: "R8 shells that both know", old: files{"etc/shells": "# list\n/bin/sh\n/bin/old\n"}, new: files{"etc/shells": "# list\n/bin/sh\n/bin/dash\n"},
		user: func(u sh) { u.put("etc/shells", "# list\n/bin/sh\n/bin/old\n/bin/fish\n") }, want: files{"etc/shells": "# list\n/bin/sh\n/bin/dash\n/bin/fish\n"},
	}},
	{fileCase: fileCase{
		name: "R14 a unit masked by the user that the base moved", old: files{"lib/systemd/system/a.service": "[Unit]\nDescription=1\n", "usr/lib/x": "1", "etc/systemd/system": "dir"},
		new: files{"lib": "-> usr/lib", "usr/lib/systemd/system/a.service": "[Unit]\nDescription=2\n", "usr/lib/x": "1", "etc/systemd/system": "dir"},
		user: func(u sh) {
			u.put("etc/systemd/system/a.service", "-> /dev/null")
			u.put("etc/systemd/system/b.service.d/mine.conf", "[Service]\nNice=1\n")
		},
		want: files{"etc/systemd/system/a.service": "-> /dev/null", "etc/systemd/system/b.service.d/mine.conf": "[Service]\nNice=1\n", "usr/lib/systemd/system/a.service": "[Unit]\nDescription=2\n"},
	}},
}

// TestC10Bookkeeping checks that what overlayfs notes in a storage neither hides nor fakes anything, and that what would change
// what is seen is refused.
func TestC10Bookkeeping(t *testing.T) {
	for _, c := range []struct {
		attribute, value string
		refused          bool
	}{
		{"trusted.overlay.origin", "x", false}, {"trusted.overlay.impure", "y", false}, {"trusted.overlay.nlink", "U+1", false},
		{"trusted.overlay.redirect", "/etc", true}, {"trusted.overlay.metacopy", "", true},
		{"user.overlay.origin", "x", false}, {"user.mine.overlay.redirect", "/etc", false},
	} {
		t.Run(c.attribute, func(t *testing.T) {
			s := newScenario(t, files{"etc/d/a": "old"}, files{"etc/d/a": "new", "etc/d/b": "1"}, nil)
			s.nodes = nil
			upper := tempDir(t)
			files{"etc/d/a": "old", "etc/d/mine": "1"}.build(t, upper)
			must(t, unix.Lsetxattr(filepath.Join(upper, "etc/d/mine"), c.attribute, []byte(c.value), 0))
			err := tree.Seal(context.Background(), upper)
			if _, refused := errors.AsType[*tree.RefusedError](err); refused != c.refused || err != nil && !refused {
				t.Fatalf("seal: %v", err)
			}
			if c.refused {
				return
			}
			s.nodes = []string{upper}
			s.serviced(func(root string) {
				files{"etc/d/a": "new", "etc/d/b": "1", "etc/d/mine": "1"}.check(t, root)
				if strings.HasPrefix(c.attribute, "trusted") {
					sh{t, root}.has("etc/d/mine", c.attribute, nil)
				}
			})
		})
	}
}

// TestF6TargetGone lets the base remove what the user chose by hand, and what was chosen automatically.
func TestF6TargetGone(t *testing.T) {
	if _, err := exec.LookPath("update-alternatives"); err != nil {
		t.Skip("update-alternatives is not installed")
	}
	alternatives := func(root string, args ...string) string {
		return run(t, "update-alternatives", append([]string{"--root", root, "--log", "/dev/null"}, args...)...)
	}
	add := func(root, name, priority string) {
		files{"usr/bin/" + name: "0755 x"}.build(t, root)
		alternatives(root, "--install", "/usr/bin/editor", "editor", "/usr/bin/"+name, priority)
	}
	s := &scenario{t: t, old: debianRoot(t), base: debianRoot(t)}
	for _, root := range []string{s.old, s.base} {
		files{"var/lib/dpkg/alternatives": "dir", "etc/alternatives": "dir"}.build(t, root)
	}
	add(s.old, "gone", "5")
	add(s.old, "low", "1")
	add(s.base, "low", "1")
	add(s.base, "high", "9")
	s.work(s.old, func(root string) {
		add(root, "mine", "3")
		alternatives(root, "--set", "editor", "/usr/bin/gone")
	})
	s.serviced(func(root string) {
		files{"etc/alternatives/editor": "-> /usr/bin/high", "usr/bin/gone": ""}.check(t, root)
		out := alternatives(root, "--query", "editor")
		if !strings.Contains(out, "Value: /usr/bin/high") || !strings.Contains(out, "Alternative: /usr/bin/mine") || strings.Contains(out, "Alternative: /usr/bin/gone") {
			t.Errorf("alternatives: %s", out)
		}
	})
	unchangedBase(t, s)
}

// TestD8DivertedFile lets the user divert a program of a package that the base upgrades, with the real dpkg-divert.
func TestD8DivertedFile(t *testing.T) {
	s := &scenario{t: t, old: debianRoot(t, app("1.0", "")), base: debianRoot(t, app("1.1", ""))}
	s.work(s.old, func(root string) {
		run(t, "dpkg-divert", "--root", root, "--local", "--rename", "--divert", "/usr/bin/app.real", "--add", "/usr/bin/app")
		sh{t, root}.put("usr/bin/app", "0755 wrapper")
	})
	s.serviced(func(root string) {
		files{"usr/bin/app": "0755 wrapper", "usr/bin/app.real": "0755 app 1.1", "var/lib/molt/beside/new/usr/bin/app": ""}.check(t, root)
		checkDebian(t, root, map[string]string{"app": "1.1"}, "")
	})
	unchangedBase(t, s)
}

// TestB1DeletedProgram checks that a deleted program of a package stays deleted, and that the fix that this hides is told.
func TestB1DeletedProgram(t *testing.T) {
	s := &scenario{t: t, old: debianRoot(t, lib("1.0"), app("1.0", "")), base: debianRoot(t, lib("1.1"), app("1.1", ""))}
	s.work(s.old, func(root string) { sh{t, root}.rm("usr/bin/app") })
	report := s.serviced(func(root string) { files{"usr/bin/app": "", "usr/lib/lib.so": "\x00lib 1.1"}.check(t, root) })
	if got := report.Paths; len(got) != 1 || got[0].Rule != "B1" || len(got[0].Hidden) != 1 || got[0].Hidden[0] != (Fix{Package: "app", Version: "1.1"}) {
		t.Errorf("the report says %s", encoded(t, report))
	}
	unchangedBase(t, s)
}

// TestB3ProgramOfRemovedPackage checks that a program that the user replaced goes with its package, and is set aside.
func TestB3ProgramOfRemovedPackage(t *testing.T) {
	s := &scenario{t: t, old: debianRoot(t, lib("1.0"), conf("1.0", oldText)), base: debianRoot(t, lib("1.0"))}
	s.work(s.old, func(root string) { u := sh{t, root}; u.put("usr/bin/conf", "0755 mine"); u.put("etc/conf", "mine") })
	s.serviced(func(root string) {
		files{"usr/bin/conf": "", "var/lib/molt/beside/old/usr/bin/conf": "0755 mine", "etc/conf": "mine"}.check(t, root)
		checkDebian(t, root, map[string]string{"lib": "1.0", "conf": ""}, "")
	})
	unchangedBase(t, s)
}

// TestD4EditedConfiguration lets the user edit a configuration file and bring its package beyond the base's version.
func TestD4EditedConfiguration(t *testing.T) {
	s := &scenario{t: t, old: debianRoot(t, conf("1.0", oldText)), base: debianRoot(t, conf("1.1", baseText))}
	s.work(s.old, func(root string) {
		u := sh{t, root}
		u.put("etc/conf", userText)
		u.install(conf("2.0", oldText))
	})
	s.serviced(func(root string) {
		files{"etc/conf": userText, "usr/bin/conf": "0755 conf 2.0", "var/lib/molt/beside/new/etc/conf": ""}.check(t, root)
	})
	unchangedBase(t, s)
}

// TestD5AddedRemovedHeld has the three together, with a package that both sides added.
func TestD5AddedRemovedHeld(t *testing.T) {
	s := &scenario{t: t, old: debianRoot(t, lib("1.0"), app("1.0", "")), base: debianRoot(t, lib("1.1"), app("1.1", ""), conf("1.0", oldText), deb{name: "new", version: "1", files: files{"usr/bin/new": "0755 1"}})}
	s.work(s.old, func(root string) {
		u := sh{t, root}
		u.dpkg("--purge", "app")
		u.install(conf("1.0", oldText), deb{name: "own", version: "1", files: files{"usr/bin/own": "0755 1"}})
		u.put("etc/conf", userText)
	})
	s.serviced(func(root string) {
		files{"usr/bin/app": "", "usr/bin/new": "0755 1", "usr/bin/own": "0755 1", "etc/conf": userText, "var/lib/molt/beside/new/etc/conf": ""}.check(t, root)
		checkDebian(t, root, map[string]string{"lib": "1.1", "app": "", "conf": "1.0", "new": "1", "own": "1"}, "??5?????? c /etc/conf\n")
	})
	unchangedBase(t, s)
}

// TestR14LinksOfAPackage checks that the names of one file of a package stay one file, whatever directories they are in.
func TestR14LinksOfAPackage(t *testing.T) {
	linked := func(version string) deb {
		return deb{name: "linked", version: version, files: files{"usr/bin/a": "0755 " + version, "usr/lib/b": "= usr/bin/a", "usr/share/c": "1"}}
	}
	s := &scenario{t: t, old: debianRoot(t, linked("1.0")), base: debianRoot(t, linked("1.1"))}
	s.work(s.old, func(root string) { u := sh{t, root}; u.touch("usr/bin/a"); u.put("etc/mine", "1") })
	s.serviced(func(root string) { files{"usr/bin/a": "0755 1.1", "usr/lib/b": "= usr/bin/a"}.check(t, root) })
	unchangedBase(t, s)
}
