// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package check

import (
	"path"
	"slices"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/policy"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
)

// programDirs are where env looks for a program, and a person.
var programDirs = []string{"usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"}

// checkScript finds a script whose interpreter is gone.
func (c *checker) checkScript(t sides.Three, head string) error {
	line, _, _ := strings.Cut(strings.TrimPrefix(head, "#!"), "\n")
	words := strings.Fields(line)
	if len(words) == 0 || !path.IsAbs(words[0]) || c.ignores(policy.ConcernScript) {
		return nil
	}
	candidates := []string{words[0]}
	if path.Base(words[0]) == "env" {
		words = slices.DeleteFunc(words[1:], func(w string) bool {
			return strings.HasPrefix(w, "-") || strings.Contains(w, "=")
		})
		if len(words) == 0 {
			return nil
		}
		candidates = inDirs(words[0], programDirs...)
	}
	lost, err := c.lost(candidates)
	if err != nil || !lost {
		return err
	}
	return c.findAt(
		policy.ConcernScript, policy.ConcernScript, t, "is a script for %s, which is not there any more", words[0],
	)
}

// inDirs returns a path as it is if it is absolute, else in each of some directories.
func inDirs(name string, dirs ...string) []string {
	if path.IsAbs(name) {
		return []string{name}
	}
	var out []string
	for _, dir := range dirs {
		out = append(out, path.Join(dir, name))
	}
	return out
}

// lost reports whether one of some files was there before, and none is after.
func (c *checker) lost(candidates []string) (bool, error) {
	before, err := anyOf(c.before, candidates)
	if err != nil || !before {
		return false, err
	}
	after, err := anyOf(c.after, candidates)
	return !after, err
}

func anyOf(s *sides.Scene, candidates []string) (bool, error) {
	for _, name := range candidates {
		if has, err := s.Has(name); err != nil || has {
			return has, err
		}
	}
	return false, nil
}
