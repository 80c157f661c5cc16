// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// accountBase returns the account files of a base, with accounts ("name:id") beside root.
func accountBase(more files, names ...string) files {
	passwd, shadow, group, gshadow := "root:x:0:0:root:/root:/bin/sh\n", "root:*:19000:0:99999:7:::\n", "root:x:0:\nshadow:x:42:\n", "root:*::\nshadow:*::\n"
	for _, one := range names {
		name, id, _ := strings.Cut(one, ":")
		passwd += name + ":x:" + id + ":" + id + "::/:/bin/sh\n"
		shadow += name + ":!:19000::::::\n"
		group += name + ":x:" + id + ":\n"
		gshadow += name + ":!::\n"
	}
	out := files{"etc/passwd": passwd, "etc/shadow": "0640 " + shadow, "etc/group": group, "etc/gshadow": "0640 " + gshadow, "root": "dir", "bin/sh": "0755 x"}
	maps.Copy(out, more)
	return out
}

// add adds an account as useradd does.
func (u sh) add(name, id string) {
	u.t.Helper()
	for file, line := range map[string]string{
		"passwd": name + ":x:" + id + ":" + id + "::/:/bin/sh\n", "shadow": name + ":$y$secret:19000::::::\n", "group": name + ":x:" + id + ":\n", "gshadow": name + ":!::\n",
	} {
		full := filepath.Join(u.root, "etc", file)
		content, err := os.ReadFile(full)
		must(u.t, err)
		must(u.t, os.WriteFile(full, append(content, line...), 0o644))
	}
}

// owners checks who owns files.
func owners(t tb, root string, want map[string][2]uint32) {
	t.Helper()
	for name, ids := range want {
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(root, name), &st))
		if st.Uid != ids[0] || st.Gid != ids[1] {
			t.Errorf("%s belongs to %d:%d, want %v", name, st.Uid, st.Gid, ids)
		}
	}
}

// checkAccounts runs the system's checks on the account files below a root.
func checkAccounts(t tb, root string) {
	t.Helper()
	for _, tool := range []string{"pwck", "grpck"} {
		if path, err := exec.LookPath(tool); err == nil {
			run(t, path, "-r", "-R", root)
		}
	}
}

func content(t tb, root, name string) string {
	t.Helper()
	out, err := os.ReadFile(filepath.Join(root, name))
	must(t, err)
	return string(out)
}

func TestE2TheSameID(t *testing.T) {
	base := accountBase(files{"var/lib/redis/a": "1", "var/lib/redis/b": "1", "var/lib/other": "1"}, "redis:101")
	s := newScenario(t, accountBase(nil), base, nil)
	for _, name := range []string{"var/lib/redis", "var/lib/redis/a", "var/lib/redis/b"} {
		must(t, os.Lchown(filepath.Join(s.base, name), 101, 101))
	}
	must(t, os.Lchown(filepath.Join(s.base, "etc/shadow"), 0, 42))
	must(t, os.Lchown(filepath.Join(s.old, "etc/shadow"), 0, 42))
	s.nodes = nil
	s.work(s.old, func(root string) {
		u := sh{t, root}
		u.add("sshd", "101")
		u.put("var/lib/sshd/key", "1")
		u.chown("var/lib/sshd/key", 101, 101)
	})
	report := s.serviced(func(root string) {
		checkAccounts(t, root)
		owners(t, root, map[string][2]uint32{
			"var/lib/redis": {100, 100}, "var/lib/redis/a": {100, 100}, "var/lib/redis/b": {100, 100}, "var/lib/sshd/key": {101, 101}, "var/lib/other": {0, 0}, "etc/shadow": {0, 42},
		})
		if passwd := content(t, root, "etc/passwd"); !strings.Contains(passwd, "sshd:x:101:101") || !strings.Contains(passwd, "redis:x:100:100") {
			t.Errorf("passwd:\n%s", passwd)
		}
		if shadow := content(t, root, "etc/shadow"); !strings.Contains(shadow, "sshd:$y$secret:") || !strings.Contains(shadow, "redis:!") {
			t.Errorf("shadow:\n%s", shadow)
		}
		files{"etc/shadow": "0640 " + content(t, root, "etc/shadow"), "etc/gshadow": "0640 " + content(t, root, "etc/gshadow")}.check(t, root)
	})
	if len(report.IDs) != 2 || report.IDs[1] != (IDRemap{Kind: "uid", From: 101, To: 100, Name: "redis", Files: 3}) || verdictOf(report, "var/lib/redis/a") != Remap {
		t.Errorf("report: %v", report.IDs)
	}
	unchangedBase(t, s)
	t.Run("and a second update", func(t *testing.T) { secondUpdate(t, s) })
}

// secondUpdate brings further files of the account that got another id, and no change of the account files.
func secondUpdate(t *testing.T, s *scenario) {
	s.t = t
	s.nodes = append([]string{s.write(s.plan(Options{}))}, s.nodes...)
	next := tempDir(t)
	run(t, "cp", "-a", s.base+"/.", next)
	must(t, os.WriteFile(filepath.Join(next, "var/lib/redis/new"), nil, 0o644))
	must(t, os.Lchown(filepath.Join(next, "var/lib/redis/new"), 101, 101))
	s.old, s.base = s.base, next
	s.serviced(func(root string) {
		checkAccounts(t, root)
		owners(t, root, map[string][2]uint32{"var/lib/redis/new": {100, 100}, "var/lib/redis/a": {100, 100}, "var/lib/sshd/key": {101, 101}})
	})
	unchangedBase(t, s)
}

func TestE3RenumberedByTheBase(t *testing.T) {
	for _, touched := range []bool{false, true} {
		old := accountBase(files{"var/lib/redis/a": "1", "var/lib/redis": "dir"}, "redis:101")
		base := accountBase(files{"var/lib/redis/a": "2", "var/lib/redis/new": "1"}, "other:101", "redis:102")
		s := newScenario(t, old, base, nil)
		must(t, os.Lchown(filepath.Join(s.old, "var/lib/redis"), 101, 101))
		for _, name := range []string{"var/lib/redis", "var/lib/redis/a", "var/lib/redis/new"} {
			must(t, os.Lchown(filepath.Join(s.base, name), 102, 102))
		}
		s.nodes = nil
		s.work(s.old, func(root string) {
			u := sh{t, root}
			u.put("var/lib/redis/mine", "1")
			u.chown("var/lib/redis/mine", 101, 101)
			if touched {
				u.add("alice", "1000")
			}
		})
		s.serviced(func(root string) {
			checkAccounts(t, root)
			owners(t, root, map[string][2]uint32{"var/lib/redis": {101, 101}, "var/lib/redis/mine": {101, 101}, "var/lib/redis/a": {101, 101}, "var/lib/redis/new": {101, 101}})
			if passwd := content(t, root, "etc/passwd"); !strings.Contains(passwd, "redis:x:101:101") || !strings.Contains(passwd, "other:x:100:100") {
				t.Errorf("passwd:\n%s", passwd)
			}
		})
		unchangedBase(t, s)
	}
}

func TestE3NobodyIsConcerned(t *testing.T) {
	s := newScenario(t, accountBase(nil, "redis:101"), accountBase(nil, "redis:102"), func(root string) { sh{t, root}.put("etc/mine", "1") })
	if p := s.plan(Options{}); !p.Empty() {
		t.Errorf("side effects: %v", p.Report().Effects)
	}
}

func TestE10AccountsOnBothSides(t *testing.T) {
	s := newScenario(t, accountBase(nil, "www:33"), accountBase(nil, "www:33", "redis:101"), func(root string) { sh{t, root}.add("alice", "1000") })
	report := s.serviced(func(root string) {
		checkAccounts(t, root)
		for _, name := range []string{"etc/passwd", "etc/shadow", "etc/group", "etc/gshadow"} {
			lines := strings.Split(content(t, root, name), "\n")
			if n := len(lines); !strings.HasPrefix(lines[n-3], "alice:") || !strings.HasPrefix(lines[n-2], "redis:") {
				t.Errorf("%s: %q", name, lines)
			}
		}
		files{"var/lib/molt/beside/new/etc/passwd": ""}.check(t, root)
	})
	if verdictOf(report, "etc/shadow") != Merge {
		t.Errorf("shadow: %s", verdictOf(report, "etc/shadow"))
	}
	unchangedBase(t, s)
}
