// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Command house prints the shape of the code: the types with the most methods and fields, the packages with the most
// files, the longest functions and files, and how many of the arrows between the files of a package run up. Its tests
// hold the limits.
//
// usage: house [DIRECTORY]
package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
)

// shown is how many figures of a sort are printed.
const shown = 5

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	h, err := open(root)
	if err == nil {
		err = h.print(os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "house:", err)
		os.Exit(1)
	}
}

// print prints the figures, the largest first.
func (h *house) print(w io.Writer) error {
	all, up := h.arrows()
	for _, part := range []struct {
		title   string
		figures []figure
	}{
		{"methods of a type", h.methods()}, {"fields of a type", h.fields()}, {"files of a package", h.files()},
		{"lines of a function", h.functions()}, {"lines of a file", h.lengths()},
		{"arrows between the files of a package", all}, {"of these, arrows that run up", up},
	} {
		if _, err := fmt.Fprintln(w, part.title); err != nil {
			return err
		}
		for _, f := range largest(part.figures)[:min(shown, len(part.figures))] {
			if _, err := fmt.Fprintf(w, "  %4d  %s\n", f.value, f.what); err != nil {
				return err
			}
		}
	}
	return nil
}

// largest sorts figures, the largest first.
func largest(figures []figure) []figure {
	return slices.SortedFunc(slices.Values(figures), func(a, b figure) int {
		return cmp.Or(cmp.Compare(b.value, a.value), cmp.Compare(a.what, b.what))
	})
}
