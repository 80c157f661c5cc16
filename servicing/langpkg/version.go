// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package langpkg knows what package managers of programming languages write about the packages that they installed:
// the records of Python, Node, Ruby, PHP, conda, cargo and R, and the order of their versions. It reads contents that
// it is given, and no files.
package langpkg

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
	pep440 "github.com/aquasecurity/go-pep440-version"
)

// ErrVersion is wrapped by the error about versions that cannot be compared.
var ErrVersion = errors.New("not versions that can be compared")

// Order compares versions: negative when a is lower than b, 0 when they are equal. Equal texts are equal whatever they
// are; else what is no version gives an error that wraps ErrVersion.
type Order func(a, b string) (int, error)

// PEP440 compares versions as pip does.
func PEP440(a, b string) (int, error) {
	if a == b {
		return 0, nil
	}
	va, errA := pep440.Parse(a)
	vb, errB := pep440.Parse(b)
	if errA != nil || errB != nil {
		return 0, incomparable(a, b)
	}
	return va.Compare(vb), nil
}

// Semantic compares versions as npm, composer and cargo do.
func Semantic(a, b string) (int, error) {
	if a == b {
		return 0, nil
	}
	va, errA := semver.NewVersion(a)
	vb, errB := semver.NewVersion(b)
	if errA != nil || errB != nil {
		return Dotted(a, b)
	}
	return va.Compare(vb), nil
}

// dotted are versions that are numbers alone, with points or dashes between them.
var dotted = regexp.MustCompile(`^v?[0-9]+([.-][0-9]+)*$`)

// Dotted compares versions that are numbers with points or dashes between them, as R and composer have them.
func Dotted(a, b string) (int, error) {
	if a == b {
		return 0, nil
	}
	if !dotted.MatchString(a) || !dotted.MatchString(b) {
		return 0, incomparable(a, b)
	}
	split := func(v string) []string {
		return strings.FieldsFunc(strings.TrimPrefix(v, "v"), func(r rune) bool { return r == '.' || r == '-' })
	}
	return compareSegments(split(a), split(b)), nil
}

// gem is a version of Ruby's, and a segment of one.
var (
	gem        = regexp.MustCompile(`^[0-9]+(\.[0-9a-zA-Z]+)*(-[0-9A-Za-z.-]+)?$`)
	gemSegment = regexp.MustCompile(`[0-9]+|[a-zA-Z]+`)
)

// Gem compares versions as RubyGems does: a part with letters makes it a version before the one without it.
func Gem(a, b string) (int, error) {
	if a == b {
		return 0, nil
	}
	if !gem.MatchString(a) || !gem.MatchString(b) {
		return 0, incomparable(a, b)
	}
	split := func(v string) []string { return gemSegment.FindAllString(strings.ReplaceAll(v, "-", ".pre."), -1) }
	return compareSegments(split(a), split(b)), nil
}

// compareSegments compares parts of versions: numbers by their value, letters before numbers. What is missing is 0.
func compareSegments(a, b []string) int {
	for i := range max(len(a), len(b)) {
		x, y := "0", "0"
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if c := compareSegment(x, y); c != 0 {
			return c
		}
	}
	return 0
}

func compareSegment(a, b string) int {
	x, errA := strconv.ParseUint(a, 10, 64)
	y, errB := strconv.ParseUint(b, 10, 64)
	switch {
	case errA == nil && errB == nil:
		return cmp.Compare(x, y)
	case isNumber(a) && isNumber(b): // too large for a number
		a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	case isNumber(a):
		return 1
	case isNumber(b):
		return -1
	}
	return strings.Compare(a, b)
}

func isNumber(text string) bool { return strings.Trim(text, "0123456789") == "" }

func incomparable(a, b string) error { return fmt.Errorf("%q and %q are %w", a, b, ErrVersion) }

// AtLeast reports whether the packages of one set, by name with their versions, have all those of another one at the
// same versions or higher ones. What was there before and is not in the other set was removed from it: a set that
// still has such a package is not at least the other one.
func AtLeast(a, b, before map[string]string, order Order) (bool, error) {
	for _, name := range sorted(b) {
		has, there := a[name]
		if !there {
			return false, nil
		}
		if c, err := order(has, b[name]); err != nil || c < 0 {
			return false, err
		}
	}
	for name := range a {
		_, inB := b[name]
		if _, was := before[name]; was && !inB {
			return false, nil
		}
	}
	return true, nil
}

func sorted(set map[string]string) []string {
	names := make([]string, 0, len(set))
	for name := range set {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
