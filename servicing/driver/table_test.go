// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// made returns the drivers of a plan of nothing.
func made(t *testing.T) []plan.Driver {
	t.Helper()
	stack := tree.Stack{t.TempDir()}
	v, err := sides.Open(sides.Stacks{Old: stack, New: stack, User: tree.Stack{t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	p := plan.New(v, plan.Input{}, make(sides.Passed))
	if err := p.Prepare(Tools(), policy.ActionHold); err != nil {
		t.Fatal(err)
	}
	return makeDrivers(p)
}

// TestOrderIsDocumented checks that docs/reconciliation.md lists the drivers in the order in which they are asked.
func TestOrderIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/reconciliation.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Who decides\n")
	section, _, _ = strings.Cut(section, "\n### ")
	var said []string
	for _, row := range regexp.MustCompile(`(?m)^\| ([a-z-]+) \|`).FindAllStringSubmatch(section, -1) {
		if name := row[1]; name != "driver" && name != "links" { // a check, and the head of the table
			said = append(said, name)
		}
	}
	var are []string
	for _, d := range made(t) {
		are = append(are, d.Name())
	}
	if !slices.Equal(said, are) {
		t.Errorf("the document says\n%q, the table\n%q", said, are)
	}
}

// TestEveryRowHasItsReason checks that each driver has a name of its own, and its place a reason.
func TestEveryRowHasItsReason(t *testing.T) {
	seen := make(map[string]bool)
	for i, d := range made(t) {
		if seen[d.Name()] || rows[i].why == "" {
			t.Errorf("%s: seen before %v, reason %q", d.Name(), seen[d.Name()], rows[i].why)
		}
		seen[d.Name()] = true
	}
}

// TestEachPlanHasItsDrivers checks that no state of a driver outlives its plan.
func TestEachPlanHasItsDrivers(t *testing.T) {
	first, second := made(t), made(t)
	for i := range first {
		if _, isState := first[i].(plan.Finisher); isState && first[i] == second[i] {
			t.Errorf("%s is one value in two plans", first[i].Name())
		}
	}
}
