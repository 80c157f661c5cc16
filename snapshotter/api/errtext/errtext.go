// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package errtext writes errors for people. The class of an error ("failed precondition") selects an exit code or a
// status; in a sentence it says nothing that the sentence does not say itself.
package errtext

import (
	"strings"

	"github.com/containerd/errdefs"
)

// classes are the names of classes that are not shown. "not found" and "already exists" are: they say why something
// failed.
var classes = []string{
	errdefs.ErrFailedPrecondition.Error(), errdefs.ErrInvalidArgument.Error(), errdefs.ErrUnavailable.Error(),
	errdefs.ErrAborted.Error(), errdefs.ErrUnknown.Error(), errdefs.ErrNotImplemented.Error(),
}

// Of returns the text of an error without the name of its class at the end.
func Of(err error) string { return Bare(err.Error()) }

// Bare returns a text without the names of classes at the ends of its lines.
func Bare(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = bareLine(line)
	}
	return strings.Join(lines, "\n")
}

func bareLine(line string) string {
	for again := true; again; {
		again = false
		for _, class := range classes {
			if rest, ok := strings.CutSuffix(line, ": "+class); ok && rest != "" {
				line, again = rest, true
			}
		}
	}
	return line
}
