// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package apk

import (
	"cmp"
	"strings"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// cLibrary is what the C library is built from.
const cLibrary = "musl"

// Source returns what a package was built from: its origin. All packages of one origin have the same version.
func Source(p *unit.Package) unit.Source {
	return unit.Source{Name: cmp.Or(get(p.Record, 'o'), p.Name), Version: p.Version}
}

// OtherLibrary reports whether two versions of a package are two releases of the C library. What is built for one
// release need not run with an earlier one.
func OtherLibrary(a, b *unit.Package) bool {
	release := func(p *unit.Package) string { upstream, _, _ := strings.Cut(p.Version, "-r"); return upstream }
	return Source(a).Name == cLibrary && release(a) != release(b)
}
