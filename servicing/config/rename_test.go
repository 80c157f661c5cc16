// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"slices"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/config"
)

func TestPerhapsRenamed(t *testing.T) {
	for name, c := range map[string]struct {
		format          config.Format
		old, base, user string
		want            []config.Renaming
	}{
		"in a section":              {config.INI, "[a]\nOld = 1\n", "[a]\nNew = 1\n", "[a]\nOld = 7\n", []config.Renaming{{"a", "Old", "New"}}},
		"outside of sections":       {config.INI, "Old=1\nother=a\n", "New=1\nother=b\n", "Old=7\nother=a\n", []config.Renaming{{"", "Old", "New"}}},
		"in JSON":                   {config.JSON, `{"s": {"old": 1}}`, `{"s": {"new": 1}}`, `{"s": {"old": 7}}`, []config.Renaming{{"s", "old", "new"}}},
		"assigned":                  {config.Assignments, "OLD=1\n", "NEW=1\n", "OLD=7\n", []config.Renaming{{"", "OLD", "NEW"}}},
		"another value":             {config.INI, "[a]\nOld = 1\n", "[a]\nNew = 2\n", "[a]\nOld = 7\n", nil},
		"two of the value":          {config.INI, "[a]\nOld = 1\n", "[a]\nNew = 1\nAlso = 1\n", "[a]\nOld = 7\n", nil},
		"in another section":        {config.INI, "[a]\nOld = 1\n[b]\nx = 1\n", "[a]\nx = 2\n[b]\nx = 1\nNew = 1\n", "[a]\nOld = 7\n[b]\nx = 1\n", nil},
		"not changed by the user":   {config.INI, "[a]\nOld = 1\n", "[a]\nNew = 1\n", "[a]\nOld = 1\n", nil},
		"still there":               {config.INI, "[a]\nOld = 1\n", "[a]\nOld = 1\nNew = 1\n", "[a]\nOld = 7\n", nil},
		"what cannot be understood": {config.INI, "[a\nOld = 1\n", "[a]\nNew = 1\n", "[a]\nOld = 7\n", nil},
	} {
		if got := c.format.PerhapsRenamed([]byte(c.old), []byte(c.base), []byte(c.user)); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestRenamed(t *testing.T) {
	for name, c := range map[string]struct {
		format     config.Format
		text, want string
		how        config.Renaming
	}{
		"in its section only":  {config.INI, "Old = 0\n[a]\n# Old\nOld = 1\n[b]\nOld = 2\n", "Old = 0\n[a]\n# Old\nNew = 1\n[b]\nOld = 2\n", config.Renaming{"a", "Old", "New"}},
		"outside of sections":  {config.INI, "Old = 0\n[a]\nOld = 1\n", "New = 0\n[a]\nOld = 1\n", config.Renaming{"", "Old", "New"}},
		"the new one is there": {config.INI, "[a]\nOld = 1\nNew = 2\n", "[a]\nOld = 1\nNew = 2\n", config.Renaming{"a", "Old", "New"}},
		"no such key":          {config.INI, "[a]\nx = 1\n", "[a]\nx = 1\n", config.Renaming{"a", "Old", "New"}},
		"assigned":             {config.Assignments, "export OLD=1\n", "export NEW=1\n", config.Renaming{"", "OLD", "NEW"}},
		"not in lines":         {config.JSON, `{"old": 1}`, `{"old": 1}`, config.Renaming{"", "old", "new"}},
	} {
		if got := c.format.Renamed([]byte(c.text), c.how); string(got) != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}
