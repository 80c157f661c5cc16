// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package manifest keeps, in a file, a sum for each path of a directory tree, to tell later which of them are no longer
// what they were. There is a line for each path, in the order of a walk that meets parents before children and the
// names of a directory by their bytes:
//
//	<depth> <sum> <name, quoted>
//
// Only the last name of a path is written, so that the file grows with the tree and not with the length of its paths.
// Both sides of a comparison are streams: trees of any size take little memory.
package manifest

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Walk calls fn for each path of a tree, the first being "." for its root, with a sum that has no blank in it.
type Walk func(fn func(path, sum string) error) error

// Write writes the manifest of a tree to the file at path, in the place of what is there, and returns the digest of the
// file. The file is not put on disk. Several at once write one after the other.
func Write(path string, walk Walk) (sum digest.Digest, err error) {
	temporary := path + ".new"
	f, err := create(temporary)
	if err != nil {
		return "", fmt.Errorf("write manifest: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }() // which lets the next one begin
	h := sha256.New()
	w := bufio.NewWriter(io.MultiWriter(f, h))
	err = walk(func(path, sum string) error {
		_, err := w.WriteString(line(path, sum))
		return err
	})
	if err = errors.Join(err, w.Flush()); err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("write manifest: %w", err), os.RemoveAll(temporary))
	}
	return digest.NewDigest(digest.SHA256, h), nil
}

// create returns an empty file at a path that nobody else writes until it is closed.
func create(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		err = flock(f)
		ours := err == nil && isAt(f, path)
		if ours {
			err = f.Truncate(0)
		}
		if ours && err == nil {
			return f, nil
		}
		if failed := errors.Join(err, f.Close()); failed != nil {
			return nil, failed
		}
	}
}

func flock(f *os.File) error {
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// isAt reports whether a file is still at a path: who wrote it before may have moved it to its place.
func isAt(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(open, there)
}

// Sum returns what [Write] would return for a tree.
func Sum(walk Walk) (digest.Digest, error) {
	h := sha256.New()
	err := walk(func(path, sum string) error {
		_, err := io.WriteString(h, line(path, sum))
		return err
	})
	return digest.NewDigest(digest.SHA256, h), err
}

func line(path, sum string) string {
	depth, name := 0, path
	if path != "." {
		depth = strings.Count(path, "/") + 1
		name = path[strings.LastIndexByte(path, '/')+1:]
	}
	return fmt.Sprintf("%d %s %s\n", depth, sum, strconv.Quote(name))
}

// Kind is how a path differs from what a manifest says.
type Kind string

// The kinds of differences.
const (
	Changed Kind = "changed"
	New     Kind = "new"
	Gone    Kind = "gone"
)

// Difference is a path that is not what a manifest says.
type Difference struct {
	Path string
	Kind Kind
	// Was and Is are the sums; empty for what is new or gone.
	Was, Is string
}

// Compare calls fn for each path of a tree that is not what the manifest at a path says, in order. It fails with
// errdefs.ErrDataLoss when the file is not the one whose digest is given, and with fs.ErrNotExist when there is none.
func Compare(path string, sum digest.Digest, walk Walk, fn func(Difference)) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	if digest.NewDigest(digest.SHA256, h) != sum {
		return fmt.Errorf("%s is not the manifest that was written: %w", path, errdefs.ErrDataLoss)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	r := &reader{in: bufio.NewReader(f)}
	if err := r.next(); err != nil {
		return err
	}
	err = walk(func(path, sum string) error {
		for !r.ended && before(r.path, path) {
			fn(Difference{Path: r.path, Kind: Gone, Was: r.sum})
			if err := r.next(); err != nil {
				return err
			}
		}
		if r.ended || r.path != path {
			fn(Difference{Path: path, Kind: New, Is: sum})
			return nil
		}
		if r.sum != sum {
			fn(Difference{Path: path, Kind: Changed, Was: r.sum, Is: sum})
		}
		return r.next()
	})
	for err == nil && !r.ended {
		fn(Difference{Path: r.path, Kind: Gone, Was: r.sum})
		err = r.next()
	}
	return err
}

// reader reads the lines of a manifest.
type reader struct {
	in        *bufio.Reader
	names     []string // of the directories above, and of the path itself
	path, sum string
	ended     bool
}

func (r *reader) next() error {
	text, err := r.in.ReadString('\n')
	if errors.Is(err, io.EOF) && text == "" {
		r.ended = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	number, rest, _ := strings.Cut(strings.TrimSuffix(text, "\n"), " ")
	sum, quoted, _ := strings.Cut(rest, " ")
	depth, err := strconv.Atoi(number)
	name, err2 := strconv.Unquote(quoted)
	if err := errors.Join(err, err2); err != nil || depth < 0 || depth > len(r.names)+1 {
		return fmt.Errorf("read manifest: line %q cannot be read: %w", text, errdefs.ErrDataLoss)
	}
	r.sum = sum
	if depth == 0 {
		r.path, r.names = ".", nil
		return nil
	}
	r.names = append(r.names[:depth-1], name)
	r.path = strings.Join(r.names, "/")
	return nil
}

// before reports whether a walk meets path a before path b.
func before(a, b string) bool {
	if a == "." || b == "." {
		return a == "." && b != "."
	}
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return a[i] == '/' || b[i] != '/' && a[i] < b[i]
		}
	}
	return len(a) < len(b)
}
