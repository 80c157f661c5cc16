// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// Untouched reports whether nothing was written in an open node since it was made: it is empty, and its root is the
// same as the root of the nodes under it, with which it was made.
func (s *State) Untouched(
	id dag.NodeID, under []dag.NodeID, same func(own, made tree.Meta) bool,
) (empty bool, err error) {
	dir, err := os.Open(s.nodes.FS(id))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if _, err := dir.Readdirnames(1); !errors.Is(err, io.EOF) {
		return false, err
	}
	if len(under) == 0 {
		return true, nil
	}
	own, err := rootOf(s.nodes.Stack([]dag.NodeID{id}))
	if err != nil {
		return false, err
	}
	made, err := rootOf(s.nodes.Stack(under))
	return err == nil && same(own, made), err
}

// warnExposed tells in the log who else can replace the root.
func (s *State) warnExposed() {
	exposed, err := s.nodes.Exposed()
	for _, what := range exposed {
		log.L.Warn(what)
	}
	if err != nil {
		log.L.WithError(err).Warn("failed to find out who else can replace the state directory")
	}
}

// copyRoot gives the root of a directory the metadata of the root of a stack.
func copyRoot(dir string, from tree.Stack) error {
	root, err := rootOf(from)
	if err != nil {
		return err
	}
	w, err := tree.NewWriter(dir)
	if err != nil {
		return fmt.Errorf("write root: %w", err)
	}
	return errors.Join(w.Mkdir(".", root), w.Close())
}

// rootOf returns the metadata of the root of a stack.
func rootOf(stack tree.Stack) (m tree.Meta, err error) {
	view, err := tree.Open(stack)
	if err != nil {
		return m, fmt.Errorf("read root: %w", err)
	}
	defer func() { err = errors.Join(err, view.Close()) }()
	root, err := view.Lookup(".")
	if err != nil {
		return m, fmt.Errorf("read root: %w", err)
	}
	return root.Meta, nil
}
