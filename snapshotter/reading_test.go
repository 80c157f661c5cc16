// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// Report returns a report as a whole.
func (f *fixture) Report(id dag.UpdateID, storage string) (*servicing.Report, error) {
	var document bytes.Buffer
	if err := f.Reports().Write(&document, id, storage, ""); err != nil {
		return nil, err
	}
	r := &servicing.Report{}
	return r, json.Unmarshal(document.Bytes(), r)
}

// PreviewUpdate returns all previews of an update.
func (f *fixture) PreviewUpdate(ctx context.Context, r updates.Request) ([]updates.Preview, error) {
	var all []updates.Preview
	err := f.Snapshotter.Previews().Update(ctx, r, func(p updates.Preview) error {
		all = append(all, p)
		return nil
	})
	return all, err
}

// PreviewRollback returns all previews of a rollback.
func (f *fixture) PreviewRollback(ctx context.Context, r updates.RollbackRequest) ([]updates.Preview, error) {
	var all []updates.Preview
	err := f.Snapshotter.Previews().Rollback(ctx, r, func(p updates.Preview) error {
		all = append(all, p)
		return nil
	})
	return all, err
}
