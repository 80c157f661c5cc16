// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const repository = "../.."

// The limits of the house style.
const (
	maxMethods  = 40
	maxFields   = 14
	maxFiles    = 20
	maxFunction = 50
	maxFile     = 400
	maxColumns  = 120
)

// exceptions are what may go beyond a limit, and why. There are at most maxExceptions.
var exceptions = map[string]string{
	"snapshotter/snapshottertest.Inside": "a fixture: it is a snapshotter with a few steps of tests",
	"cmd/containerd-molt-grpc/config.go": "the comments of the configuration file are tags of the fields, which cannot be broken",
}

const maxExceptions = 5

func opened(t *testing.T) *house {
	t.Helper()
	h, err := open(repository)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestShape holds the limits of methods, fields, files, functions and lines.
func TestShape(t *testing.T) {
	h := opened(t)
	excused := map[string]bool{}
	for _, c := range []struct {
		title   string
		figures []figure
		most    int
	}{
		{"methods of a type", h.methods(), maxMethods}, {"fields of a type", h.fields(), maxFields},
		{"files of a package", h.files(), maxFiles}, {"lines of a function", h.functions(), maxFunction},
		{"lines of a file", h.lengths(), maxFile}, {"columns of a line", h.wide(maxColumns), maxColumns},
	} {
		for _, f := range largest(c.figures) {
			name, _, _ := strings.Cut(f.what, ":")
			if f.value > c.most && exceptions[name] == "" {
				t.Errorf("%s: %s has %d, at most %d are allowed", c.title, f.what, f.value, c.most)
			}
			excused[name] = excused[name] || f.value > c.most
		}
	}
	for name := range exceptions {
		if !excused[name] {
			t.Errorf("the exception for %s is not needed", name)
		}
	}
	if len(exceptions) > maxExceptions {
		t.Errorf("there are %d exceptions, at most %d are allowed", len(exceptions), maxExceptions)
	}
}

// TestNoBehaviourByName: nothing is decided by the name of a driver, a package manager or the like.
func TestNoBehaviourByName(t *testing.T) {
	if found := opened(t).switches(); len(found) > 0 {
		t.Errorf("a switch over a name at %s", strings.Join(found, ", "))
	}
}

// TestFigures compares the figures of the house with what is on record. UPDATE_GOLDEN=1 writes them again: look at the difference.
func TestFigures(t *testing.T) {
	var got bytes.Buffer
	if err := opened(t).print(&got); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "house.golden")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the house has changed (UPDATE_GOLDEN=1 records that); it is\n%s\nand was\n%s", &got, want)
	}
}

// TestEveryPackageHasARoom: the page about the architecture names every package.
func TestEveryPackageHasARoom(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(repository, "docs/architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := plan(string(text))
	for _, folder := range slices.Sorted(maps.Keys(opened(t).packages)) {
		if !named[folder] {
			t.Errorf("docs/architecture.md does not name %s", folder)
		}
	}
}

// plan reads the plan of the house: folders with those below them indented, several with commas between.
func plan(text string) map[string]bool {
	_, text, _ = strings.Cut(text, "## The house")
	_, text, _ = strings.Cut(text, "```\n")
	text, _, _ = strings.Cut(text, "```")
	named := map[string]bool{}
	var above []string // with the width of their indentation
	var widths []int
	for line := range strings.Lines(text) {
		rest := strings.TrimLeft(line, " ")
		width := len(line) - len(rest)
		folders, _, _ := strings.Cut(rest, "  ")
		for len(widths) > 0 && widths[len(widths)-1] >= width {
			above, widths = above[:len(above)-1], widths[:len(widths)-1]
		}
		last := ""
		for _, folder := range strings.FieldsFunc(folders, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' }) {
			last = filepath.Join(append(slices.Clone(above), folder)...)
			named[last] = true
		}
		above, widths = append(above, filepath.Base(last)), append(widths, width)
	}
	return named
}

// TestPlan: the plan is read as people read it.
func TestPlan(t *testing.T) {
	named := plan("## The house\n\n```\na/          x\n  b/, c/d   y\n  g/ h/\n  i/\n            z\nf           v\n```\n")
	want := []string{"a", "a/b", "a/c/d", "a/g", "a/h", "a/i", "f"}
	for _, folder := range want {
		if !named[folder] {
			t.Errorf("%s is missing in %v", folder, named)
		}
	}
}

// TestArrows: what runs up is found whatever the order of the files.
func TestArrows(t *testing.T) {
	for name, c := range map[string]struct {
		uses arrows
		up   int
	}{
		"a chain":             {arrows{"a": {"b": true}, "b": {"c": true}, "c": {}}, 0},
		"a circle":            {arrows{"a": {"b": true}, "b": {"c": true}, "c": {"a": true}}, 1},
		"two circles":         {arrows{"a": {"b": true}, "b": {"a": true}, "c": {"d": true}, "d": {"c": true}}, 2},
		"a circle and a roof": {arrows{"roof": {"a": true, "b": true}, "a": {"b": true}, "b": {"a": true}}, 1},
	} {
		if got := c.uses.up(); got != c.up {
			t.Errorf("%s: %d arrows run up, want %d", name, got, c.up)
		}
	}
}

// TestMethodsArePromoted: what a struct embeds counts.
func TestMethodsArePromoted(t *testing.T) {
	kinds := map[string]*kind{"p.A": {methods: 1, embedded: []string{"p.B", "q.C"}}, "p.B": {methods: 2, embedded: []string{"p.A"}}, "q.C": {methods: 4}}
	if got := promoted(kinds, "p.A", map[string]bool{}); got != 7 {
		t.Errorf("got %d, want 7", got)
	}
}
