// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"go.etcd.io/bbolt"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// TestFlippedBytes: a database in which some byte is another one says what it was made to say, or that it is damaged. Only
// bytes of pages that hold nothing, and of the older of bbolt's two meta pages, may be flipped unnoticed.
func TestFlippedBytes(t *testing.T) {
	path := database(t)
	s := filled(t, path)
	want := dump(t, s)
	check(t, s.Close())
	sound, err := os.ReadFile(path)
	check(t, err)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	damaged, older := 0, 0
	for range 1500 {
		content := append([]byte{}, sound...)
		at := r.IntN(len(content))
		content[at] ^= byte(1 + r.IntN(255))
		other := filepath.Join(t.TempDir(), "graph.db")
		check(t, os.WriteFile(other, content, 0o600))
		got, err := Open(other, 0)
		if err != nil {
			if !errdefs.IsDataLoss(err) {
				t.Fatalf("byte %d is %#x: got error %v, want data loss", at, content[at], err)
			}
			damaged++
			continue
		}
		switch {
		case got.Sequence() < s.Sequence():
			older++ // bbolt fell back to the meta page of the change before, which whoever knows of the last one can tell
		case dump(t, got) != want:
			t.Errorf("byte %d is %#x: the store says something else, and nobody noticed", at, content[at])
		}
		check(t, got.Close())
	}
	t.Logf("%d damaged, %d one change older", damaged, older)
	if damaged == 0 {
		t.Error("no flipped byte was noticed")
	}
}

// TestTruncated: a database that is cut short anywhere is refused, or holds all it held.
func TestTruncated(t *testing.T) {
	path := database(t)
	s := filled(t, path)
	want := dump(t, s)
	check(t, s.Close())
	sound, err := os.ReadFile(path)
	check(t, err)
	for size := 1; size < len(sound); size += 509 {
		other := filepath.Join(t.TempDir(), "graph.db")
		check(t, os.WriteFile(other, sound[:size], 0o600))
		got, err := Open(other, 0)
		if err != nil {
			if !errdefs.IsDataLoss(err) {
				t.Fatalf("cut to %d bytes: got error %v, want data loss", size, err)
			}
			continue
		}
		if dump(t, got) != want {
			t.Errorf("cut to %d bytes: the store says something else", size)
		}
		check(t, got.Close())
	}
}

// TestDamagedWhileOpen: what goes bad under an open store is an error of the change that comes across it.
func TestDamagedWhileOpen(t *testing.T) {
	path := database(t)
	s, err := Open(path, 0)
	check(t, err)
	do(t, s, dag.Prepare{Key: "k", Kind: dag.Active, Open: s.NewNode()})
	check(t, s.Verify())
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	check(t, err)
	info, err := f.Stat()
	check(t, err)
	garbage := make([]byte, info.Size()-2*int64(os.Getpagesize()))
	for i := range garbage {
		garbage[i] = 0xa5
	}
	_, err = f.WriteAt(garbage, 2*int64(os.Getpagesize())) // all but the meta pages
	check(t, err)
	check(t, f.Close())
	if err := s.Verify(); !errdefs.IsDataLoss(err) {
		t.Errorf("the damage is told as %v, want data loss", err)
	}
	if _, err := s.Do(dag.Prepare{Key: "l", Kind: dag.Active, Open: s.NewNode()}); !errdefs.IsDataLoss(err) {
		t.Errorf("a change ended with %v, want data loss", err)
	}
	if _, err := s.Do(dag.Remove{Key: "k"}); !errdefs.IsDataLoss(err) {
		t.Errorf("a further change ended with %v, want data loss", err)
	}
	s.View(func(g *dag.Graph) {
		if _, ok := g.Name("k"); !ok {
			t.Error("the graph in memory has lost what it knew")
		}
	})
	check(t, s.Close())
}

// TestOlderVersion: a database of version 1 is read, and is one of this version afterwards.
func TestOlderVersion(t *testing.T) {
	path := database(t)
	s := filled(t, path)
	want := dump(t, s)
	check(t, s.Close())
	edit(t, path, func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		check(t, meta.Put(keyVersion, number(1)))
		check(t, meta.Delete(keySequence))
		return meta.Delete(keySum)
	})
	again, err := Open(path, 0)
	check(t, err)
	if got := dump(t, again); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if again.Sequence() == 0 {
		t.Error("it passes for an empty one")
	}
	again = reopen(t, again, path, 0)
	check(t, again.Close())
	edit(t, path, func(tx *bbolt.Tx) error {
		if got := binary.BigEndian.Uint64(tx.Bucket(bucketMeta).Get(keyVersion)); got != Version {
			t.Errorf("it still is of version %d", got)
		}
		return nil
	})
}

// TestBackup: a backup is a database with all that the store had, ids that are taken included.
func TestBackup(t *testing.T) {
	s := filled(t, database(t))
	defer s.Close()
	path := filepath.Join(t.TempDir(), "backup.db")
	check(t, s.Backup(path))
	check(t, s.Backup(path))
	b, err := Open(path, 0)
	check(t, err)
	defer b.Close()
	if got, want := dump(t, b), dump(t, s); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if b.Sequence() != s.Sequence() || b.NewNode() != s.NewNode() || b.NewUpdate() != s.NewUpdate() {
		t.Error("it counts otherwise")
	}
}
