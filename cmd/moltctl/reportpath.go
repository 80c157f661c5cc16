// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/urfave/cli/v3"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// reportPath tells all that is known about one path in an update of a storage, which may not have a report yet.
func reportPath(ctx context.Context, c *cli.Command, client api.ControlClient, id uint64, storage, path string) error {
	var report json.RawMessage
	said, err := client.GetReport(ctx, &api.GetReportRequest{Id: id, Storage: storage, Path: []byte(path)})
	if err == nil {
		err = readJSON(api.Reader(said, (*api.GetReportResponse).GetReport), &report)
	}
	if err != nil && !errdefs.IsNotFound(native(err)) {
		return err
	}
	var diff json.RawMessage
	compared, err := client.DiffPath(ctx, &api.DiffPathRequest{Id: id, Storage: storage, Path: []byte(path)})
	if err == nil {
		err = readJSON(api.Reader(compared, (*api.DiffPathResponse).GetDiff), &diff)
	}
	if err != nil {
		return err
	}
	if c.String("format") == formatJSON {
		return printWithDiff(c.Root().Writer, report, diff)
	}
	d := &servicing.PathDiff{}
	if err := json.Unmarshal(diff, d); err != nil {
		return fmt.Errorf("read diff: %w", err)
	}
	p := servicing.PathReport{Path: d.Path, PathBytes: d.PathBytes}
	if len(report) > 0 {
		all := &servicing.Report{}
		if err := json.Unmarshal(report, all); err != nil {
			return fmt.Errorf("read report: %w", err)
		}
		if len(all.Paths) == 0 {
			return fmt.Errorf("the report on %s says nothing about %q: it is the user's own, or "+
				"neither side changed it", storage, path)
		}
		p = all.Paths[0]
	}
	t := newTable(c.Root().Writer)
	detail(t, p, d)
	if err := t.flush(); err != nil {
		return err
	}
	return printDiffs(c.Root().Writer, d)
}

// printWithDiff prints what the report says about a path, if there is one, with the diffs in it.
func printWithDiff(w io.Writer, report, diff []byte) error {
	all := map[string]json.RawMessage{}
	if len(report) > 0 {
		if err := json.Unmarshal(report, &all); err != nil {
			return fmt.Errorf("read report: %w", err)
		}
	}
	all["diff"] = diff
	data, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return copyJSON(w, bytes.NewReader(data))
}

// detail tells what was decided about a path, if that is known yet, and what there is on each side.
func detail(t *table, p servicing.PathReport, d *servicing.PathDiff) {
	t.row("path", printable(pathOf(p)))
	if p.Verdict == "" {
		t.row("verdict", "not known: there is no report on this storage, or not yet")
	} else {
		t.row("verdict", p.Verdict, meaning(p.Verdict))
		t.row("reason", p.Reason)
		t.row("rule", p.Rule)
		t.row("decided by", orDash(p.Driver))
		t.row("not in force", orDash(printable([]byte(p.Beside))))
		t.row("package", orDash(p.Package))
		t.row("hidden fix", orDash(strings.TrimPrefix(hidden(p), "hides ")))
	}
	for _, side := range [...]struct {
		name    string
		content servicing.Content
	}{{"old base", p.Old}, {"new base", p.New}, {"storage", p.User}, {"result", p.Result}} {
		t.row(side.name, orDash(string(side.content)), sideText(d, side.name))
	}
}

// sideText tells what one side has, empty if that is not known, or nothing.
func sideText(d *servicing.PathDiff, name string) string {
	for _, s := range d.Sides {
		if s.Side != name || s.What == "" {
			continue
		}
		text := fmt.Sprintf("%s, %s, %d:%d, %s", s.What, s.Mode, s.UID, s.GID, size(s.Size))
		if s.Link != "" {
			text += ", to " + printable([]byte(s.Link))
		}
		if s.At != "" {
			text += ", at " + printable(absolute([]byte(s.At)))
		}
		return text
	}
	return ""
}

// changes says in words what a diff between two sides tells.
func changes(d servicing.TextDiff) string {
	switch {
	case d.To == "new base":
		return "what the base changed"
	case d.To == "storage":
		return "what the user changed"
	}
	return "the result against what the user had"
}

// printDiffs prints diffs, with what could confuse a terminal made visible, or why there are none.
func printDiffs(w io.Writer, d *servicing.PathDiff) error {
	var b strings.Builder
	if d.Why != "" {
		fmt.Fprintf(&b, "\nno diffs: %s\n", visible(d.Why))
	}
	for _, one := range d.Diffs {
		fmt.Fprintf(&b, "\n%s (%s -> %s):\n", changes(one), visible(one.From), visible(one.To))
		if one.Why != "" {
			fmt.Fprintf(&b, "no diff: %s\n", visible(one.Why))
			continue
		}
		for line := range strings.Lines(one.Text) {
			b.WriteString(visibleLine(strings.TrimSuffix(line, "\n")) + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// visibleLine is visible for one line of a text, in which tabs mean something.
func visibleLine(line string) string {
	parts := strings.Split(line, "\t")
	for i, part := range parts {
		parts[i] = visible(part)
	}
	return strings.Join(parts, "\t")
}
