// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/urfave/cli/v3"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
)

// constantsOf returns the values of the constants of a type of text in a folder of the sources.
func constantsOf(t *testing.T, folder, kind string) (values []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if is, named := spec.Type.(*ast.Ident); !named || is.Name != kind {
				return true
			}
			for _, value := range spec.Values {
				literal, ok := value.(*ast.BasicLit)
				if !ok {
					continue
				}
				if text, err := strconv.Unquote(literal.Value); err == nil && text != "" {
					values = append(values, text)
				}
			}
			return true
		})
	}
	if len(values) < 5 {
		t.Fatalf("%s has only the constants %q of %s", folder, values, kind)
	}
	return values
}

// concernsOf returns the kinds of findings, or those of conflicts.
func concernsOf(t *testing.T, findings bool) (names []string) {
	t.Helper()
	for _, name := range constantsOf(t, "servicing/policy", "Concern") {
		all := servicing.Concerns()
		i := slices.IndexFunc(all, func(c servicing.ConcernInfo) bool { return string(c.Concern) == name })
		if i < 0 {
			t.Errorf("%q is not in the table of concerns", name)
		} else if all[i].Finding() == findings {
			names = append(names, name)
		}
	}
	return names
}

// TestEveryCodeIsExplained walks all states, uses, reasons to hold, findings, conflicts and fates that the sources have: each has a
// message, a remedy, and a command that there is, and there are no others.
func TestEveryCodeIsExplained(t *testing.T) {
	for kind, names := range map[string][]string{
		kindState: constantsOf(t, "dag", "State"), kindUse: constantsOf(t, "snapshotter/use", "Code"),
		kindHold: constantsOf(t, "servicing/report", "HoldCode"), kindFinding: concernsOf(t, true), kindConflict: concernsOf(t, false),
		kindFate: constantsOf(t, "snapshotter/updates", "Fate"),
	} {
		var explained []string
		for _, c := range allCodes() {
			if c.kind != kind {
				continue
			}
			explained = append(explained, c.name)
			if c.means == "" || c.do == "" {
				t.Errorf("%s %q: means %q, to do %q", kind, c.name, c.means, c.do)
			}
			commandExists(t, c)
		}
		slices.Sort(names)
		slices.Sort(explained)
		if !slices.Equal(names, explained) {
			t.Errorf("%s: the sources have\n%q, explained are\n%q", kind, names, explained)
		}
	}
}

// commandExists checks that the command of a code is one of moltctl's, with its flags.
func commandExists(t *testing.T, c code) {
	t.Helper()
	words := strings.Fields(c.command)
	if len(words) < 3 || words[0] != "moltctl" {
		t.Errorf("%q: the command %q is none", c.name, c.command)
		return
	}
	at := app()
	for _, word := range words[1:] {
		if flag, is := strings.CutPrefix(word, "--"); is {
			if !slices.ContainsFunc(at.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), flag) }) {
				t.Errorf("%q: %q has no flag %s", c.name, c.command, word)
			}
		} else if len(at.Commands) > 0 {
			if at = at.Command(word); at == nil {
				t.Errorf("%q: there is no command %q", c.name, c.command)
				return
			}
		}
	}
	if at.Action == nil || len(at.Commands) > 0 {
		t.Errorf("%q: %q is not a whole command", c.name, c.command)
	}
}

// TestCodesGolden: all codes, one of them, one that there is not, and as JSON. Nobody is asked for them.
func TestCodesGolden(t *testing.T) {
	golden(t, "codes.golden", func() *fakeDaemon { return &fakeDaemon{} },
		"codes", "codes use-running", "codes moved on", "codes nonsense", "--format json codes pin", "--format dot codes pin")
}
