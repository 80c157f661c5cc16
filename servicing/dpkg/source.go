// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package dpkg

import (
	"strings"

	"pault.ag/go/debian/version"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// cLibrary is the source package of the C library.
const cLibrary = "glibc"

// Source returns the source package that a package was built from. It has the name and the version of the package
// itself, unless the record gives others.
func Source(p *unit.Package) unit.Source {
	name, rest, versioned := strings.Cut(stanza(p).Get("Source"), "(")
	out := unit.Source{Name: strings.TrimSpace(name), Version: p.Version}
	if out.Name == "" {
		out.Name = p.Name
	}
	if versioned {
		out.Version = strings.TrimSpace(strings.TrimSuffix(rest, ")"))
	}
	return out
}

// OtherLibrary reports whether two versions of a package are two releases of the C library. What is built for one
// release need not run with an earlier one.
func OtherLibrary(a, b *unit.Package) bool {
	if Source(a).Name != cLibrary {
		return false
	}
	va, errA := version.Parse(a.Version)
	vb, errB := version.Parse(b.Version)
	return errA != nil || errB != nil || va.Version != vb.Version
}
