// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package reports keeps the reports of updates, each in a file of its own, and reads them without holding one in
// memory.
package reports

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/replace"
)

// Dir is a directory of reports. It is safe for concurrent use.
type Dir struct {
	path   string
	remove func(path string) error
	mu     sync.Mutex // taken before any lock of the graph, see Sweep
	making map[string]int
}

// Open returns the directory at a path, which exists. What is swept is deleted by remove, whose error wraps
// fs.ErrNotExist when there is nothing.
func Open(path string, remove func(path string) error) *Dir {
	return &Dir{path: path, remove: remove, making: map[string]int{}}
}

// Save writes a report under a name, in the place of one that has the name already, and puts nothing on disk: after a
// crash the report is there as a whole, or it is not, or, when the power was lost, it may be cut. Until done is
// called, once, the report is in the making and Sweep leaves it alone; done must be called when it is decided whether
// a record names the report.
func (d *Dir) Save(name string, report *servicing.Report) (done func(), err error) {
	d.begin(name)
	if err := replace.File(d.file(name), report.Encode); err != nil {
		d.end(name)
		return nil, fmt.Errorf("save report: %w", err)
	}
	return func() { d.end(name) }, nil
}

func (d *Dir) begin(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.making[name]++
}

func (d *Dir) end(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.making[name]--; d.making[name] == 0 {
		delete(d.making, name)
	}
}

// Has reports whether there is a report of a name.
func (d *Dir) Has(name string) (bool, error) {
	_, err := os.Lstat(d.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Sweep removes the reports that are not in the making and whose names are not among those that named returns. No
// report begins or ends to be in the making while named is called and the others are removed: a report whose making
// has ended is named by then if a record names it.
func (d *Dir) Sweep(named func() map[string]bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("sweep reports: %w", err)
	}
	keep := named()
	var errs []error
	for _, e := range entries {
		name, _ := strings.CutSuffix(e.Name(), replace.Unfinished)
		if keep[e.Name()] || d.making[name] > 0 {
			continue
		}
		if err := d.remove(filepath.Join(d.path, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("sweep reports: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Write writes a report as JSON, the lists of paths and effects last. With a path, clean and relative to the root, it
// writes what the report says about it: of each list the elements about that path. In memory it holds one element of
// a list at a time. The error wraps fs.ErrNotExist when there is no report of the name.
func (d *Dir) Write(w io.Writer, name, path string) error {
	return d.read(name, func(f file) error {
		if path == "" {
			return f.copy(w)
		}
		return f.filter(w, path)
	})
}

// Path returns what a report says about a path, clean and relative to the root, and whether it says something. The
// error wraps fs.ErrNotExist when there is no report of the name.
func (d *Dir) Path(name, path string) (p servicing.PathReport, found bool, err error) {
	err = d.read(name, func(f file) (err error) {
		p, found, err = f.path(path)
		return err
	})
	return p, found, err
}

// LeftBehind is what did not follow the base in an update although it is not the user's.
type LeftBehind struct {
	Withheld []servicing.Withheld
	Waiting  []servicing.Waiting
}

// LeftBehind returns what did not follow the base by a report. The error wraps fs.ErrNotExist when there is no report
// of the name.
func (d *Dir) LeftBehind(name string) (left LeftBehind, err error) {
	err = d.read(name, func(f file) error {
		return errors.Join(f.value("withheld", &left.Withheld), f.value("waiting", &left.Waiting))
	})
	return left, err
}

func (d *Dir) read(name string, fn func(file) error) error {
	opened, err := os.Open(d.file(name))
	if err != nil {
		return fmt.Errorf("read report %s: %w", name, err)
	}
	defer opened.Close()
	f, err := index(opened)
	if err == nil {
		err = fn(f)
	}
	if err != nil {
		return fmt.Errorf("read report %s: %w", name, err)
	}
	return nil
}

func (d *Dir) file(name string) string { return filepath.Join(d.path, filepath.Base(name)) }
