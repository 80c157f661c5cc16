// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// disk is what the root is on. The kernel tells of a write that failed once, to whoever had the file system open when
// it did, and takes what was lost for written from then on. So it is kept open, and what was being written at a failure
// is remembered.
type disk struct {
	held   *os.File // the root
	syncfs func(fd int) error

	syncing  sync.Mutex // one at a time: what fails must count before anybody else's sync succeeds
	mu       sync.Mutex // guards what follows, and is never held while the disk is waited for
	failures uint64
	begun    map[dag.NodeID]uint64 // the failures before each node was staged
}

func openDisk(root string) (*disk, error) {
	held, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	return &disk{held: held, syncfs: unix.Syncfs, begun: map[dag.NodeID]uint64{}}, nil
}

func (d *disk) begin(id dag.NodeID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begun[id] = d.failures
}

func (d *disk) forget(id dag.NodeID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.begun, id)
}

func (d *disk) lost(id dag.NodeID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failedSince(id)
}

func (d *disk) failedSince(id dag.NodeID) bool {
	failures, known := d.begun[id]
	return known && failures != d.failures
}

func (d *disk) sync(ids []dag.NodeID) error {
	d.syncing.Lock()
	defer d.syncing.Unlock()
	err := d.syncfs(int(d.held.Fd()))
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.failures++
		return fmt.Errorf("sync %s: %w", d.held.Name(), err)
	}
	for _, id := range ids {
		if d.failedSince(id) {
			return fmt.Errorf("sync %s: the disk failed while %v was written, which has to be written again",
				d.held.Name(), id)
		}
	}
	return nil
}
