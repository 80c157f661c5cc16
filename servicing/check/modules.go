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

// binding is a kind of directory whose modules are for one version of an interpreter: another version does not look
// for them there, or cannot load them.
type binding struct {
	// dir matches the directory: the first group is what the interpreter is installed below, the second its version.
	dir    *regexp.Regexp
	called string // what the interpreter is called, before its version
	// suffixes are those of modules. Byte code alone is no module: it is left by whoever ran the base's.
	suffixes []string
	// there reports whether a system has the interpreter.
	there func(s *sides.Scene, prefix, version string) (bool, error)
}

var bindings = []binding{
	{
		regexp.MustCompile(`^((?:.*/)?)(?:lib|lib64)/python([0-9]+\.[0-9]+)/`), "python",
		[]string{".py", ".so", ".pth"}, hasPython,
	},
	{
		regexp.MustCompile(
			`^((?:.*/)?)(?:ruby/gems|lib/gems|bundle/ruby|ruby/vendor_ruby|ruby/site_ruby)/([0-9]+\.[0-9]+\.[0-9]+)/`,
		),
		"ruby ", []string{".rb", ".so", ".gemspec"}, hasRuby,
	},
	{
		regexp.MustCompile(`^((?:.*/)?)(?:perl|perl5/site_perl)/(5\.[0-9]+\.[0-9]+)/`), "perl",
		[]string{".pm", ".pl", ".so"}, hasPerl,
	},
}

// nativeNode matches a module of Node that was compiled where it is.
var nativeNode = regexp.MustCompile(`^(.*node_modules/(?:@[^/]+/)?[^/]+)/build/Release/[^/]+\.node$`)

// bindingOf returns the kind of a directory of modules, and the groups; nil for none.
func bindingOf(name string) (*binding, []string) {
	for i := range bindings {
		if found := bindings[i].dir.FindStringSubmatch(name); found != nil {
			return &bindings[i], found
		}
	}
	return nil, nil
}

// noteModules remembers the directory of modules that a file of the user's is in which the new base does not have.
func (c *checker) noteModules(t sides.Three, _ sides.Outcome) error {
	if !t.N.Absent() {
		return nil
	}
	found := ""
	if b, groups := bindingOf(t.Path); b != nil && slices.Contains(b.suffixes, path.Ext(t.Path)) {
		found = groups[0]
	} else if groups := nativeNode.FindStringSubmatch(t.Path); groups != nil {
		found = groups[1]
	}
	if found == "" {
		return nil
	}
	if known, ok := c.modules[found]; !ok || t.Path < known {
		c.modules[found] = t.Path
	}
	return nil
}

// checkModules finds modules whose interpreter is gone.
func (c *checker) checkModules() error {
	for _, dir := range slices.Sorted(maps.Keys(c.modules)) {
		b, groups := bindingOf(dir)
		if b == nil {
			if err := c.checkNative(dir); err != nil {
				return err
			}
			continue
		}
		prefix, version := strings.TrimSuffix(groups[1], "/"), groups[2]
		before, err := b.there(c.before, prefix, version)
		if err != nil {
			return err
		}
		after, err := b.there(c.after, prefix, version)
		if err != nil {
			return err
		}
		if before && !after {
			c.find(
				policy.ConcernModules, strings.TrimSuffix(dir, "/"), "",
				"holds modules (/%s and others) for %s%s, which is not there any more", c.modules[dir], b.called,
				version,
			)
		}
	}
	return nil
}

// hasPython reports whether there is an interpreter of a version, for what is installed below a prefix. A link counts
// only if it leads to that very version: in a virtual environment it leads to whatever is newest.
func hasPython(s *sides.Scene, prefix, version string) (bool, error) {
	python := "python" + version
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

// hasRuby reports whether there is the library of a version of Ruby, which is called by the version of its interface.
func hasRuby(s *sides.Scene, _, version string) (bool, error) {
	minor := version[:strings.LastIndex(version, ".")]
	return anyOf(s, []string{
		"usr/lib/ruby/" + version + "/optparse.rb", "usr/local/lib/ruby/" + version + "/optparse.rb",
		"usr/bin/ruby" + minor, "usr/local/bin/ruby" + minor,
	})
}

// hasPerl reports whether there is an interpreter of a version of Perl.
func hasPerl(s *sides.Scene, _, version string) (bool, error) {
	return anyOf(s, []string{"usr/bin/perl" + version, "usr/local/bin/perl" + version})
}

// nodeABI is how Node's headers name the version of the interface that compiled modules are for.
var nodeABI = regexp.MustCompile(`(?m)^#define NODE_MODULE_VERSION ([0-9]+)`)

// checkNative finds modules that were compiled for another version of Node, where its headers say so.
func (c *checker) checkNative(dir string) error {
	var abi [2]string
	for i, s := range []*sides.Scene{c.before, c.after} {
		for _, name := range []string{"usr/local/include/node/node_version.h", "usr/include/node/node_version.h"} {
			content, err := s.Read(name, 1<<20)
			if err != nil {
				return err
			}
			if found := nodeABI.FindSubmatch(content); found != nil && abi[i] == "" {
				abi[i] = string(found[1])
			}
		}
	}
	if abi[0] != "" && abi[1] != "" && abi[0] != abi[1] {
		c.find(
			policy.ConcernModules, dir, "",
			"was compiled (/%s) for version %s of the interface of Node, which is %s now",
			c.modules[dir], abi[0], abi[1],
		)
	}
	return nil
}
