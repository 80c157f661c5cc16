// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// onTmpfs makes the three sides on a file system that holds any attributes.
func onTmpfs(t *testing.T, old, base, user files) *scenario {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	dir := t.TempDir()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	s := &scenario{t: t, old: dir + "/old", base: dir + "/new", nodes: []string{dir + "/user"}}
	for _, one := range []struct {
		dir   string
		files files
	}{{s.old, old}, {s.base, base}, {s.nodes[0], user}} {
		must(t, os.Mkdir(one.dir, 0o755))
		one.files.build(t, one.dir)
	}
	return s
}

// verdictOn returns what a report says of a path, empty for nothing.
func verdictOn(r *Report, path string) Verdict {
	i := slices.IndexFunc(r.Paths, func(p PathReport) bool { return p.Path == path })
	if i < 0 {
		return ""
	}
	return r.Paths[i].Verdict
}

// Paths whose attributes nobody can list hold the storage, whatever is forced, with the paths and a remedy; everything
// else is told all the same, and looks work.
func TestLongListHolds(t *testing.T) {
	both, own := files{"etc/a": "1", "etc/b": "1"}, files{"etc/a": "2", "etc/b": "3", "srv/own": "", "srv/d/x": "1"}
	s := onTmpfs(t, both, files{"etc/a": "4", "etc/b": "5"}, own)
	for _, name := range []string{"etc/a", "srv/own", "srv/d"} {
		for i := range 700 {
			must(t, unix.Setxattr(filepath.Join(s.nodes[0], name), fmt.Sprintf("trusted.%0100d", i), nil, 0))
		}
	}
	for _, force := range []bool{false, true} {
		p := s.plan(Options{Force: force})
		var held []string
		for _, r := range p.Held() {
			if r.Code != HoldAttributes || !strings.Contains(r.Do, "setfattr -x") || !strings.Contains(r.Message, r.Path) {
				t.Errorf("held: %+v", r)
			}
			held = append(held, r.Path)
		}
		if got := strings.Join(held, " "); got != "etc/a srv/d srv/own" {
			t.Errorf("force %t: held for %q", force, got)
		}
		if got := verdictOn(p.Report(), "etc/b"); got != Beside {
			t.Errorf("the other path: %q", got)
		}
		if err := p.Write(t.Context(), t.TempDir()); !errors.Is(err, ErrHeld) {
			t.Errorf("Write: %v", err)
		}
	}
	in := Input{New: tree.Stack{s.old}, User: s.nodes, Live: true}
	for path, unread := range map[string]bool{"srv/own": true, "srv/d": true, "srv/d/x": false, "etc/b": false} {
		e, err := Explain(t.Context(), in, path, []string{"node", "base"})
		must(t, err)
		if !e.Exists || (e.Stack[0].Unread != "") != unread {
			t.Errorf("explain %s: %+v", path, e)
		}
	}
	must(t, second(Audit(t.Context(), in)))
	err := tree.Seal(t.Context(), s.nodes[0])
	r, ok := report.Refused(fmt.Errorf("seal it: %w", err))
	if !ok || len(r.Holds) != 1 || r.Holds[0].Path != "etc/a" || r.Holds[0].Do == "" {
		t.Errorf("the report of %v: %+v", err, r)
	}
}

func second[T any](_ T, err error) error { return err }

// A file with a write lease makes nobody wait. A look names it and tells the rest; servicing fails with its path.
func TestLeaseIsNamed(t *testing.T) {
	both := files{"etc/a": "1", "etc/b": "1"}
	s := onTmpfs(t, both, files{"etc/a": "4", "etc/b": "5"}, files{"etc/a": "2", "etc/b": "3"})
	file, err := os.OpenFile(filepath.Join(s.nodes[0], "etc/a"), os.O_RDWR, 0)
	must(t, err)
	defer file.Close()
	if _, err := unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_WRLCK); err != nil {
		t.Fatalf("no lease: %v", err)
	}
	in := s.input(Options{})
	_, err = NewPlan(t.Context(), in)
	if unread, ok := errors.AsType[*tree.UnreadableError](err); !ok || unread.Why != tree.Leased || unread.Path != "etc/a" {
		t.Errorf("servicing: %v", err)
	}
	in.Live = true
	p, err := NewPlan(t.Context(), in)
	must(t, err)
	defer p.Close()
	if u := p.Report().Unread; len(u) != 1 || u[0].Path != "etc/a" || u[0].Why != "is in use by a lease" {
		t.Errorf("not looked at: %+v", u)
	}
	if got := verdictOn(p.Report(), "etc/b"); got != Beside {
		t.Errorf("the other path: %q", got)
	}
	if err := p.Write(t.Context(), t.TempDir()); err == nil {
		t.Error("a look was written")
	}
	e, err := Explain(t.Context(), Input{New: in.Old, User: in.User, Live: true}, "etc/a", []string{"node", "base"})
	must(t, err)
	if len(e.Stack) != 2 || e.Stack[0].Unread != "is in use by a lease" || e.Stack[0].What != "regular file" || e.Stack[1].Content == "" {
		t.Errorf("explained: %+v", e)
	}
	d, err := DiffPath(t.Context(), DiffInput{Old: in.Old, New: in.New, User: in.User}, "etc/a", "")
	must(t, err)
	if !strings.Contains(d.Diffs[1].Why, "lease") {
		t.Errorf("diff: %+v", d)
	}
}

// churn changes a storage until the end of the test, as a container that knows when it is looked at might.
func churn(t *testing.T, dir string) {
	t.Helper()
	replace := func(name, content string) error {
		return errors.Join(os.WriteFile(dir+"/.new", []byte(content), 0o644), os.Rename(dir+"/.new", filepath.Join(dir, name)))
	}
	swap := func(a, b string) error { return os.Rename(filepath.Join(dir, a), filepath.Join(dir, b)) }
	round := func() error {
		return errors.Join(
			replace("etc/passwd", "root:x:0:0::/:\n"), replace("etc/conf", "mine"), replace("var/lib/dpkg/status", ""),
			swap("opt/d", "opt/e"), swap("opt/e", "opt/d"), swap("usr/lib", "usr/lib2"), swap("usr/lib2", "usr/lib"),
			os.Remove(dir+"/etc/gone"), os.Mkdir(dir+"/etc/gone", 0o755), os.Remove(dir+"/etc/gone"), replace("etc/gone", "x"),
		)
	}
	stop := make(chan struct{})
	var group sync.WaitGroup
	t.Cleanup(func() { close(stop); group.Wait() })
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := round(); err != nil {
				t.Errorf("change the storage: %v", err)
				return
			}
		}
	})
}

// Looks at a storage whose files are renamed, replaced and removed all the time tell what they can, and name the paths
// that they passed over. None of them fails for what vanished.
func TestLookWhileChanging(t *testing.T) {
	base := func(v string) files {
		f := files{
			"etc/passwd": "root:x:0:0::/:\nb" + v + ":x:9:9::/:\n", "etc/conf": v, "etc/gone": v, "etc/stays": v,
			"var/lib/dpkg/status":      "Package: a\nStatus: install ok installed\nVersion: " + v + "\nArchitecture: all\n\n",
			"var/lib/dpkg/info/a.list": "/.\n/etc\n/etc/conf\n/usr\n/usr/lib\n/usr/lib/l0.so\n",
		}
		for i := range 20 {
			f[fmt.Sprintf("usr/lib/l%d.so", i)], f[fmt.Sprintf("opt/d/x/%d", i)] = v, v
		}
		return f
	}
	s := onTmpfs(t, base("1"), base("2"), base("3"))
	churn(t, s.nodes[0])
	named := func(what string, err error) {
		t.Helper()
		if unread, ok := errors.AsType[*tree.UnreadableError](err); err != nil && (!ok || unread.Path == "") {
			t.Errorf("%s: %v", what, err)
		}
	}
	const rounds = 40
	told, passedOver := 0, 0
	for range rounds {
		in := s.input(Options{})
		in.Live = true
		p, err := NewPlan(t.Context(), in)
		named("plan", err)
		if err == nil {
			told++
			passedOver += len(p.Report().Unread)
			if got := verdictOn(p.Report(), "etc/stays"); got != Beside {
				t.Errorf("what stays: %q", got)
			}
			must(t, p.Close())
		}
		in = Input{New: tree.Stack{s.old}, User: s.nodes, Live: true}
		named("audit", second(Audit(t.Context(), in)))
		for _, path := range []string{"opt/d/x/3", "etc/conf", "etc/stays"} {
			named("explain "+path, second(Explain(t.Context(), in, path, []string{"node", "base"})))
			named("diff "+path, second(DiffPath(t.Context(), DiffInput{Old: tree.Stack{s.old}, New: tree.Stack{s.base}, User: s.nodes}, path, "")))
		}
	}
	t.Logf("%d of %d dry runs told, %d paths passed over", told, rounds, passedOver)
	if told == 0 {
		t.Error("no dry run could tell anything")
	}
}
