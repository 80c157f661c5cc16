// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"os"
	"sync"
)

// The kinds of entry of the log. An entry is its kind (1 byte), an offset and a length (8 bytes each, big-endian), and
// for writes and marks as many bytes as the length says.
const (
	wrote  = 'W' // bytes at an offset
	zeroed = 'Z' // a range that was discarded or zeroed
	flush  = 'F' // a barrier: what was written before it is on the disk
	marked = 'M' // what the test was told
)

// recorder keeps the disk and its log. The order of the log is the one in which the disk took things.
type recorder struct {
	mu     sync.Mutex
	image  *os.File
	size   int64
	log    *bufio.Writer
	failed error // the first failure of the log, after which it is worth nothing
}

// append adds an entry. The lock is held.
func (r *recorder) append(kind byte, offset, length int64, data []byte) {
	var head [17]byte
	head[0] = kind
	binary.BigEndian.PutUint64(head[1:], uint64(offset))
	binary.BigEndian.PutUint64(head[9:], uint64(length))
	for _, part := range [][]byte{head[:], data} {
		if _, err := r.log.Write(part); err != nil && r.failed == nil {
			r.failed = err
		}
	}
}

func (r *recorder) write(data []byte, offset int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if offset < 0 || offset+int64(len(data)) > r.size {
		return errors.New("beyond the end of the disk")
	}
	if _, err := r.image.WriteAt(data, offset); err != nil {
		return err
	}
	r.append(wrote, offset, int64(len(data)), data)
	return r.failed
}

func (r *recorder) zero(offset, length int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	length = min(length, r.size-offset)
	if offset < 0 || length < 0 {
		return errors.New("beyond the end of the disk")
	}
	if err := punch(r.image, offset, length); err != nil {
		return err
	}
	r.append(zeroed, offset, length, nil)
	return r.failed
}

// barrier parts what is on the disk from what a power cut may take.
func (r *recorder) barrier() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.append(flush, 0, 0, nil)
	return r.failed
}

func (r *recorder) mark(data []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.append(marked, 0, int64(len(data)), data)
	return r.failed
}

// finish puts the end of the log into its file. Nothing is recorded any longer.
func (r *recorder) finish() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := errors.Join(r.failed, r.log.Flush())
	r.failed = errors.Join(err, os.ErrClosed)
	return err
}
