// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"regexp"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// relative finds a path below a directory that all trees have and that is not written as the container sees it.
var relative = regexp.MustCompile(`(^|[\s"'(])((bin|boot|etc|home|lib|opt|root|run|sbin|srv|usr|var)/[^\s"',;:)]+)`)

// expectAbsolute checks the texts of a report: every path in them is absolute, so that it can be copied.
func expectAbsolute(t tb, r *Report) {
	t.Helper()
	check := func(what, text string) {
		t.Helper()
		if found := relative.FindStringSubmatch(text); found != nil {
			t.Errorf("the %s %q names %s, which is not absolute", what, text, found[2])
		}
	}
	for _, h := range r.Holds {
		check("reason to hold", h.Message)
	}
	for _, f := range r.Findings {
		check("finding", f.Message)
	}
	for _, p := range r.Paths {
		check("reason", p.Reason)
	}
	for _, p := range r.Packages {
		check("reason on a package", p.Reason)
	}
}

// TestRelativeIsFound: the check above sees paths that are not absolute, and only these.
func TestRelativeIsFound(t *testing.T) {
	for text, want := range map[string]bool{
		"etc/app.conf: a conflict": true, `was "etc/x"`: true, "see usr/lib/a.so": true, "/etc/app.conf: a conflict": false,
		`"/etc/x" carries`: false, "read and/or write": false, "libetc/x": false, "https://usr/lib": false,
	} {
		if got := relative.MatchString(text); got != want {
			t.Errorf("%q: got %v", text, got)
		}
	}
	for path, want := range map[string]string{".": `"/"`, "etc/x": `"/etc/x"`, "a\x1b": `"/a\x1b"`, "/host": `"/host"`} {
		if got := tree.Shown(path); got != want {
			t.Errorf("%q is shown as %s, not %s", path, got, want)
		}
	}
}
