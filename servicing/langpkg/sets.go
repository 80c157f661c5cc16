// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package langpkg

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// NodePackage is what a package.json says.
type NodePackage struct {
	Name, Version string
	Bins          []string // the names of its programs
}

// ParseNode reads a package.json. It reports false when it is none, or names no version.
func ParseNode(content []byte) (NodePackage, bool) {
	var said struct {
		Name    string          `json:"name"`
		Version string          `json:"version"`
		Bin     json.RawMessage `json:"bin"`
	}
	if json.Unmarshal(content, &said) != nil || said.Version == "" {
		return NodePackage{}, false
	}
	out := NodePackage{Name: said.Name, Version: said.Version}
	var several map[string]string
	switch {
	case len(said.Bin) == 0:
	case json.Unmarshal(said.Bin, &several) == nil:
		for name := range several {
			out.Bins = append(out.Bins, name)
		}
		slices.Sort(out.Bins)
	default:
		out.Bins = []string{said.Name[strings.LastIndex(said.Name, "/")+1:]}
	}
	return out, true
}

// ParseNodeLock returns the packages of node_modules/.package-lock.json by where they are, with their versions; nil
// when it is none.
func ParseNodeLock(content []byte) map[string]string {
	var said struct {
		Packages map[string]struct {
			Version string `json:"version"`
		} `json:"packages"`
	}
	if json.Unmarshal(content, &said) != nil {
		return nil
	}
	out := make(map[string]string)
	for where, p := range said.Packages {
		if where != "" {
			out[where] = p.Version
		}
	}
	return out
}

// ParseComposer returns the packages of vendor/composer/installed.json, with their versions; nil when it is none.
func ParseComposer(content []byte) map[string]string {
	type entry struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	var said struct {
		Packages []entry `json:"packages"`
	}
	if json.Unmarshal(content, &said) != nil {
		if json.Unmarshal(content, &said.Packages) != nil { // composer 1
			return nil
		}
	}
	out := make(map[string]string)
	for _, p := range said.Packages {
		out[p.Name] = strings.TrimPrefix(p.Version, "v")
	}
	return out
}

// CondaPackage returns the package that a file in conda-meta is the record of.
func CondaPackage(base string) (name, version string, ok bool) {
	rest, is := strings.CutSuffix(base, ".json")
	build := strings.LastIndex(rest, "-")
	if !is || build <= 0 {
		return "", "", false
	}
	number := strings.LastIndex(rest[:build], "-")
	if number <= 0 {
		return "", "", false
	}
	return rest[:number], rest[number+1 : build], true
}

var gemFile = regexp.MustCompile(`^(.+?)-([0-9][0-9A-Za-z.]*)(?:-(.+))?$`)

// GemPackage returns the gem that a directory or a specification (without .gemspec) is of.
func GemPackage(base string) (name, version string, ok bool) {
	found := gemFile.FindStringSubmatch(base)
	if found == nil {
		return "", "", false
	}
	return found[1], found[2], true
}

// CargoInstalls are the crates in a root of cargo's, with their versions and programs.
type CargoInstalls struct {
	Versions map[string]string
	Bins     []string
}

func newInstalls() CargoInstalls { return CargoInstalls{Versions: make(map[string]string)} }

// add adds a crate by its key: name, version and, in parentheses, where it is from.
func (c *CargoInstalls) add(key string, bins []string) {
	words := strings.Fields(key)
	if len(words) >= 2 {
		c.Versions[words[0]] = words[1]
	}
	for _, bin := range bins {
		if bin != "" && bin != "." && bin != ".." && !strings.Contains(bin, "/") {
			c.Bins = append(c.Bins, bin)
		}
	}
}

// ParseCrates2 reads .crates2.json. It reports false when it is none.
func ParseCrates2(content []byte) (CargoInstalls, bool) {
	var said struct {
		Installs map[string]struct {
			Bins []string `json:"bins"`
		} `json:"installs"`
	}
	out := newInstalls()
	if json.Unmarshal(content, &said) != nil || said.Installs == nil {
		return out, false
	}
	for key, one := range said.Installs {
		out.add(key, one.Bins)
	}
	return out, true
}

// ParseCrates reads .crates.toml. It reports false when it is none.
func ParseCrates(content []byte) (CargoInstalls, bool) {
	var said struct {
		V1 map[string][]string `toml:"v1"`
	}
	out := newInstalls()
	if toml.Unmarshal(content, &said) != nil {
		return out, false
	}
	for key, bins := range said.V1 {
		out.add(key, bins)
	}
	return out, true
}

// ParseDescription returns the package and the version that a DESCRIPTION of R's names; "" for none.
func ParseDescription(content []byte) (name, version string) {
	for line := range strings.Lines(string(content)) {
		key, value, _ := strings.Cut(line, ":")
		switch key {
		case "Package":
			name = strings.TrimSpace(value)
		case "Version":
			version = strings.TrimSpace(value)
		}
	}
	return name, version
}
