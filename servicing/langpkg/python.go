// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package langpkg

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"regexp"
	"strings"
)

// The names of Python's records.
const (
	DistInfo       = ".dist-info"
	EggInfo        = ".egg-info"
	PythonRecord   = "RECORD"
	InstalledFiles = "installed-files.txt"
	TopLevel       = "top_level.txt"
)

var separators = regexp.MustCompile(`[-_.]+`)

// PythonName returns a name as PEP 503 normalises it.
func PythonName(name string) string { return strings.ToLower(separators.ReplaceAllString(name, "-")) }

var eggVersion = regexp.MustCompile(`^(.+?)-([^-]+?)(?:-py[0-9.]+)?$`)

// PythonPackage returns the package that a directory, or file, beside modules of Python is the record of: its name, as
// PEP 503 normalises it, and its version. It reports false for any other name.
func PythonPackage(base string) (name, version string, ok bool) {
	switch {
	case strings.HasSuffix(base, DistInfo):
		first, rest, found := strings.Cut(strings.TrimSuffix(base, DistInfo), "-")
		if !found || first == "" || rest == "" {
			return "", "", false
		}
		if i := strings.LastIndex(rest, "-"); i >= 0 { // a name with dashes, which older tools wrote
			first, rest = first+"-"+rest[:i], rest[i+1:]
		}
		return PythonName(first), rest, true
	case strings.HasSuffix(base, EggInfo):
		found := eggVersion.FindStringSubmatch(strings.TrimSuffix(base, EggInfo))
		if found == nil {
			return "", "", false
		}
		return PythonName(found[1]), found[2], true
	}
	return "", "", false
}

// File is a file of a package, as a record names it.
type File struct {
	Path   string // relative to where the record says, with ".." for what is above
	SHA256 string // its digest in URL-safe base64 without padding, "" when the record has none
}

// ParseRecord reads a RECORD. It reports false when it is none.
func ParseRecord(content []byte) ([]File, bool) {
	r := csv.NewReader(bytes.NewReader(content))
	r.FieldsPerRecord, r.LazyQuotes, r.ReuseRecord = -1, true, true
	var out []File
	for {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return out, true
		}
		if err != nil {
			return nil, false
		}
		if row[0] == "" {
			continue
		}
		f := File{Path: row[0]}
		if len(row) > 1 {
			if digest, is := strings.CutPrefix(row[1], "sha256="); is {
				f.SHA256 = strings.TrimRight(digest, "=")
			}
		}
		out = append(out, f)
	}
}

// ParseInstalledFiles reads installed-files.txt; its paths are relative to the directory that it is in.
func ParseInstalledFiles(content []byte) (out []File) {
	for line := range strings.Lines(string(content)) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, File{Path: line})
		}
	}
	return out
}
