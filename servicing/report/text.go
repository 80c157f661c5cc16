// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"strings"
	"unicode/utf8"
)

// Printable returns a text as JSON can hold it.
func Printable(text string) string { return strings.ToValidUTF8(text, "\ufffd") }

// RawBytes returns a path that JSON cannot hold.
func RawBytes(p string) []byte {
	if utf8.ValidString(p) {
		return nil
	}
	return []byte(p)
}
