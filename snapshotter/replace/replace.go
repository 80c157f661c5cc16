// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package replace writes files in the place of others.
package replace

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
)

// Unfinished ends the name of a file in the making, which is beside the one that it will replace. What a crash leaves
// of it is written over by the next one.
const Unfinished = ".new"

// File replaces the file at a path by one with what write writes. Who reads the path finds the one or the other, whole.
// It puts nothing on disk: after a loss of power the file may be cut. Two at once must not write one file.
func File(path string, write func(w io.Writer) error) (err error) {
	temporary := path + Unfinished
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	w := bufio.NewWriter(f)
	err = errors.Join(write(w), w.Flush(), f.Close())
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil { // on a full disk what is left would take the place that is missing
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(temporary))
	}
	return nil
}
