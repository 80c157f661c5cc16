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
	document, err := os.ReadFile("../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| (\d+) \| [^|]+ \| ([^|]+) \|$`)
	named := regexp.MustCompile("`([a-z0-9/]+)\\.(Test\\w+)`")
	rows := row.FindAllStringSubmatch(string(document), -1)
	const promises = 19
	if len(rows) != promises {
		t.Errorf("there are %d promises, not %d", len(rows), promises)
	}
	for _, r := range rows {
		tests := named.FindAllStringSubmatch(r[2], -1)
		if len(tests) == 0 {
			t.Errorf("promise %s has no test", r[1])
		}
		for _, one := range tests {
			if !hasTest(t, one[1], one[2]) {
				t.Errorf("promise %s: there is no test %s in %s", r[1], one[2], one[1])
			}
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
