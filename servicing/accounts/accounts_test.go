// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package accounts

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sample is a small but complete and consistent base.
func sample() Files {
	return Files{
		Passwd: []byte("root:x:0:0:root:/root:/bin/bash\n" +
			"daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n" +
			"www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n"),
		Shadow:  []byte("root:*:19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\nwww-data:*:19000:0:99999:7:::\n"),
		Group:   []byte("root:x:0:\ndaemon:x:1:\nadm:x:4:daemon\nwww-data:x:33:\n"),
		Gshadow: []byte("root:*::\ndaemon:*::\nadm:*::daemon\nwww-data:*::\n"),
		Subuid:  []byte(""),
		Subgid:  []byte(""),
	}
}

// edit replaces text in a file; appending is replacing "".
func edit(f Files, file File, from, to string) Files {
	content := string(f[file])
	if from == "" {
		f[file] = []byte(content + to)
		return f
	}
	f[file] = []byte(strings.Replace(content, from, to, 1))
	return f
}

// account adds an account with a group of its own to all files.
func account(f Files, name, id, members string) Files {
	f = edit(f, Passwd, "", name+":x:"+id+":"+id+"::/:/usr/sbin/nologin\n")
	f = edit(f, Shadow, "", name+":!:19500::::::\n")
	f = edit(f, Group, "", name+":x:"+id+":"+members+"\n")
	return edit(f, Gshadow, "", name+":!::"+members+"\n")
}

// without removes the records of a name from all files.
func without(f Files, name string) Files {
	for file := range f {
		var kept []string
		for _, line := range strings.SplitAfter(string(f[file]), "\n") {
			if !strings.HasPrefix(line, name+":") {
				kept = append(kept, line)
			}
		}
		f[file] = []byte(strings.Join(kept, ""))
	}
	return f
}

type ids = map[uint32]uint32

// mergeCase is a case of the list of cases, with the sample as the old base.
type mergeCase struct {
	name       string
	old        *Files // when it is not the sample
	base, user Files
	busy       Busy
	want       Files
	uids, gids ids
	standing   ids  // of both
	onlyUIDs   bool // standing is that of users alone
	notes      int
}

func mergeCases() []mergeCase {
	o := sample()
	return []mergeCase{
		{name: "nothing changed", base: o, user: o, want: o},
		{name: "E1 both added an account", base: account(o, "redis", "101", ""), user: account(o, "alice", "1000", ""),
			want: account(account(o, "alice", "1000", ""), "redis", "101", "")},
		{name: "E2 the same id", base: account(o, "redis", "101", ""), user: account(o, "sshd", "101", ""),
			want: account(account(o, "sshd", "101", ""), "redis", "100", ""), uids: ids{101: 100}, gids: ids{101: 100}, notes: 2},
		{name: "E2 the next free id owns files of the user", base: account(o, "redis", "101", ""), user: account(o, "sshd", "101", ""),
			busy: Busy{UIDs: map[uint32]bool{100: true}, GIDs: map[uint32]bool{100: true, 102: true}},
			want: edit(edit(account(account(o, "sshd", "101", ""), "redis", "102", ""), Passwd, "redis:x:102:102", "redis:x:102:103"), Group, "redis:x:102", "redis:x:103"),
			uids: ids{101: 102}, gids: ids{101: 103}, notes: 2},
		{name: "E3 the same name, different ids", base: account(o, "redis", "101", ""), user: account(o, "redis", "105", ""),
			want: account(o, "redis", "105", ""), uids: ids{101: 105}, gids: ids{101: 105}, notes: 2},
		{name: "E3 the user changed an id, the base did not", base: edit(o, Passwd, "/var/www", "/srv/www"), user: edit(o, Passwd, "data:x:33:33", "data:x:330:33"),
			want: edit(edit(o, Passwd, "/var/www", "/srv/www"), Passwd, "data:x:33:33", "data:x:330:33"), standing: ids{33: 330}, onlyUIDs: true},
		{name: "K12 dropped by the base, with files, and the id given to another one", old: new(account(o, "svc", "105", "")), base: account(o, "other", "105", ""), user: account(o, "svc", "105", ""),
			busy: Busy{UIDs: map[uint32]bool{105: true}}, want: account(account(o, "svc", "105", ""), "other", "100", ""), uids: ids{105: 100}, gids: ids{105: 100}, notes: 4},
		{name: "K12 dropped by the base, with files", old: new(account(o, "svc", "105", "")), base: o, user: account(o, "svc", "105", ""),
			busy: Busy{GIDs: map[uint32]bool{105: true}, UIDs: map[uint32]bool{105: true}}, want: account(o, "svc", "105", ""), notes: 2},
		{name: "E2 the same id, decided by an earlier merge", old: new(account(o, "redis", "101", "")), base: account(account(o, "redis", "101", ""), "new", "102", ""),
			user: account(account(o, "sshd", "101", ""), "redis", "100", ""), want: account(account(account(o, "sshd", "101", ""), "redis", "100", ""), "new", "102", ""), standing: ids{101: 100}},
		{name: "people get ids of people", base: account(o, "bob", "1000", ""), user: account(o, "alice", "1000", ""),
			want: account(account(o, "alice", "1000", ""), "bob", "1001", ""), uids: ids{1000: 1001}, gids: ids{1000: 1001}, notes: 2},
		{name: "E5 members added and removed", base: edit(edit(o, Group, "adm:x:4:daemon", "adm:x:4:daemon,www-data"), Gshadow, "adm:*::daemon", "adm:*::daemon,www-data"),
			user: edit(edit(o, Group, "adm:x:4:daemon", "adm:x:4:root"), Gshadow, "adm:*::daemon", "adm:*::root"),
			want: edit(edit(o, Group, "adm:x:4:daemon", "adm:x:4:root,www-data"), Gshadow, "adm:*::daemon", "adm:*::root,www-data")},
		{name: "E9 password set by the user, ageing changed by the base", base: edit(o, Shadow, "root:*:19000:0:99999", "root:*:19000:0:90"),
			user: edit(o, Shadow, "root:*:19000", "root:$y$secret:19600"), want: edit(edit(o, Shadow, "root:*:19000", "root:$y$secret:19600"), Shadow, "19600:0:99999", "19600:0:90")},
		{name: "E9 both set a password", base: edit(o, Shadow, "root:*", "root:$y$base"), user: edit(o, Shadow, "root:*", "root:$y$secret"),
			want: edit(o, Shadow, "root:*", "root:$y$secret"), notes: 1},
	}
}

func recordCases() []mergeCase {
	o := sample()
	return []mergeCase{
		{name: "different fields of one record", base: edit(o, Passwd, "/var/www", "/srv/www"), user: edit(o, Passwd, "/var/www:/usr/sbin/nologin", "/var/www:/bin/sh"),
			want: edit(o, Passwd, "/var/www:/usr/sbin/nologin", "/srv/www:/bin/sh")},
		{name: "the same field of one record", base: edit(o, Passwd, "/var/www", "/srv/www"), user: edit(o, Passwd, "/var/www", "/home/www"),
			want: edit(o, Passwd, "/var/www", "/home/www"), notes: 1},
		{name: "removed by the user, changed by the base", base: edit(o, Passwd, "/var/www", "/srv/www"), user: without(o, "www-data"), want: without(o, "www-data")},
		{name: "removed by the base, untouched", base: without(o, "www-data"), user: account(o, "alice", "1000", ""), want: account(without(o, "www-data"), "alice", "1000", "")},
		{name: "removed by the base, password set by the user", base: without(o, "www-data"), user: edit(o, Shadow, "www-data:*", "www-data:$y$secret"),
			want: edit(o, Shadow, "www-data:*", "www-data:$y$secret"), notes: 2},
		{name: "removed by the base, but primary group of a user's account", base: without(o, "www-data"),
			user: edit(edit(o, Passwd, "", "web:x:1000:33::/:/bin/sh\n"), Shadow, "", "web:!:19500::::::\n"),
			want: edit(edit(edit(edit(without(o, "www-data"), Passwd, "", "web:x:1000:33::/:/bin/sh\n"), Shadow, "", "web:!:19500::::::\n"), Group, "", "www-data:x:33:\n"), Gshadow, "", "www-data:*::\n"), notes: 1},
		{name: "removed by the base, member of a user's group", base: without(o, "www-data"), user: edit(edit(o, Group, "", "web:x:1000:www-data,root\n"), Gshadow, "", "web:!::www-data,root\n"),
			want: edit(edit(without(o, "www-data"), Group, "", "web:x:1000:root\n"), Gshadow, "", "web:!::root\n")},
		{name: "renumbered by the base", base: edit(edit(edit(o, Passwd, "www-data:x:33:33", "www-data:x:34:34"), Group, "www-data:x:33", "www-data:x:34"), Passwd, "/var/www", "/srv/www"),
			user: account(o, "alice", "1000", ""), want: edit(account(o, "alice", "1000", ""), Passwd, "/var/www", "/srv/www"), uids: ids{34: 33}, gids: ids{34: 33}, notes: 2},
		{name: "a second root is no collision", base: edit(edit(o, Passwd, "", "toor:x:0:0:::/bin/sh\n"), Shadow, "", "toor:!:19500::::::\n"), user: account(o, "alice", "1000", ""),
			want: edit(edit(account(o, "alice", "1000", ""), Passwd, "", "toor:x:0:0:::/bin/sh\n"), Shadow, "", "toor:!:19500::::::\n")},
		{name: "what is not understood stays", base: account(o, "redis", "101", ""),
			user: edit(edit(o, Passwd, "daemon:x", "# a comment\nbroken:line\n\ndaemon:x"), Passwd, "", "+@staff::::::\n+::::::"),
			want: edit(edit(account(edit(o, Passwd, "daemon:x", "# a comment\nbroken:line\n\ndaemon:x"), "redis", "101", ""), Passwd, "", "+@staff::::::\n+::::::"), Shadow, "", "")},
		{name: "ranges of subordinate ids do not overlap", base: edit(o, Subuid, "", "bob:100000:65536\n"), user: edit(o, Subuid, "", "alice:100000:65536\n"),
			want: edit(o, Subuid, "", "alice:100000:65536\nbob:165536:65536\n"), notes: 1},
		{name: "a file that the user removed", base: edit(o, Subuid, "", "bob:100000:65536\n"), user: with(o, Subuid, nil), want: with(o, Subuid, nil)},
		{name: "a file that only the base has", old: new(with(o, Subuid, nil)), base: edit(o, Subuid, "", "bob:100000:65536\n"), user: with(o, Subuid, nil),
			want: edit(o, Subuid, "", "bob:100000:65536\n")},
	}
}

func TestMerge(t *testing.T) {
	for _, c := range append(mergeCases(), recordCases()...) {
		t.Run(c.name, func(t *testing.T) {
			old := sample()
			if c.old != nil {
				old = *c.old
			}
			got := Merge(old, c.base, c.user, c.busy)
			for f, want := range c.want {
				if string(got.Files[f]) != string(want) || (got.Files[f] == nil) != (want == nil) {
					t.Errorf("%s:\n%s\nwant:\n%s", layouts[f].path, got.Files[f], want)
				}
			}
			if !maps.Equal(got.UIDs, c.uids) || !maps.Equal(got.GIDs, c.gids) {
				t.Errorf("ids %v %v, want %v %v", got.UIDs, got.GIDs, c.uids, c.gids)
			}
			if !maps.Equal(got.StandingUIDs, c.standing) || !c.onlyUIDs && !maps.Equal(got.StandingGIDs, c.standing) {
				t.Errorf("standing ids %v %v, want %v", got.StandingUIDs, got.StandingGIDs, c.standing)
			}
			if len(got.Notes) != c.notes {
				t.Errorf("%d notes, want %d: %v", len(got.Notes), c.notes, got.Notes)
			}
			if check(t, c.user) == "" && check(t, c.base) == "" {
				if complaints := check(t, got.Files); complaints != "" {
					t.Errorf("pwck or grpck: %s", complaints)
				}
			}
		})
	}
}

func with(f Files, file File, content []byte) Files {
	f[file] = content
	return f
}

// check runs pwck and grpck in a root of their own and returns what they complain about.
func check(t testing.TB, f Files) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range parse(layouts[Passwd], f[Passwd]).names() { // homes and shells are checked as well
		fields := parse(layouts[Passwd], f[Passwd]).get(name)
		touch(t, filepath.Join(root, fields[5], "x"))
		touch(t, filepath.Join(root, fields[6]))
	}
	for file, l := range layouts {
		if f[file] == nil {
			continue
		}
		path := filepath.Join(root, l.path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f[file], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	for _, args := range [][]string{{"pwck", "-r", "-R", root}, {"grpck", "-r", "-R", root}} {
		said, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		var exit *exec.ExitError
		switch {
		case errors.Is(err, exec.ErrNotFound):
			t.Skipf("%s is not installed", args[0])
		case errors.As(err, &exit):
			out.WriteString(string(said) + err.Error() + "\n")
		case err != nil:
			t.Fatal(err)
		}
	}
	return out.String()
}

func touch(t testing.TB, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestCheckSeesWhatIsWrong(t *testing.T) {
	if said := check(t, sample()); said != "" {
		t.Errorf("the sample: %s", said)
	}
	for name, f := range map[string]Files{
		"an account without a group":         edit(sample(), Passwd, "www-data:x:33:33", "www-data:x:33:99"),
		"a member without an account":        edit(sample(), Group, "adm:x:4:daemon", "adm:x:4:nobody"),
		"an account without a shadow record": with(sample(), Shadow, []byte("root:*:19000:0:99999:7:::\n")),
	} {
		if check(t, f) == "" {
			t.Errorf("%s: no complaint", name)
		}
	}
}
