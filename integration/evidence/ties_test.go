// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// envTies makes TestTies run: it fetches many packages.
const envTies = "MOLT_EVIDENCE_TIES"

// tiedSets are popular sets of packages, many of which need the very version of a package of the base. envPackages names others.
const tiedSets = "git curl jq vim,build-essential,python3-pip,apache2 php,postgresql-client,mariadb-server,npm,docker.io,texlive-base,r-base,memcached,composer"

// withRecommends installs as a person does, and starts no daemons, as in the container images of Debian.
const withRecommends = `printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
apt-get update -q && apt-get install -y -q -o Dpkg::Options::=--force-unsafe-io `

// TestTies services storages of people who installed popular packages in bookworm, for bookworm with its security updates: all of
// the update is applied but what those packages need in its old version. Debian's own tools look at the result, at that of a second
// update, at a container in which everything is upgraded afterwards, and at what was written since when it is carried back.
func TestTies(t *testing.T) {
	if os.Getenv(envTies) == "" {
		t.Skip("set " + envTies + "=1: this fetches many packages, and takes half an hour")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	to := upgrades()[0]
	trees := to.makeTrees(t)
	third := tempDir(t)
	files{"etc/motd": "the third base\n"}.build(t, third)
	sets := tiedSets
	if given := os.Getenv(envPackages); given != "" {
		sets = given
	}
	var table strings.Builder
	table.WriteString("| packages | update | what waits | checks | second update | upgrade in the container | carried back |\n|---|---|---|---|---|---|---|\n")
	for set := range strings.SplitSeq(sets, ",") {
		t.Run(set, func(t *testing.T) {
			p := person{name: "installs " + set + " with recommends", does: withRecommends + set, works: "true", asked: true}
			row := tied{T: t, upgrade: to, person: p, old: filepath.Join(trees, "old"), base: filepath.Join(trees, "new"), third: third}
			row.storage = storage(t, filepath.Join(trees, "people", strings.ReplaceAll(p.name, " ", "-")), row.old, p)
			line := fmt.Sprintf("| %s | %s |", set, strings.Join(row.try(), " | "))
			t.Log(line)
			table.WriteString(line + "\n")
		})
	}
	t.Logf("\n%s", table.String())
}

// tied is the storage of a person who installed a set of packages.
type tied struct {
	*testing.T
	upgrade
	person
	old, base, third, storage string
}

// try takes the storage through updates and returns the cells of a row.
func (r tied) try() []string {
	first := servicing.Input{Old: tree.Stack{r.old}, New: tree.Stack{r.base}, User: tree.Stack{r.storage}}
	report, lower := service(r.T, first)
	if lower == nil {
		return []string{"held: " + reasons(report), "", "", "", "", ""}
	}
	user := lower[:len(lower)-1]
	second := servicing.Input{
		Old: first.New, New: tree.Stack{r.third, r.base}, User: user, Withheld: report.Withheld, Waiting: report.Waiting,
	}
	again, top := service(r.T, second)
	secondly := ""
	switch {
	case top == nil:
		secondly = "held: " + reasons(again)
	case waits(again) != waits(report):
		secondly = waits(again) + " wait"
	default:
		secondly = r.verdict(r.check(r.T, top, r.person))
	}
	upper, upgraded := r.upgraded(lower)
	return []string{
		applied(report), waits(report), r.verdict(r.check(r.T, lower, r.person)), secondly, upgraded, r.carriedBack(lower, upper),
	}
}

// applied says how far an update came, as the command line does.
func applied(r *servicing.Report) string {
	switch n := len(r.FixesWaiting()); n {
	case 0:
		return "applied"
	case 1:
		return "applied, 1 fix waits"
	default:
		return fmt.Sprintf("applied, %d fixes wait", n)
	}
}

// waits lists what waits and for whom.
func waits(r *servicing.Report) string {
	var out []string
	for _, w := range r.Waiting {
		why := "with " + w.With
		if len(w.For) > 0 {
			why = "for " + w.For[0].Package
		}
		out = append(out, fmt.Sprintf("%s %s -> %s (%s)", w.Package, w.Kept, w.Base, why))
	}
	return strings.Join(out, ", ")
}

// verdict fails the test where something is wrong.
func (r tied) verdict(bad []string) string {
	r.Helper()
	if len(bad) == 0 {
		return "all pass"
	}
	r.Errorf("%s", strings.Join(bad, "\n"))
	return strings.ReplaceAll(strings.Join(bad, "; "), "\n", " ")
}

// upgraded upgrades everything in the container. It returns what that wrote.
func (r tied) upgraded(lower tree.Stack) (upper, verdict string) {
	upper = filepath.Join(tempDir(r.T), "fs")
	must(r.T, os.Mkdir(upper, 0o755))
	var bad []string
	mounted(r.T, upper, lower, func(root string) {
		if out, err := inRoot(r.T, root, "apt-get update -q && apt-get upgrade -y -q -o Dpkg::Options::=--force-unsafe-io"); err != nil {
			bad = append(bad, fmt.Sprintf("apt-get upgrade: %v: %s", err, tail(out)))
		}
	})
	must(r.T, tree.Seal(context.Background(), upper))
	after := append(tree.Stack{upper}, lower...)
	bad = append(bad, r.check(r.T, after, r.person)...)
	audit, err := servicing.Audit(r.Context(), servicing.Input{New: tree.Stack{r.base}, User: after[:len(after)-1]})
	must(r.T, err)
	for _, p := range audit.Packages {
		if p.Lower {
			bad = append(bad, fmt.Sprintf("%s is still %s", p.Name, p.Seen))
		}
	}
	return upper, r.verdict(bad)
}

// carriedBack returns to the state before the update with what was written since.
func (r tied) carriedBack(lower tree.Stack, upper string) string {
	in := servicing.Input{Old: lower, New: tree.Stack{r.storage, r.old}, User: tree.Stack{upper}}
	report, back := service(r.T, in)
	if back == nil {
		return "held: " + reasons(report)
	}
	before := r.upgrade
	before.openssl = "3.0"
	return r.verdict(slices.Clip(before.check(r.T, back, r.person)))
}
