// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// failer is what *testing.T and *rapid.T have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func check(t failer, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// open opens a store that is closed after the test, and whose database is checked then.
func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path, 0)
	check(t, err)
	t.Cleanup(func() {
		check(t, s.Close())
		checkDatabase(t, path)
	})
	return s
}

func reopen(t failer, s *Store, path string, used dag.NodeID) *Store {
	t.Helper()
	check(t, s.Close())
	checkDatabase(t, path)
	s, err := Open(path, used)
	check(t, err)
	return s
}

// checkDatabase has bbolt check that the pages of a database are in order.
func checkDatabase(t failer, path string) {
	t.Helper()
	edit(t, path, func(tx *bbolt.Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

// edit changes a database behind the back of the store.
func edit(t failer, path string, fn func(tx *bbolt.Tx) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout})
	check(t, err)
	err = db.Update(fn)
	check(t, errors.Join(err, db.Close()))
}

// dump writes all that a store says.
func dump(t failer, s *Store) (text string) {
	t.Helper()
	s.View(func(g *dag.Graph) { text = dumpGraph(t, g) })
	return text
}

func dumpGraph(t failer, g *dag.Graph) string {
	t.Helper()
	check(t, g.Check())
	data, err := json.MarshalIndent([]any{g.Nodes(), g.Names(), g.Storages(), g.Updates()}, "", "  ")
	check(t, err)
	return string(data)
}

func do(t failer, s *Store, ts ...dag.Transformation) dag.Change {
	t.Helper()
	c, err := s.Do(ts...)
	check(t, err)
	return c
}

func database(t *testing.T) string { return filepath.Join(t.TempDir(), "graph.db") }

// filled is a store with a record of each kind: update 1 is applied to storage c.
func filled(t *testing.T, path string) *Store {
	t.Helper()
	s := open(t, path)
	for _, name := range []string{"base", "delta"} {
		do(t, s, dag.Prepare{Key: "k", Kind: dag.Active, Open: s.NewNode()}, dag.Commit{Key: "k", Name: name})
	}
	do(t, s, dag.Prepare{Key: "k", Kind: dag.Active, Parent: "base", Open: s.NewNode(), Labels: map[string]string{"a": "b"}})
	do(t, s, dag.Bind{Key: "k", Storage: "c"})
	do(t, s, dag.BeginUpdate{ID: s.NewUpdate(), From: 1, To: 2, Storages: []string{"c"}})
	do(t, s, dag.Switch{Update: 1, Storage: "c", Head: 3, Delta: s.NewNode(), Open: s.NewNode()})
	return s
}

func TestOpenCreates(t *testing.T) {
	path := database(t)
	s := open(t, path)
	if got, want := dump(t, s), dumpGraph(t, dag.New()); got != want {
		t.Errorf("a new store has\n%s", got)
	}
	info, err := os.Stat(path)
	check(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("others can read the database: %v", info.Mode())
	}
	if _, err := Open(filepath.Join(path, "in a file"), 0); err == nil || !strings.Contains(err.Error(), "in a file") {
		t.Errorf("got error %v, want one that names the database", err)
	}
}

func TestReopen(t *testing.T) {
	path := database(t)
	s := filled(t, path)
	want := dump(t, s)
	again := reopen(t, s, path, 0)
	defer again.Close()
	if got := dump(t, again); got != want {
		t.Errorf("after reopening got\n%s\nwant\n%s", got, want)
	}
}

// TestChanged: everybody who waits is told of the next change, and of nothing else.
func TestChanged(t *testing.T) {
	s := open(t, database(t))
	defer s.Close()
	told := func(changed <-chan struct{}) bool {
		select {
		case <-changed:
			return true
		default:
			return false
		}
	}
	one, other := s.Changed(), s.Changed()
	if _, err := s.Do(dag.Commit{Key: "none", Name: "n"}); err == nil || told(one) {
		t.Errorf("a change that is refused gave error %v, told %t", err, told(one))
	}
	do(t, s, dag.Prepare{Key: "k", Kind: dag.Active, Open: s.NewNode()})
	if next := s.Changed(); !told(one) || !told(other) || told(next) {
		t.Errorf("after a change they are told %t and %t, and who waits for the next one %t", told(one), told(other), told(next))
	}
	waiting := make(chan bool)
	next := s.Changed()
	go func() { <-next; waiting <- true }()
	do(t, s, dag.Commit{Key: "k", Name: "n"})
	<-waiting
}

// A change that cannot be written is not made in memory either.
func TestFailedWrite(t *testing.T) {
	path := database(t)
	s := filled(t, path)
	before := dump(t, s)
	check(t, s.Close())
	if _, err := s.Do(dag.Remove{Key: "k"}); !errors.Is(err, bbolterrors.ErrDatabaseNotOpen) {
		t.Errorf("got error %v", err)
	}
	if after := dump(t, s); after != before {
		t.Errorf("a change that was not written shows:\n%s", after)
	}
}

// A change is on disk as a whole or not at all: the second transformation is refused, so the first one is not there.
func TestRefusedWritesNothing(t *testing.T) {
	path := database(t)
	s := filled(t, path)
	graph, before := dump(t, s), file(t, path)
	c, err := s.Do(dag.Relabel{Key: "k"}, dag.Remove{Key: "none"})
	if !errdefs.IsNotFound(err) {
		t.Errorf("got error %v", err)
	}
	if len(c.Names) > 0 {
		t.Errorf("a refused change has names: %v", c.Names)
	}
	if dump(t, s) != graph {
		t.Error("a refused change shows")
	}
	if file(t, path) != before {
		t.Error("a refused change was written")
	}
}

func file(t failer, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	check(t, err)
	return string(data)
}

func TestIDsAreNotReused(t *testing.T) {
	path := database(t)
	s := open(t, path)
	for want := range dag.NodeID(3) {
		if got := s.NewNode(); got != want+1 {
			t.Fatalf("node %v after %v", got, want)
		}
	}
	// Of the three, the second is used and removed again; all are on record as given out from then on.
	do(t, s, dag.Prepare{Key: "k", Kind: dag.Active, Open: 2})
	do(t, s, dag.Remove{Key: "k"})
	s = reopen(t, s, path, 0)
	if got := s.NewNode(); got != 4 {
		t.Errorf("after reopening got node %v, want n4", got)
	}
	// Nodes 4 and 5 are on disk only: their directories say so.
	s.NewNode()
	s = reopen(t, s, path, 5)
	if got := s.NewNode(); got != 6 {
		t.Errorf("above what is used got node %v, want n6", got)
	}
	do(t, s, dag.Prepare{Key: "k", Kind: dag.Active, Open: 6})
	s = reopen(t, s, path, 3)
	defer s.Close()
	if got := s.NewNode(); got != 7 {
		t.Errorf("with less used than recorded got node %v, want n7", got)
	}
}

func TestUpdateIDsAreNotReused(t *testing.T) {
	path := database(t)
	s := filled(t, path)
	if got := s.NewUpdate(); got != 2 {
		t.Errorf("got update %v, want u2", got)
	}
	do(t, s, dag.BeginUpdate{ID: 2, From: 2, To: 1})
	s = reopen(t, s, path, 0)
	defer s.Close()
	if got := s.NewUpdate(); got != 3 {
		t.Errorf("after reopening got update %v, want u3", got)
	}
}

// A second opener is told so, and gets the database as soon as the first one is done with it.
func TestLocked(t *testing.T) {
	path := database(t)
	s := filled(t, path)
	if _, err := Open(path, 0); !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), path) {
		t.Fatalf("got error %v, want one that is unavailable and names %s", err, path)
	}
	do(t, s, dag.Relabel{Key: "k"})
	check(t, reopen(t, s, path, 0).Close())
}

func TestNewerVersionIsRefused(t *testing.T) {
	path := database(t)
	check(t, filled(t, path).Close())
	edit(t, path, func(tx *bbolt.Tx) error {
		check(t, tx.Bucket(bucketMeta).Put(keyVersion, number(Version+1)))
		total, err := sumOf(tx)
		check(t, err)
		return tx.Bucket(bucketMeta).Put(keySum, number(uint64(total)))
	})
	before := file(t, path)
	for range 2 { // the second time shows that the lock was given back
		_, err := Open(path, 0)
		if says := fmt.Sprintf("version %d is newer", Version+1); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), says) {
			t.Fatalf("got error %v, want a failed precondition that says %q", err, says)
		}
	}
	if file(t, path) != before {
		t.Error("a database of a newer version was written to")
	}
}

// Whatever is wrong with the database is told with the place where it is, not guessed and not passed over.
func TestCorruption(t *testing.T) {
	put := func(bucket, key []byte, value string) func(tx *bbolt.Tx) error {
		return func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put(key, []byte(value)) }
	}
	cases := []struct {
		name string
		do   func(tx *bbolt.Tx) error
		says string
	}{
		{"node cut short", put(bucketNodes, number(2), `{"id":2,"kind":"la`), "nodes record 2"},
		{"node of another id", put(bucketNodes, number(2), `{"id":7,"kind":"layer"}`), "nodes record 2"},
		{"empty node", put(bucketNodes, number(2), ""), "nodes record 2"},
		{"null node", put(bucketNodes, number(2), "null"), "nodes record 2"},
		{"node with an odd key", put(bucketNodes, []byte("odd"), `{"id":7}`), `nodes record "odd"`},
		{"name of another sort", put(bucketNames, []byte("k"), `["k"]`), `names record "k"`},
		{"name of another key", put(bucketNames, []byte("k"), `{"key":"other"}`), `names record "k"`},
		{"storage with rubbish behind it", put(bucketStorages, []byte("c"), `{"name":"c"}}`), `storages record "c"`},
		{"storage of another name", put(bucketStorages, []byte("c"), `{"name":"d"}`), `storages record "c"`},
		{"update cut short", put(bucketUpdates, number(1), `{`), "updates record 1"},
		{"update of another id", put(bucketUpdates, number(1), `{"id":2}`), "updates record 1"},
		{"version cut short", put(bucketMeta, keyVersion, "1"), `meta record "version"`},
		{"next node cut short", put(bucketMeta, keyNextNode, "\x00"), `meta record "next_node"`},
		{"next node missing", func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Delete(keyNextNode) }, `meta record "next_node"`},
		{"next update missing", func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Delete(keyNextUpdate) }, `meta record "next_update"`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := database(t)
			check(t, filled(t, path).Close())
			edit(t, path, c.do)
			s, err := Open(path, 0)
			if err == nil {
				check(t, s.Close())
			}
			if !errdefs.IsDataLoss(err) || !strings.Contains(fmt.Sprint(err), c.says) || !strings.Contains(err.Error(), path) {
				t.Errorf("got error %v, want one that is %q and names %s in %s", err, errdefs.ErrDataLoss, c.says, path)
			}
		})
	}
}

func TestNotADatabase(t *testing.T) {
	path := database(t)
	rubbish := strings.Repeat("rubbish\n", 8192)
	check(t, os.WriteFile(path, []byte(rubbish), 0o600))
	if _, err := Open(path, 0); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got error %v, want one that names %s", err, path)
	}
	if file(t, path) != rubbish {
		t.Error("what is not a database was written to")
	}
}

// Readers see whole changes only, whoever else is reading and writing, and no id is given out twice.
func TestConcurrentUse(t *testing.T) {
	path := database(t)
	s := open(t, path)
	do(t, s, dag.Prepare{Key: "k", Kind: dag.Active, Open: s.NewNode()}, dag.Commit{Key: "k", Name: "base"})
	var (
		writers, readers sync.WaitGroup
		done             = make(chan struct{})
		given            sync.Map
	)
	node := func() dag.NodeID {
		id := s.NewNode()
		if _, twice := given.LoadOrStore(id, true); twice {
			t.Errorf("%v was given out twice", id)
		}
		return id
	}
	for i := range 4 {
		writers.Go(func() {
			for j := range 20 {
				key := fmt.Sprintf("k%d.%d", i, j)
				_, err := s.Do(dag.Prepare{Key: key, Kind: dag.Active, Parent: "base", Open: node()}, dag.Bind{Key: key, Storage: "s" + key})
				if j%2 == 0 {
					_, err2 := s.Do(dag.Remove{Key: key}, dag.RemoveStorage{Name: "s" + key})
					err = errors.Join(err, err2)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			for {
				s.View(func(g *dag.Graph) {
					if err := g.Check(); err != nil {
						t.Error(err)
					}
				})
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	want := dump(t, s)
	again := reopen(t, s, path, 0)
	defer again.Close()
	if got := dump(t, again); got != want {
		t.Errorf("after reopening got\n%s\nwant\n%s", got, want)
	}
}
