// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package apk understands the database of Alpine's package manager well enough to merge two of them that come from a
// third: which packages there are, whose version counts, which files and scripts are theirs, and whether what comes
// out is consistent. It is about contents only and reads no files.
//
// What is not understood is preserved: records are carried over verbatim.
package apk

import (
	"path"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// Database is a file of installed packages.
type Database struct {
	Packages []*unit.Package
	unknown  []string // records that are not about packages
}

// Parse reads the file: records of lines "K:value", separated by empty lines. Nothing is an error.
func Parse(content []byte) *Database {
	db := &Database{}
	for _, record := range records(string(content)) {
		p := &unit.Package{
			Name: get(record, 'P'), Arch: get(record, 'A'), Version: get(record, 'V'), State: unit.Installed,
			Record: record,
		}
		if p.Name == "" || p.Version == "" {
			db.unknown = append(db.unknown, record)
			continue
		}
		db.Packages = append(db.Packages, p)
	}
	return db
}

// records splits the file into its records; each ends with a newline.
func records(content string) []string {
	var out []string
	var current strings.Builder
	flush := func() {
		if current.Len() > 0 {
			out = append(out, current.String())
			current.Reset()
		}
	}
	for line := range strings.SplitSeq(content, "\n") {
		if line == "" {
			flush()
			continue
		}
		current.WriteString(line + "\n")
	}
	flush()
	return out
}

// get returns the value of the first line with a key, "" when there is none. The lines about the package itself come
// before those about its files.
func get(record string, key byte) string {
	for line := range strings.SplitSeq(record, "\n") {
		if len(line) > 1 && line[0] == key && line[1] == ':' {
			return line[2:]
		}
	}
	return ""
}

// Render writes the file with the records of the result, each followed by an empty line.
func Render(choices []unit.Choice, base, user *Database) []byte {
	var out strings.Builder
	seen := make(map[string]bool)
	for _, p := range unit.Effective(choices) {
		out.WriteString(p.Record + "\n")
	}
	for _, db := range []*Database{base, user} {
		for _, record := range db.unknown {
			if !seen[record] {
				seen[record] = true
				out.WriteString(record + "\n")
			}
		}
	}
	return []byte(out.String())
}

// Checksum returns what identifies the archive that a package was installed from.
func Checksum(p *unit.Package) string { return get(p.Record, 'C') }

// Broken returns why a package is not as it should be, as the database notes it: "" when it is, else letters, f for
// files that are missing, s for a script that failed.
func Broken(p *unit.Package) string { return get(p.Record, 'f') }

// Files returns the paths of a package, directories among them, relative to the root.
func Files(p *unit.Package) []string {
	var out []string
	each(p, func(name, _ string) { out = append(out, name) })
	return out
}

// Digests returns the digests of a package's files, by path, as the database writes them: "Q1" and the SHA-1 in
// base64, or "Q2" and the SHA-256.
func Digests(p *unit.Package) map[string]string {
	out := make(map[string]string)
	each(p, func(name, digest string) {
		if digest != "" {
			out[name] = digest
		}
	})
	return out
}

// each calls a function with the path of each directory and file of a package, and its digest, "" where there is none.
func each(p *unit.Package, visit func(name, digest string)) {
	if p == nil {
		return
	}
	dir, file, digest := "", "", ""
	flush := func() {
		if file != "" {
			visit(path.Join(dir, file), digest)
		}
		file, digest = "", ""
	}
	for line := range strings.SplitSeq(p.Record, "\n") {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		switch key {
		case "F":
			flush()
			if dir = path.Clean("/" + value)[1:]; dir != "" {
				visit(dir, "")
			}
		case "R":
			flush()
			file = path.Clean("/" + value)[1:]
		case "Z":
			digest = value
		}
	}
	flush()
}
