// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package diff3 merges two changed versions of a text with the version that both come from.
//
// It is the algorithm of Khanna, Kunal and Pierce ("A Formal Investigation of Diff3", 2007) with git's notion of a
// conflict: changes that overlap or touch are in conflict unless both sides made the same one. It is stricter than
// git in one respect: where equal lines make it ambiguous which place a change belongs to, all these places count as
// changed. Whoever merges by hand sees what came out; here nobody looks, so a merge must not depend on a guess. A
// diff library returns one of the shortest edit scripts; this needs to know what all of them have in common, so it
// finds its own.
//
// Bytes are preserved: line ends (LF and CRLF) and a missing newline at the end are part of the lines.
package diff3

import (
	"bytes"
	"errors"
	"slices"
	"strings"
)

// The reasons why there is no merged text.
var (
	// ErrConflict reports that both sides changed the same place, or places too close to tell apart.
	ErrConflict = errors.New("changes overlap")
	// ErrBinary reports that one of the versions holds a NUL byte.
	ErrBinary = errors.New("not a text")
	// ErrTooLarge reports that one of the versions is larger than MaxSize or has more than MaxLines lines, or that
	// there are thousands of changes.
	ErrTooLarge = errors.New("too large to be merged as text")
)

// The bounds on what is merged, per version.
const (
	MaxSize  = 4 << 20
	MaxLines = 100_000
)

// Merge returns base with the changes of both a and b. The error is ErrConflict, ErrBinary or ErrTooLarge; there never
// is a partial result. Merge(base, a, b) and Merge(base, b, a) give the same.
func Merge(base, a, b []byte) ([]byte, error) {
	for _, text := range [][]byte{base, a, b} {
		if len(text) > MaxSize || bytes.Count(text, []byte{'\n'}) > MaxLines {
			return nil, ErrTooLarge
		}
		if bytes.IndexByte(text, 0) >= 0 {
			return nil, ErrBinary
		}
	}
	switch {
	case bytes.Equal(a, b), bytes.Equal(base, b):
		return bytes.Clone(a), nil
	case bytes.Equal(base, a):
		return bytes.Clone(b), nil
	}
	numbers := make(map[string]int)
	return merge(newVersion(base, numbers), newVersion(a, numbers), newVersion(b, numbers))
}

// version is a text as lines, and the lines as numbers: equal lines have equal numbers.
type version struct {
	lines   []string
	numbers []int
}

func newVersion(text []byte, numbers map[string]int) version {
	v := version{lines: lines(text)}
	for _, line := range v.lines {
		n, known := numbers[line]
		if !known {
			n = len(numbers)
			numbers[line] = n
		}
		v.numbers = append(v.numbers, n)
	}
	return v
}

// merge merges versions that are all different.
func merge(o, a, b version) ([]byte, error) {
	inA, okA := hunks(o.numbers, a.numbers)
	inB, okB := hunks(o.numbers, b.numbers)
	if !okA || !okB {
		return nil, ErrTooLarge
	}
	var out []string
	at := 0 // lines of o that are written
	for _, r := range regions(inA, inB) {
		out = append(out, o.lines[at:r.lo]...)
		ofA, ofB := a.lines[r.a.from:r.a.to], b.lines[r.b.from:r.b.to]
		switch {
		case !r.b.changed, slices.Equal(ofA, ofB):
			out = append(out, ofA...)
		case !r.a.changed:
			out = append(out, ofB...)
		default:
			return nil, ErrConflict
		}
		at = r.hi
	}
	out = append(out, o.lines[at:]...)
	if !wellFormed(out) {
		return nil, ErrConflict
	}
	return []byte(strings.Join(out, "")), nil
}

// lines splits a text after its newlines.
func lines(text []byte) []string {
	all := strings.SplitAfter(string(text), "\n")
	if all[len(all)-1] == "" {
		all = all[:len(all)-1]
	}
	return all
}

func reversed(in []int) []int {
	out := slices.Clone(in)
	slices.Reverse(out)
	return out
}

// wellFormed reports whether only the last line lacks its newline: a line without one that ends up in the middle would
// be glued to the next.
func wellFormed(all []string) bool {
	for i, line := range all {
		if i < len(all)-1 && !strings.HasSuffix(line, "\n") {
			return false
		}
	}
	return true
}
