// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package sides

import (
	"bytes"
	"io"
)

// Outcome is what shall stand at a path: nothing, or a node, whose metadata may have been changed, perhaps with a
// content of its own or as a hard link to another path.
type Outcome struct {
	Node
	Made    bool // content is the content, not the node's
	Content []byte
	LinkTo  string
	Force   bool // a directory that must be in the delta storage even if it changes nothing
}

// Shows makes a node the outcome.
func Shows(n Node) Outcome { return Outcome{Node: n} }

// Nothing is the outcome that there is nothing.
func Nothing() Outcome { return Outcome{} }

// Length returns the size of a regular file.
func (o Outcome) Length() int64 {
	if o.Made {
		return int64(len(o.Content))
	}
	return o.Size
}

// Open opens a regular file, to be closed.
func (o Outcome) Open() (io.ReaderAt, io.Closer, error) {
	if o.Made {
		return bytes.NewReader(o.Content), io.NopCloser(nil), nil
	}
	file, err := o.View.OpenEntry(o.Entry)
	if err != nil {
		return nil, nil, err
	}
	return file, file, nil
}
