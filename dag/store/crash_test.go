// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// childVariable tells the test binary to be the process that is killed, and where its database is.
const childVariable = "MOLT_TEST_STORE"

func TestMain(m *testing.M) {
	if path := os.Getenv(childVariable); path != "" {
		fmt.Fprintln(os.Stderr, child(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child makes changes, one after the other, and writes the number of each to its standard output as soon as it is done.
// It goes on where the database ends: each change takes one node id.
func child(path string) error {
	s, err := Open(path, 0)
	if err != nil {
		return err
	}
	for {
		i := int(s.NewNode()) - 1
		if _, err := s.Do(change(i)...); err != nil {
			return fmt.Errorf("change %d: %w", i, err)
		}
		if _, err := fmt.Println(i); err != nil {
			return err
		}
	}
}

// changesInRound is how many changes make a round, in which an image is added, a container on it, and the container of the
// round before is updated to the image and loses its name.
const changesInRound = 7

// change returns the change with a number.
func change(i int) []dag.Transformation {
	round := i / changesInRound
	own, last := fmt.Sprintf("-%d", round), fmt.Sprintf("-%d", round-1)
	opened := func(round, at int) dag.NodeID { return dag.NodeID(round*changesInRound + at + 1) }
	parent, update := "image"+last, dag.UpdateID(round)
	if round == 0 {
		parent = ""
	}
	switch at := i % changesInRound; {
	case at == 0:
		return []dag.Transformation{dag.Prepare{Key: "extract" + own, Kind: dag.Active, Parent: parent, Open: opened(round, 0)}}
	case at == 1:
		return []dag.Transformation{dag.Commit{Key: "extract" + own, Name: "image" + own}}
	case at == 2:
		return []dag.Transformation{dag.Prepare{Key: "k" + own, Kind: dag.Active, Parent: "image" + own, Open: opened(round, 2)}}
	case at == 3:
		return []dag.Transformation{dag.Bind{Key: "k" + own, Storage: "s" + own}, dag.Relabel{Key: "k" + own, Labels: map[string]string{"a": "b"}}}
	case round == 0:
		return []dag.Transformation{dag.Identify{Key: "k" + own}}
	case at == 4:
		return []dag.Transformation{dag.BeginUpdate{ID: update, From: opened(round-1, 0), To: opened(round, 0), Storages: []string{"s" + last}}}
	case at == 5:
		return []dag.Transformation{dag.Switch{Update: update, Storage: "s" + last, Head: opened(round-1, 2), Open: opened(round, 5)}}
	default:
		return []dag.Transformation{dag.Remove{Key: "k" + last}, dag.Retire{Storage: "s" + last}}
	}
}

// after returns what the graph says after the first n changes.
func after(t *testing.T, n int) string {
	t.Helper()
	g := dag.New()
	for i := range n {
		c, err := g.Plan(change(i)...)
		check(t, err)
		g.Apply(c)
	}
	return dumpGraph(t, g)
}

// A process that is killed while it changes the graph leaves every change that it was told is done, and of the one after
// that all or nothing.
func TestKilled(t *testing.T) {
	path := database(t)
	acknowledged := 0
	for i := range 30 {
		acknowledged = killAfter(t, path, 1+i*7%23)
		checkDatabase(t, path)
		s, err := Open(path, 0)
		check(t, err)
		got := dump(t, s)
		check(t, s.Close())
		if got != after(t, acknowledged) && got != after(t, acknowledged+1) {
			t.Fatalf("killed after %d changes were acknowledged, got\n%s\nwant\n%s\nor\n%s",
				acknowledged, got, after(t, acknowledged), after(t, acknowledged+1))
		}
	}
	t.Logf("%d changes in all", acknowledged)
}

// killAfter runs a child and kills it when it has acknowledged some changes. It returns how many changes were acknowledged
// in the life of the database.
func killAfter(t *testing.T, path string, changes int) int {
	t.Helper()
	exe, err := os.Executable()
	check(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childVariable+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	last := -1
	lines := bufio.NewScanner(out)
	for n := 1; lines.Scan(); n++ {
		last, err = strconv.Atoi(lines.Text())
		check(t, err)
		if n == changes {
			check(t, cmd.Process.Kill())
		}
	}
	check(t, lines.Err())
	err = cmd.Wait()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the child was to be killed and ended by itself: %v", err)
	}
	return last + 1
}
