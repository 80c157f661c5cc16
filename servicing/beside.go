// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"path"
	"unicode/utf8"
)

// The suffixes of what is put beside a path.
const (
	besideSuffix = ".molt-new" // the new base's version, where the user's stays
	asideSuffix  = ".molt-old" // the user's version, where the new base's stands
)

// beside returns the name with a suffix, in the same directory; of a long name only the beginning, so that a number has room,
// too.
func beside(p, suffix string) string {
	const maxName, number = 255, 8
	dir, name := path.Split(p)
	if room := maxName - number - len(suffix); len(name) > room {
		name = name[:room]
		for utf8.ValidString(p) && !utf8.ValidString(name) {
			name = name[:len(name)-1] // not in the middle of a character
		}
	}
	return dir + name + suffix
}
