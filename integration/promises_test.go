// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPromisesHaveTests: the tests to which docs/reliability.md leads from each promise are there, for every promise.
func TestPromisesHaveTests(t *testing.T) {
	t.Parallel()
	row := regexp.MustCompile(`(?m)^\| (\d+) \| [^|]+ \| ([^|]+) \|$`)
	rows := row.FindAllStringSubmatch(document(t, "reliability.md"), -1)
	const promises = 19
	if len(rows) != promises {
		t.Errorf("there are %d promises, not %d", len(rows), promises)
	}
	for _, r := range rows {
		if expectTests(t, "promise "+r[1], r[2]) == 0 {
			t.Errorf("promise %s has no test", r[1])
		}
	}
}

// TestSeedsHaveTests: the code and the tests to which docs/seeds.md leads are there, and a row without a test says what
// is missing.
func TestSeedsHaveTests(t *testing.T) {
	t.Parallel()
	row := regexp.MustCompile(`(?m)^\| ([^|]+) \| [^|]+ \|([^|]*)\|([^|]*)\|([^|]*)\|$`)
	for _, table := range []struct {
		heading string
		rows    int
	}{{"The sentence", 7}, {"The figures", 7}, {"The claims", 14}} {
		_, text, found := strings.Cut(document(t, "seeds.md"), "\n## "+table.heading+"\n")
		text, _, _ = strings.Cut(text, "\n## ")
		rows := row.FindAllStringSubmatch(text, -1)
		const heads = 1 // the titles of the columns
		if got := max(0, len(rows)-heads); !found || got != table.rows {
			t.Errorf("%s: there are %d rows, not %d", table.heading, got, table.rows)
			continue
		}
		for _, r := range rows[heads:] {
			where := table.heading + ", " + r[1]
			expectPaths(t, where, r[2])
			if expectTests(t, where, r[3]) == 0 && strings.TrimSpace(r[4]) == "" {
				t.Errorf("%s: there is no test, and it is not said why", where)
			}
		}
	}
}

// document returns a text of the documentation.
func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	code      = regexp.MustCompile("`([^`]+)`")
	namedTest = regexp.MustCompile(`^([a-z0-9/-]+)\.(Test\w+)$`)
)

// expectTests checks that each test that a cell of a table names is there, and returns how many it names. A test is
// named by its folder and its function.
func expectTests(t *testing.T, where, cell string) int {
	t.Helper()
	all := code.FindAllStringSubmatch(cell, -1)
	for _, one := range all {
		switch name := namedTest.FindStringSubmatch(one[1]); {
		case name == nil:
			t.Errorf("%s: %q does not name a test", where, one[1])
		case !hasTest(t, name[1], name[2]):
			t.Errorf("%s: there is no test %s in %s", where, name[2], name[1])
		}
	}
	return len(all)
}

// expectPaths checks that each file and folder of the repository that a cell of a table names is there.
func expectPaths(t *testing.T, where, cell string) {
	t.Helper()
	for _, one := range code.FindAllStringSubmatch(cell, -1) {
		if _, err := os.Stat(filepath.Join("..", one[1])); err != nil {
			t.Errorf("%s: %v", where, err)
		}
	}
}

// hasTest reports whether a folder of the repository has a test.
func hasTest(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(source), "\nfunc "+name+"(t *testing.T)") {
			return true
		}
	}
	return false
}
