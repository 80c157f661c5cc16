// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hello"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	args := []string{"-name", "molt.test/x:1", "-bare", "-layer", dir, "-layer", t.TempDir(), "-command", "cat /hello"}
	if err := run(args, &out); err != nil {
		t.Fatal(err)
	}
	var names []string
	for tr := tar.NewReader(&out); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, strings.TrimRight(h.Name, "0123456789abcdef"))
	}
	want := []string{"blobs/sha256/", "blobs/sha256/", "blobs/sha256/", "blobs/sha256/", "index.json", "oci-layout"}
	if !slices.Equal(names, want) {
		t.Errorf("got %q, want two layers, configuration, manifest, index and layout", names)
	}
}

func TestParse(t *testing.T) {
	dir := t.TempDir()
	tests := map[string]struct {
		args []string
		fail string
	}{
		"no name":           {[]string{"-bare", "-layer", dir}, "-name is required"},
		"no layer":          {[]string{"-name", "x", "-bare"}, "without any layer"},
		"stray argument":    {[]string{"-name", "x", "-bare", "-layer", dir, "more"}, "nothing but flags"},
		"missing folder":    {[]string{"-name", "x", "-layer", filepath.Join(dir, "none")}, "no such file"},
		"a file, no folder": {[]string{"-name", "x", "-layer", os.Args[0]}, "not a directory"},
		"unknown flag":      {[]string{"-nome", "x"}, "not defined"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(test.args); err == nil || !strings.Contains(err.Error(), test.fail) {
				t.Errorf("got %v, want %q", err, test.fail)
			}
		})
	}
}
