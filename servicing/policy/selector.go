// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"path"
	"slices"
	"strings"
)

// Selector is the path of a pin, taken apart.
type Selector struct {
	names    []string // patterns; one that matches in every directory stands alone
	anywhere bool
	below    bool // not the path itself
}

// NewSelector takes the path of a pin apart.
func NewSelector(text string) Selector {
	clean := strings.Trim(text, "/")
	return Selector{
		names:    strings.Split(clean, "/"),
		anywhere: !strings.Contains(text, "/") && strings.ContainsAny(text, "*?["),
		below:    strings.HasSuffix(text, "/"),
	}
}

// Has reports whether the selector stands for a path.
func (s Selector) Has(p string) bool {
	names := strings.Split(p, "/")
	if s.anywhere {
		return slices.ContainsFunc(names, func(name string) bool { return MatchName(s.names[0], name) })
	}
	return len(names) >= len(s.names) && (!s.below || len(names) > len(s.names)) && s.agrees(names)
}

// LeadsTo reports whether something that the selector stands for may be below a directory.
func (s Selector) LeadsTo(dir string) bool {
	return dir == "." || s.anywhere || s.agrees(strings.Split(dir, "/"))
}

// agrees reports whether the names match as far as there are any.
func (s Selector) agrees(names []string) bool {
	for i := range min(len(names), len(s.names)) {
		if !MatchName(s.names[i], names[i]) {
			return false
		}
	}
	return true
}

// MatchName reports whether a name matches a pattern.
func MatchName(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return err == nil && ok
}
