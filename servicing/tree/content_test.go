// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

// piece is data in a file that is a hole otherwise.
type piece struct {
	at   int64
	text []byte
}

// sparse makes a file of a size with data in places.
func sparse(t fatal, path string, size int64, pieces ...piece) {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pieces {
		if _, err := f.WriteAt(p.text, p.at); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// fatal is what *testing.T and *rapid.T have in common.
type fatal interface{ Fatal(args ...any) }

// sameContent compares a file of two directories.
func sameContent(t fatal, a, b *View) (bool, error) {
	ea, err := a.Lookup("f")
	if err != nil {
		t.Fatal(err)
	}
	eb, err := b.Lookup("f")
	if err != nil {
		t.Fatal(err)
	}
	return SameContent(a, ea, b, eb)
}

// TestSameContentOfHoles: files are the same when their bytes are, wherever they have holes.
func TestSameContentOfHoles(t *testing.T) {
	dirs := [2]string{t.TempDir(), t.TempDir()}
	rapid.Check(t, func(t *rapid.T) {
		size := int64(rapid.IntRange(1, 1<<18).Draw(t, "size"))
		draw := func(label string) []piece {
			return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) piece {
				at := rapid.SampledFrom([]int64{0, 1, 4096, 65536, 131072, size / 2}).Draw(t, "at")
				text := rapid.SampledFrom([]string{"x", "y", "\x00", string(make([]byte, 5000)), "zz"}).Draw(t, "text")
				return piece{min(at, size-1), []byte(text)[:min(len(text), int(size-min(at, size-1)))]}
			}), 0, 3).Draw(t, label)
		}
		one := draw("one")
		other := one
		if rapid.Bool().Draw(t, "another") {
			other = draw("other")
		}
		var texts [2][]byte
		var views [2]*View
		for i, pieces := range [][]piece{one, other} {
			path := filepath.Join(dirs[i], "f")
			sparse(t, path, size, pieces...)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			texts[i] = text
			if views[i], err = Open(Stack{dirs[i]}); err != nil {
				t.Fatal(err)
			}
		}
		defer views[0].Close()
		defer views[1].Close()
		if same, err := sameContent(t, views[0], views[1]); err != nil || same != bytes.Equal(texts[0], texts[1]) {
			t.Fatalf("same is %v, %v", same, err)
		}
	})
}

// TestContentsEndWithTheirContext: what a file says its size is costs nothing where there is a hole, and the end of the context
// ends what reads or copies a content.
func TestContentsEndWithTheirContext(t *testing.T) {
	const size = 400 << 30 // reading that would take minutes
	a, b := t.TempDir(), t.TempDir()
	sparse(t, filepath.Join(a, "f"), size, piece{0, []byte("x")}, piece{size - 9, []byte("the end")})
	sparse(t, filepath.Join(b, "f"), size, piece{0, []byte("x")}, piece{size - 9, []byte("the End")})
	va, vb := openView(t, a), openView(t, b)
	if same, err := sameContent(t, va, vb); same || err != nil {
		t.Errorf("files with another end: same is %v, %v", same, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	va.Within(ctx)
	cancel()
	if _, err := sameContent(t, va, vb); !errors.Is(err, context.Canceled) {
		t.Errorf("comparing after the end of the context: %v", err)
	}
	needRoot(t)
	w, err := NewWriter(tmpfs(t)) // where no blocks are shared
	check(t, err)
	e, err := va.Lookup("f")
	check(t, err)
	if err := w.Copy(va, e); !errors.Is(err, context.Canceled) {
		t.Errorf("copying after the end of the context: %v", err)
	}
	check(t, w.Close())
}
