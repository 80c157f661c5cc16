// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"path"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/config"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// renamesDir is where a base declares keys that it has renamed, a line each:
//
//	/etc/app.conf [section] OldName -> NewName
//
// The section may be missing. Empty lines, and what follows a "#", say nothing.
const renamesDir = "usr/share/molt/renames.d"

// maxRenames is the size up to which a file of declarations is read.
const maxRenames = 1 << 20

// declared returns the keys of a file that the new base declares to have renamed.
func (dr *driver) declared(name string) ([]config.Renaming, error) {
	if dr.renames != nil {
		return dr.renames[name], nil
	}
	dr.renames = make(map[string][]config.Renaming)
	base := dr.plan.Views().New
	files, err := sides.ReadDir(base, renamesDir)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		n, err := sides.Lookup(base, path.Join(renamesDir, file))
		if err != nil {
			return nil, err
		}
		if !n.Is(tree.Regular) || n.Size > maxRenames {
			continue
		}
		content, err := sides.Read(n, maxRenames)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(content)) {
			if of, r, ok := parseRenaming(line); ok {
				dr.renames[of] = append(dr.renames[of], r)
			}
		}
	}
	return dr.renames[name], nil
}

// parseRenaming reads a declaration. It reports false for a line that is none.
func parseRenaming(line string) (file string, r config.Renaming, ok bool) {
	line, _, _ = strings.Cut(line, "#")
	before, to, ok := strings.Cut(line, "->")
	file, from, named := strings.Cut(strings.TrimSpace(before), " ")
	from = strings.TrimSpace(from)
	if section, key, in := strings.Cut(from, "]"); in && strings.HasPrefix(from, "[") {
		r.Section, from = section[1:], strings.TrimSpace(key)
	}
	r.From, r.To = from, strings.TrimSpace(to)
	return strings.TrimPrefix(file, "/"), r, ok && named && r.From != "" && r.To != ""
}

// perhaps says which keys the base may have renamed, as the end of a reason; nothing for none.
func perhaps(found []config.Renaming) string {
	var out strings.Builder
	for _, r := range found {
		in := ""
		if r.Section != "" {
			in = " in " + r.Section
		}
		fmt.Fprintf(&out, "; the base has no %s any longer%s, and %s with the value that it had: perhaps renamed",
			r.From, in, r.To)
	}
	return out.String()
}
