// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package check

import (
	"maps"
	"path"
	"regexp"
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

// pythonDir is a directory of modules for one version of Python; the first group is what that is installed below.
var pythonDir = regexp.MustCompile(`^((?:.*/)?)(?:lib|lib64)/(python[0-9]+\.[0-9]+)/`)

// noteModules remembers the directory of modules that a file of the user's is in. Byte code alone is no module: it is
// left by whoever ran the base's.
func (c *checker) noteModules(t sides.Three) {
	if !t.O.Absent() || !t.N.Absent() || !slices.Contains([]string{".py", ".so", ".pth"}, path.Ext(t.Path)) {
		return
	}
	found := pythonDir.FindString(t.Path)
	if found == "" {
		return
	}
	if known, ok := c.modules[found]; !ok || t.Path < known {
		c.modules[found] = t.Path
	}
}

// checkModules finds modules whose interpreter is gone: another version of it does not look for them there.
func (c *checker) checkModules() error {
	for _, dir := range slices.Sorted(maps.Keys(c.modules)) {
		parts := pythonDir.FindStringSubmatch(dir)
		prefix, python := strings.TrimSuffix(parts[1], "/"), parts[2]
		before, err := c.hasPython(c.before, prefix, python)
		if err != nil {
			return err
		}
		after, err := c.hasPython(c.after, prefix, python)
		if err != nil {
			return err
		}
		if before && !after && !c.ignores(policy.ConcernModules) {
			c.find(
				policy.ConcernModules, strings.TrimSuffix(dir, "/"), "",
				"holds modules (/%s and others) for %s, which is not there any more", c.modules[dir], python,
			)
		}
	}
	return nil
}

// hasPython reports whether there is an interpreter of a version, for what is installed below a prefix. A link counts
// only if it leads to that very version: in a virtual environment it leads to whatever is newest.
func (c *checker) hasPython(s *sides.Scene, prefix, python string) (bool, error) {
	for _, name := range inDirs(python, path.Join(prefix, "bin"), "usr/local/bin", "usr/bin", "bin") {
		where, o, err := s.Follow(name)
		if err != nil {
			return false, err
		}
		if o.File() && path.Base(where) == python {
			return true, nil
		}
	}
	return false, nil
}
