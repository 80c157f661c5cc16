// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package replace_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/replace"
)

// TestFile: a file is replaced whole, or stays as it was with nothing beside it.
func TestFile(t *testing.T) {
	errWrite := errors.New("no more")
	for name, c := range map[string]struct {
		text string
		fail error
		want string
	}{
		"a new one":        {text: "new", want: "new"},
		"a shorter one":    {text: "", want: ""},
		"one that is lost": {text: "half", fail: errWrite, want: "the one before"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f")
			for _, left := range []string{path, path + replace.Unfinished} {
				if err := os.WriteFile(left, []byte("the one before"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := replace.File(path, func(w io.Writer) error {
				_, err := io.WriteString(w, c.text)
				return errors.Join(err, c.fail)
			})
			if !errors.Is(err, c.fail) {
				t.Errorf("got %v, want %v", err, c.fail)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
			if _, err := os.Lstat(path + replace.Unfinished); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("something is left beside it: %v", err)
			}
		})
	}
	if err := replace.File(filepath.Join(t.TempDir(), "none", "f"), func(io.Writer) error { return nil }); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
}
