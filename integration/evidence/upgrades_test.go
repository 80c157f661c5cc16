// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// envUpgrades makes TestUpgrades run: it fetches two distributions and many packages.
const envUpgrades = "MOLT_EVIDENCE_UPGRADES"

// envPackages names further people by what they install: packages with blanks between them, people with commas. What becomes of
// their storages is found out, not expected; only one that is serviced and then not right fails.
const envPackages = "MOLT_EVIDENCE_PACKAGES"

// person is somebody who installs and edits in a Debian container.
type person struct {
	name, does string // a shell script
	works      string // a shell script that says nothing and ends with 0 if all works
	asked      bool   // by envPackages
}

const install = "apt-get update -q && apt-get install -y -q --no-install-recommends "

// asked returns the people whom somebody asks about.
func asked() (all []person) {
	for packages := range strings.SplitSeq(os.Getenv(envPackages), ",") {
		if packages != "" {
			all = append(all, person{name: "installs " + packages, does: install + packages, works: "true", asked: true})
		}
	}
	return all
}

func people() []person {
	return []person{
		{
			name:  "edits only",
			does:  `useradd --create-home alice; echo 'alias ll="ls -l"' >>/etc/bash.bashrc; echo data >/home/alice/data; rm -rf /usr/share/doc/openssl; chmod 700 /usr/bin/openssl`,
			works: `test "$(cat /home/alice/data)" = data; id alice >/dev/null; test "$(stat -c %a /usr/bin/openssl)" = 700;`,
		},
		{
			name:  "programs copied by hand",
			does:  install + `rsync less; cp /usr/bin/openssl /usr/local/bin/mine; cp /usr/bin/apt-get /usr/local/bin/my-apt-get; cp /bin/true /usr/local/bin/yes`,
			works: `/usr/local/bin/mine version >/dev/null; /usr/local/bin/yes; rsync --version >/dev/null; less --version >/dev/null`,
		},
		{
			name:  "web stack",
			does:  install + `nginx-light php-cli; echo '<p>hello' >/var/www/html/index.html; sed -i 's/# server_tokens/server_tokens/' /etc/nginx/nginx.conf`,
			works: `nginx -t -q; test "$(cat /var/www/html/index.html)" = '<p>hello'; test "$(php -r 'echo 6*7;')" = 42`,
		},
		{
			name:  "compiler",
			does:  install + `gcc libc6-dev make; printf '#include <stdio.h>\nint main(void) { puts("built here"); return 0; }\n' >/root/a.c; gcc -o /usr/local/bin/a /root/a.c`,
			works: `test "$(/usr/local/bin/a)" = 'built here'; gcc -o /tmp/b /root/a.c; test "$(/tmp/b)" = 'built here'`,
		},
		{
			name: "database",
			does: install + `postgresql sqlite3; sqlite3 /srv/a.db 'create table t (n integer); insert into t values (42);'
				pg_ctlcluster 15 main start; su postgres -c "psql -qc 'create table t as select 42 as n'"; pg_ctlcluster 15 main stop`,
			works: `test "$(sqlite3 /srv/a.db 'select n from t')" = 42
				pg_ctlcluster 15 main start; test "$(su postgres -c "psql -Atc 'select n from t'")" = 42; pg_ctlcluster 15 main stop`,
		},
		{
			name:  "modules of Python",
			does:  install + `python3 python3-yaml; mkdir -p /usr/local/lib/python3.11/dist-packages; echo 'n = 42' >/usr/local/lib/python3.11/dist-packages/mine.py`,
			works: `test "$(python3 -c 'import mine, yaml, ssl, sqlite3; print(mine.n)')" = 42`,
		},
	}
}

// upgrade is an update of a base.
type upgrade struct {
	name, script, trees string
	held                []string // the people whose storages must be held; the others' must work
	kept                []string // those of them whose storages must work when what their packages need is kept
	openssl             string   // the version that must be effective
}

func upgrades() []upgrade {
	return []upgrade{
		{
			name: "bookworm to bookworm with security updates", script: "../debian/trees.sh", trees: "../../.cache/debian", openssl: "3.0",
			// perl needs the very version of perl-base that it was installed with: that stays, and all else is applied.
		},
		{
			name: "bookworm to trixie", script: "./trees.sh", trees: "../../.cache/debian-trixie", openssl: "3.5",
			held: []string{"web stack", "compiler", "database", "modules of Python"},
			kept: []string{"web stack", "modules of Python"}, // the others need the C library that they were built for
		},
	}
}

// TestUpgrades services storages of people who work in Debian, for security updates and for the next distribution, and lets
// Debian's own tools look at the results.
func TestUpgrades(t *testing.T) {
	if os.Getenv(envUpgrades) == "" {
		t.Skip("set " + envUpgrades + "=1: this fetches two distributions and many packages, and takes minutes")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	for _, to := range upgrades() {
		t.Run(to.name, func(t *testing.T) {
			trees := to.makeTrees(t)
			var table strings.Builder
			table.WriteString("| user | outcome | reasons and findings | checks |\n|---|---|---|---|\n")
			all := asked()
			if all == nil {
				all = people()
			}
			for _, one := range all {
				t.Run(one.name, func(t *testing.T) { fmt.Fprintf(&table, "| %s |\n", to.try(t, trees, one)) })
			}
			t.Logf("\n%s", table.String())
		})
	}
}

// envDate has a run use what an earlier one took from the archive, by its date as in 2027-01-31. Without it, what was taken today is
// used, or taken now: trees and packages of different days need not go together.
const envDate = "MOLT_EVIDENCE_DATE"

// makeTrees makes the trees of the old and the new base, once a day, and returns the directory that they are in.
func (to upgrade) makeTrees(t *testing.T) string {
	t.Helper()
	trees, err := filepath.Abs(to.trees + "-" + cmp.Or(os.Getenv(envDate), time.Now().Format(time.DateOnly)))
	must(t, err)
	if out, err := exec.CommandContext(t.Context(), to.script, trees).CombinedOutput(); err != nil {
		t.Fatalf("make the trees: %v\n%s", err, out)
	}
	return trees
}

// try services the storage of somebody and returns a row of the table.
func (to upgrade) try(t *testing.T, trees string, one person) string {
	t.Helper()
	old, base := filepath.Join(trees, "old"), filepath.Join(trees, "new")
	upper := storage(t, filepath.Join(trees, "people", strings.ReplaceAll(one.name, " ", "-")), old, one)
	in := servicing.Input{Old: tree.Stack{old}, New: tree.Stack{base}, User: tree.Stack{upper}}
	report, lower := service(t, in)
	if held := lower == nil; !one.asked && held != slices.Contains(to.held, one.name) {
		t.Errorf("held is %v: %v", held, report.Holds)
	}
	outcome, why := strings.Replace(applied(report), "applied", "serviced", 1), reasons(report)
	if tied := waits(report); tied != "" {
		why = strings.TrimPrefix(why+"; waits: "+tied, "; ")
	}
	if lower == nil {
		if !one.asked && !slices.Contains(to.kept, one.name) {
			return one.name + " | held | " + why + " | not needed"
		}
		outcome = "held; with `dependency=keep` serviced"
		in.Options.Policy = servicing.Policy{servicing.ConcernDependency: servicing.ActionKeep}
		if report, lower = service(t, in); lower == nil && one.asked {
			return one.name + " | held, also with `dependency=keep` | " + why + "; then: " + reasons(report) + " | not needed"
		}
		if lower == nil {
			t.Fatalf("held though what is needed is kept: %v", report.Holds)
		}
	}
	bad := to.check(t, lower, one)
	if len(bad) == 0 {
		return one.name + " | " + outcome + " | " + why + " | all pass"
	}
	t.Errorf("after the update:\n%s", strings.Join(bad, "\n"))
	return one.name + " | " + outcome + " | " + why + " | " + strings.ReplaceAll(strings.Join(bad, "; "), "\n", " ")
}

// reasons tells why a storage is held and what was found, in short.
func reasons(r *servicing.Report) string {
	var out []string
	for _, hold := range r.Holds {
		out = append(out, string(hold.Code)+": "+hold.Message)
	}
	for _, f := range r.Findings {
		out = append(out, string(f.Severity)+": "+f.Path+" "+f.Message)
	}
	if n := len(out); n > 4 {
		out = append(out[:4:4], fmt.Sprintf("and %d more", n-4))
	}
	return strings.Join(out, "; ")
}

// storage lets somebody work on the old tree, once; later runs find what was made.
func storage(t *testing.T, dir, old string, one person) string {
	t.Helper()
	upper := filepath.Join(dir, "fs")
	if _, err := os.Stat(filepath.Join(dir, "done")); err == nil {
		return upper
	}
	must(t, os.RemoveAll(dir))
	must(t, os.MkdirAll(upper, 0o755))
	mounted(t, upper, []string{old}, func(root string) {
		if out, err := inRoot(t, root, "set -e\n"+one.does); err != nil {
			t.Fatalf("%s: %v\n%s", one.name, err, tail(out))
		}
	})
	must(t, tree.Seal(context.Background(), upper))
	must(t, os.WriteFile(filepath.Join(dir, "done"), nil, 0o644))
	return upper
}

// inRoot runs a shell script in a changed root.
func inRoot(t *testing.T, root, script string) (string, error) {
	t.Helper()
	for _, name := range []string{"etc/resolv.conf", "etc/hosts"} { // as a runtime does
		content, err := os.ReadFile("/" + name)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(root, name), content, 0o644))
	}
	proc := filepath.Join(root, "proc")
	must(t, unix.Mount("proc", proc, "proc", 0, ""))
	defer func() { must(t, unix.Unmount(proc, unix.MNT_DETACH)) }()
	cmd := exec.CommandContext(t.Context(), "chroot", root, "sh", "-c", script)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", "HOME=/root"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func tail(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// silent is a script that fails if a command says something.
func silent(command string) string {
	return "out=$(" + command + `); test -z "$out" || { echo "$out"; exit 1; }`
}

// check returns what Debian's own tools, and the user, find wrong.
func (to upgrade) check(t *testing.T, lower []string, one person) (bad []string) {
	t.Helper()
	upper := filepath.Join(tempDir(t), "fs")
	must(t, os.Mkdir(upper, 0o755))
	mounted(t, upper, lower, func(root string) {
		for _, check := range []struct{ what, script string }{
			{"dpkg --audit", silent("dpkg --audit")},
			{"apt-get check", "apt-get check -q"},
			{"pwck -r", silent(`pwck -r 2>&1 | grep -v -E "^user '.*': directory '.*' does not exist$|^pwck: no changes$"`)},
			{"grpck -r", "grpck -r"},
			{"ldconfig -p", `ldconfig -p | sed -n 's/.* => //p' | while read -r f; do test -e "$f" || { echo "$f is not there"; exit 1; }; done`},
			{"dpkg --verify", silent(`dpkg --verify | grep -v -E '^.{9} c /etc/| /usr/share/doc/openssl(/|$)| /var/lib/apt/lists'`)},
			{"what the user has", "set -e\n" + one.works},
			{"openssl", "openssl version | grep -q 'OpenSSL " + to.openssl + ".*Library: OpenSSL " + to.openssl + "'"},
			{"apt-get install", "apt-get update -q && apt-get install -y -q --no-install-recommends hello && hello"},
		} {
			if out, err := inRoot(t, root, check.script); err != nil {
				bad = append(bad, fmt.Sprintf("%s: %v: %s", check.what, err, tail(out)))
			}
		}
	})
	return slices.Clip(bad)
}
