// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package apk

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// The layout of a tar archive.
const (
	block    = 512
	nameEnd  = 100
	sizeAt   = 124
	sizeEnd  = 136
	typeAt   = 156
	longName = 'L' // the content is the name of the next member
)

// member is a member of an archive, with what belongs to it: its bytes are kept as they are.
type member struct {
	name string
	raw  []byte
}

// members reads an archive of regular files with names of any length, as apk writes it; it reports false for others.
func members(content []byte) ([]member, bool) {
	var out []member
	for begin, at, long := 0, 0, ""; at+block <= len(content); {
		header := content[at : at+block]
		if len(bytes.Trim(header, "\x00")) == 0 {
			return out, long == "" && len(bytes.Trim(content[at:], "\x00")) == 0
		}
		size, err := strconv.ParseUint(strings.Trim(string(header[sizeAt:sizeEnd]), " \x00"), 8, 63)
		if err != nil || size > uint64(len(content)) {
			return nil, false
		}
		data := at + block
		end := data + (int(size)+block-1)/block*block
		if end > len(content) {
			return nil, false
		}
		kind := header[typeAt]
		switch {
		case kind == longName && long == "":
			long = text(content[data : data+int(size)])
			at = end
			if long == "" {
				return nil, false
			}
			continue
		case kind != '0' && kind != 0:
			return nil, false
		case long == "":
			long = text(header[:nameEnd])
		}
		out = append(out, member{long, content[begin:end]})
		begin, at, long = end, end, ""
	}
	return out, len(content) == 0
}

// text returns what stands before the first NUL.
func text(field []byte) string {
	before, _, _ := bytes.Cut(field, []byte{0})
	return string(before)
}

// MergeScripts makes the archive of the scripts of the result's packages out of those of both sides. It reports false
// when one of them is not understood. The archive is compressed as the base's is: apk 3 reads no other one.
func MergeScripts(choices []unit.Choice, base, user []byte) ([]byte, bool) {
	base, compressed, okBase := unpacked(base)
	user, _, okUser := unpacked(user)
	if !okBase || !okUser {
		return nil, false
	}
	out, ok := mergeArchives(choices, base, user)
	if ok && compressed {
		return packed(out)
	}
	return out, ok
}

// maxScripts is how large an archive may become when it is unpacked.
const maxScripts = 256 << 20

// unpacked returns an archive without its compression, and whether it had one.
func unpacked(content []byte) (plain []byte, compressed, ok bool) {
	if !bytes.HasPrefix(content, []byte{0x1f, 0x8b}) {
		return content, false, true
	}
	r, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, true, false
	}
	plain, err = io.ReadAll(io.LimitReader(r, maxScripts+1))
	return plain, true, err == nil && len(plain) <= maxScripts
}

// packed compresses an archive, always in the same way.
func packed(content []byte) ([]byte, bool) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(content)
	err = errors.Join(err, w.Close())
	return out.Bytes(), err == nil
}

func mergeArchives(choices []unit.Choice, base, user []byte) ([]byte, bool) {
	ofBase, okBase := members(base)
	ofUser, okUser := members(user)
	if !okBase || !okUser {
		return nil, false
	}
	of := map[unit.Side]map[string][]byte{unit.Base: byPackage(ofBase), unit.User: byPackage(ofUser)}
	var out []byte
	for _, c := range choices {
		if c.Effective.Installed() {
			out = append(out, of[c.Side][c.Effective.Name+"-"+c.Effective.Version]...)
		}
	}
	return append(out, make([]byte, 2*block)...), true
}

// byPackage returns the members by the package that they are scripts of. Their names are
// "<name>-<version>.<checksum>.<action>", with no dots in what comes last.
func byPackage(all []member) map[string][]byte {
	out := make(map[string][]byte)
	for _, m := range all {
		rest := m.name[:max(strings.LastIndexByte(m.name, '.'), 0)]
		pkg := rest[:max(strings.LastIndexByte(rest, '.'), 0)]
		out[pkg] = append(out[pkg], m.raw...)
	}
	return out
}

// MergeTriggers makes the list of what packages want to be told about, lines that begin with a package's checksum.
func MergeTriggers(choices []unit.Choice, base, user []byte) []byte {
	of := map[unit.Side]map[string]string{unit.Base: byChecksum(base), unit.User: byChecksum(user)}
	var out strings.Builder
	for _, c := range choices {
		if c.Effective.Installed() {
			out.WriteString(of[c.Side][Checksum(c.Effective)])
		}
	}
	return []byte(out.String())
}

// byChecksum returns the lines by their first word.
func byChecksum(content []byte) map[string]string {
	out := make(map[string]string)
	for line := range strings.SplitSeq(string(content), "\n") {
		if checksum, _, _ := strings.Cut(line, " "); checksum != "" {
			out[checksum] += line + "\n"
		}
	}
	return out
}
