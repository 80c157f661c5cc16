// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package records keeps records in files of their own, beside the database that they come from, so that they can be
// read when that is lost:
//
//	records/names/<hash>.json, records/storages/<hash>.json, records/updates/<hash>.json
//	records/sequence       of the newest change that is in the files
//	n/<id>/node.json       the record of a node, next to its content
//
// Each file is replaced as a whole and reports whether its content is what was written. They are written after the
// change is in the database, and not put on disk one by one: after a power cut some may be older, which their sequence
// tells.
package records

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/replace"
)

// Version is the version of the form of the files.
const Version = 1

// envelope is what is in a file.
type envelope struct {
	Version int `json:"version"`
	// Sequence is that of the change of which the record was written.
	Sequence uint64 `json:"sequence"`
	// Sum is the SHA-256 of the record.
	Sum    string          `json:"sum"`
	Record json.RawMessage `json:"record"`
}

// Encode returns what is written for a record.
func Encode(sequence uint64, record any) ([]byte, error) {
	data, err := json.Marshal(record)
	if err != nil {
		return nil, err
	}
	return json.Marshal(envelope{Version: Version, Sequence: sequence, Sum: sum(data), Record: data})
}

// Decode reads what Encode returned. It fails with errdefs.ErrDataLoss if it is not what was written.
func Decode(data []byte, record any) (sequence uint64, err error) {
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return 0, fmt.Errorf("%w: %w", errdefs.ErrDataLoss, err)
	}
	if e.Version != Version || e.Sum != sum(e.Record) {
		return 0, fmt.Errorf("its content is not what was written: %w", errdefs.ErrDataLoss)
	}
	if err := json.Unmarshal(e.Record, record); err != nil {
		return 0, fmt.Errorf("%w: %w", errdefs.ErrDataLoss, err)
	}
	return e.Sequence, nil
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// Kind is a sort of records.
type Kind string

// The kinds of records that have a directory of their own.
const (
	Names    Kind = "names"
	Storages Kind = "storages"
	Updates  Kind = "updates"
)

// Kinds returns all kinds.
func Kinds() []Kind { return []Kind{Names, Storages, Updates} }

const extension = ".json"

// Dir is the directory with all records.
type Dir struct {
	root   string
	remove func(path string) error
}

// Open makes the directory ready.
func Open(root string) (*Dir, error) {
	for _, kind := range Kinds() {
		if err := os.MkdirAll(filepath.Join(root, string(kind)), 0o700); err != nil {
			return nil, fmt.Errorf("prepare records: %w", err)
		}
	}
	return &Dir{root, os.Remove}, nil
}

// RemoveWith sets what deletes the file of a record, in the place of os.Remove. Its error wraps fs.ErrNotExist if there
// is none.
func (d *Dir) RemoveWith(remove func(path string) error) { d.remove = remove }

// Path returns where the record with a key is.
func (d *Dir) Path(kind Kind, key string) string {
	return filepath.Join(d.root, string(kind), sum([]byte(key))[:32]+extension)
}

// Put writes a record.
func (d *Dir) Put(kind Kind, key string, sequence uint64, record any) error {
	return WriteFile(d.Path(kind, key), sequence, record)
}

// Delete removes a record. One that is not there is no error.
func (d *Dir) Delete(kind Kind, key string) error {
	if err := d.remove(d.Path(kind, key)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Files returns the paths of all records of a kind. It fails unless it is certain that these are all.
func (d *Dir) Files(kind Kind) ([]string, error) {
	dir := filepath.Join(d.root, string(kind))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list records: %w", err)
	}
	var paths []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), extension) {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}

func (d *Dir) positionPath() string { return filepath.Join(d.root, "sequence") }

// Position tells how far the files have come.
type Position struct {
	// Sequence is that of the newest change that is in the files, 0 if there never was one.
	Sequence uint64 `json:"-"`
	// Boot names the boot of the machine in which that was written. Files are not put on disk one by one: when the
	// machine has stopped since, any of them may be missing.
	Boot string `json:"boot,omitempty"`
}

// Position returns how far the files have come. It fails with errdefs.ErrDataLoss when the file that tells is damaged.
func (d *Dir) Position() (p Position, err error) {
	p.Sequence, err = ReadFile(d.positionPath(), &p)
	if errors.Is(err, fs.ErrNotExist) {
		return Position{}, nil
	}
	return p, err
}

// SetPosition notes that all changes up to one are in the files.
func (d *Dir) SetPosition(p Position) error { return WriteFile(d.positionPath(), p.Sequence, p) }

// WriteFile replaces a file by one with a record.
func WriteFile(path string, sequence uint64, record any) error {
	data, err := Encode(sequence, record)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return replace.File(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// ReadFile reads a file that WriteFile wrote.
func ReadFile(path string, record any) (sequence uint64, err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	if sequence, err = Decode(data, record); err != nil {
		return 0, fmt.Errorf("read %s: %w", path, err)
	}
	return sequence, nil
}

// Same reports whether a file holds a record, of whatever change.
func Same(path string, record any) bool {
	data, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	var got json.RawMessage
	if _, err := Decode(data, &got); err != nil {
		return false
	}
	want, err := json.Marshal(record)
	return err == nil && bytes.Equal(got, want)
}
