// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"errors"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/report"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// unreadContent is what is said of a content that could not be read, in place of its digest.
const unreadContent report.Content = "unread"

// passOver notes a path of the storage that cannot be looked at because of an error, and returns nil; any other error
// it returns. Only a look passes over anything: where side effects are to be written, nobody else may write.
func (p *planner) passOver(name string, err error) error {
	if err == nil || !p.Live || !p.pins.passed.Note(err) {
		return err
	}
	unread, _ := errors.AsType[*tree.UnreadableError](err)
	p.pins.passed[name] = unread.Why
	return nil
}

// described is describe; a look does not fail because of a content that it cannot read.
func (p *planner) described(n sides.Node) (report.Content, error) {
	content, err := sides.Describe(n)
	if err != nil && p.Live && p.pins.passed.Note(err) {
		return unreadContent, nil
	}
	return content, err
}
