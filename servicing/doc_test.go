// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// caseIDs are the cases and rules that the document must have, in its order.
const caseIDs = `A1 A2 A3 A4 A5 A6 A7 A10 B1 B3 B4 B5 C1 C2 C3 C4 C5 C7 C10 C11 D1 D2 D4 D5 D6 D8 D10 D11 D14 D15 E1 E2 E3 E5 E9 E10 K1 K2 K3 K5 K6 K7 K8 K9 K11 K23 K24 K25 K12 K4 K17 K13 K15 K16
F1 F3 F4 F5 F6 F8 F9 G1 G5 G6 H2 H4 H5 H7 H9 H11 H12 R1 R2 R3 R4 R5 R6 R7 R8 R9 R10 R11 R12 R13 R14`

// elsewhere are the cases that are not the engine's to decide: their tests have names of their own.
var elsewhere = map[string]bool{"G6": true, "H5": true, "H12": true}

var (
	docRow  = regexp.MustCompile("(?m)^\\| ([A-HKR][0-9]+) \\| .* \\| `(Test[^`]+)` \\|$")
	caseRow = regexp.MustCompile(`(?m)^\s+name:\s+"`)
)

// TestDocument checks that docs/reconciliation.md has all cases and names tests that there are.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/reconciliation.md")
	must(t, err)
	sources := testSources(t, ".", "dpkg", "../snapshotter", "../integration")
	var ids []string
	for _, row := range docRow.FindAllStringSubmatch(string(text), -1) {
		id, name := row[1], row[2]
		ids = append(ids, id)
		function, sub, _ := strings.Cut(name, "/")
		if !isThere(sources, function, sub) {
			t.Errorf("%s: there is no test %q", id, name)
		}
		own := strings.HasPrefix(sub, id+" ") || sub == "" && strings.HasPrefix(function, "Test"+id)
		if !own && !elsewhere[id] {
			t.Errorf("%s: the name of %q does not begin with the case", id, name)
		}
	}
	if got, want := strings.Join(ids, " "), strings.Join(strings.Fields(caseIDs), " "); got != want {
		t.Errorf("the cases are\n%s, want\n%s", got, want)
	}
	atLeast(t, string(text), "cases on whole stacks", len(caseRow.FindAllString(strings.Join(sources["."], ""), -1)))
	atLeast(t, string(text), "kinds of conflicts and findings", len(Concerns()))
}

// TestHoldsAreDocumented checks that operators are told of each reason why a storage is held, and what they can do.
func TestHoldsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/operations.md")
	must(t, err)
	for _, info := range HoldCodes() {
		if row := fmt.Sprintf("| %#q | %s | %s |", info.Code, info.Means, info.Do); !strings.Contains(string(text), row) {
			t.Errorf("docs/operations.md lacks %s", row)
		}
	}
}

// testSources returns the texts of the tests in directories.
func testSources(t *testing.T, dirs ...string) map[string][]string {
	t.Helper()
	out := make(map[string][]string)
	for _, dir := range dirs {
		names, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		must(t, err)
		for _, name := range names {
			text, err := os.ReadFile(name)
			must(t, err)
			out[dir] = append(out[dir], string(text))
		}
	}
	return out
}

// isThere reports whether a directory has a test function, and a row of a table with a name.
func isThere(sources map[string][]string, function, row string) bool {
	for _, texts := range sources {
		all := strings.Join(texts, "")
		if strings.Contains(all, "\nfunc "+function+"(") && (row == "" || strings.Contains(all, "name: "+strconv.Quote(row))) {
			return true
		}
	}
	return false
}

// atLeast checks a number that the document gives.
func atLeast(t *testing.T, text, what string, are int) {
	t.Helper()
	var said int
	_, after, _ := strings.Cut(text, "| "+what+" | ")
	if _, err := fmt.Sscan(after, &said); err != nil || said < 1 || said > are {
		t.Errorf("%s: the document says %d (%v), there are %d", what, said, err, are)
	}
}

// TestNamesOfPolicy finds concerns and actions that the facade does not give on.
func TestNamesOfPolicy(t *testing.T) {
	facade, err := os.ReadFile("names_policy.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range []string{"policy/policy.go", "policy/concern.go"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^(?:const)?\s+(\w+)\s+(?:Concern|Action)\s+=`).FindAllSubmatch(content, -1) {
			found++
			if !bytes.Contains(facade, fmt.Appendf(nil, "= policy.%s\n", m[1])) {
				t.Errorf("names_policy.go lacks %s", m[1])
			}
		}
	}
	if found < 25 {
		t.Errorf("only %d constants were found", found)
	}
}
