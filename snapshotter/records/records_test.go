// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package records

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

type thing struct {
	Name string `json:"name"`
	N    int    `json:"n"`
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestRecords(t *testing.T) {
	d, err := Open(t.TempDir())
	must(t, err)
	if n, err := d.Position(); n != (Position{}) || err != nil {
		t.Errorf("a new directory is at %v, %v", n, err)
	}
	key := "default/1/" + strings.Repeat("x/../", 200) // never a path
	must(t, d.Put(Names, key, 7, thing{"a", 1}))
	must(t, d.Put(Names, key, 8, thing{"a", 2}))
	must(t, d.SetPosition(Position{8, "boot"}))
	files, err := d.Files(Names)
	must(t, err)
	if len(files) != 1 || files[0] != d.Path(Names, key) {
		t.Fatalf("the files are %v", files)
	}
	var got thing
	n, err := ReadFile(files[0], &got)
	must(t, err)
	if n != 8 || got != (thing{"a", 2}) || !Same(files[0], thing{"a", 2}) || Same(files[0], thing{"a", 1}) {
		t.Errorf("read %v of change %d", got, n)
	}
	if n, err := d.Position(); n != (Position{8, "boot"}) || err != nil {
		t.Errorf("it is at %v, %v", n, err)
	}
	must(t, d.Delete(Names, key))
	must(t, d.Delete(Names, key))
	if files, err = d.Files(Names); err != nil || len(files) != 0 {
		t.Errorf("left are %v, %v", files, err)
	}
}

// TestFlipped: a record in which a byte is another one is damaged, or still the same record.
func TestFlipped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.json")
	must(t, WriteFile(path, 3, thing{"name", 42}))
	data, err := os.ReadFile(path)
	must(t, err)
	for at := range data {
		for _, flip := range []byte{1, 0x20, 0x80} {
			other := append([]byte{}, data...)
			other[at] ^= flip
			var got thing
			sequence, err := Decode(other, &got)
			if err != nil && !errdefs.IsDataLoss(err) {
				t.Fatalf("byte %d: %v", at, err)
			}
			if err == nil && got != (thing{"name", 42}) {
				t.Errorf("byte %d: it reads %v of change %d, and nobody noticed", at, got, sequence)
			}
		}
	}
	for size := range data {
		var got thing
		if _, err := Decode(data[:size], &got); err == nil {
			t.Errorf("cut to %d bytes it passes", size)
		}
	}
}

// FuzzDecode decodes files: what is understood is what can be written.
func FuzzDecode(f *testing.F) {
	data, err := Encode(7, thing{"a", 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		var read, again thing
		sequence, err := Decode(data, &read)
		if err != nil {
			return
		}
		written, err := Encode(sequence, read)
		must(t, err)
		if n, err := Decode(written, &again); err != nil || n != sequence || again != read {
			t.Errorf("%q is read as %+v, written as %q and read as %+v: %v", data, read, written, again, err)
		}
	})
}

// TestFilesCannotBeListed: none and not known how many are not the same, for a graph that is rebuilt from the files.
func TestFilesCannotBeListed(t *testing.T) {
	root := t.TempDir()
	d, err := Open(root)
	must(t, err)
	must(t, os.Remove(filepath.Join(root, string(Names))))
	must(t, os.WriteFile(filepath.Join(root, string(Names)), nil, 0o600))
	if files, err := d.Files(Names); err == nil {
		t.Errorf("a directory that cannot be listed has the files %v", files)
	}
}
