// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dpkg_test

import (
	"slices"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/dpkg"
)

// TestMoves: what debhelper writes, by hand, over several lines, and what cannot be known.
func TestMoves(t *testing.T) {
	script := `#!/bin/sh
set -e
# dpkg-maintscript-helper mv_conffile /etc/not /etc/this
dpkg-maintscript-helper mv_conffile /etc/a.conf /etc/a/a.conf 1.2-3~ a -- "$@"
if true; then dpkg-maintscript-helper mv_conffile "/etc/b" '/etc/c'; fi
dpkg-maintscript-helper mv_conffile /etc/d \
	/etc/e 2 -- "$@"
dpkg-maintscript-helper mv_conffile "$old" /etc/f 1 -- "$@"
dpkg-maintscript-helper mv_conffile relative /etc/g -- "$@"
dpkg-maintscript-helper rm_conffile /etc/h 1 -- "$@"
dpkg-maintscript-helper mv_conffile /etc/i -- "$@"
`
	want := []dpkg.Move{{From: "etc/a.conf", To: "etc/a/a.conf", Before: "1.2-3~"}, {From: "etc/d", To: "etc/e", Before: "2"}}
	got := slices.DeleteFunc(dpkg.Moves(script), func(m dpkg.Move) bool { return m.From == "etc/b" })
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if all := dpkg.Moves(script); len(all) != 3 || all[1].To != "etc/c" {
		t.Errorf("got %+v", all)
	}
}
