// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// verdicts are the verdicts of a report in the order in which people want to know of them, with what they mean.
var verdicts = [...]struct {
	verdict servicing.Verdict
	means   string
}{
	{servicing.Hold, "keeps the storage from being updated"},
	{servicing.Beside, "yours stays, the new one is beside it as *.molt-new"},
	{servicing.Relocate, "yours has moved, for the base has another kind of file there"},
	{servicing.Remap, "has got another owner"},
	{servicing.Merge, "yours and the base's changes are both in it"},
	{servicing.Regenerate, "derived from other files"},
	{servicing.Keep, "yours stays"},
	{servicing.Take, "the base's is shown"},
	{servicing.Drop, "a leftover without meaning"},
}

func reportUpdate(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	if n := c.Args().Len(); n < 1 || n > 2 {
		return usagef("give an UPDATE, and a PATH for its details; see %s --help", c.FullName())
	}
	id, err := parseUpdate(c.Args().First())
	if err != nil {
		return err
	}
	storage := c.String("storage")
	if storage == "" {
		if storage, err = onlyStorage(ctx, client, id); err != nil {
			return err
		}
	}
	if path := c.Args().Get(1); path != "" {
		return reportPath(ctx, c, client, id, storage, path)
	}
	r, err := client.GetReport(ctx, &api.GetReportRequest{Id: id, Storage: storage})
	if err != nil {
		return err
	}
	return printReports(c, []named{{storage, r.GetReport()}})
}

// onlyStorage returns the storage of an update that has just one.
func onlyStorage(ctx context.Context, client api.ControlClient, id uint64) (string, error) {
	r, err := client.GetUpdate(ctx, &api.GetUpdateRequest{Id: id})
	if err != nil {
		return "", err
	}
	outcomes := r.GetUpdate().GetOutcomes()
	if len(outcomes) != 1 {
		return "", usagef("%s has %d storages; name one with --storage", updateID(id), len(outcomes))
	}
	return outcomes[0].GetStorage(), nil
}

// named is a report as JSON, with the storage it is about.
type named struct {
	storage string
	report  []byte
}

func printReports(c *cli.Command, reports []named) error {
	w := c.Root().Writer
	for _, n := range reports {
		if c.String("format") == formatJSON {
			if _, err := fmt.Fprintln(w, string(n.report)); err != nil {
				return err
			}
			continue
		}
		r := &servicing.Report{}
		if err := json.Unmarshal(n.report, r); err != nil {
			return fmt.Errorf("read report: %w", err)
		}
		t := newTable(w)
		summary(t, n.storage, r)
		if err := t.w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func summary(t *table, storage string, r *servicing.Report) {
	var counts []string
	for _, v := range verdicts {
		if n := r.Counts[v.verdict]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, v.verdict))
		}
	}
	t.row(storage+":", orDash(strings.Join(counts, ", ")))
	for _, h := range r.Holds {
		t.row("  held:", h.Message)
		if h.Do != "" { // reports of older versions do not say
			t.row("", "to do: "+h.Do)
		}
	}
	for _, f := range r.Findings {
		t.row("  "+string(f.Severity)+":", printable(pathOf(servicing.PathReport{Path: f.Path, PathBytes: f.PathBytes})), f.Message)
	}
	unread(t, "  not looked at", r.Unread)
	for _, p := range r.Packages {
		t.row("  package", p.Name, fmt.Sprintf("%s -> %s", orNone(p.User), orNone(p.Effective)), p.Reason)
	}
	for _, v := range verdicts {
		for _, p := range r.Paths {
			if p.Verdict == v.verdict {
				t.row("  "+string(p.Verdict), printable(pathOf(p)), p.Reason, hidden(p))
			}
		}
	}
}

// unread lists what was passed over.
func unread(t *table, label string, list []servicing.Unread) {
	for _, u := range list {
		if u.Path == "" {
			t.row(label, u.Why)
			continue
		}
		t.row(label, printable(bytesOf(u.Path, u.PathBytes)), u.Why)
	}
}

func orNone(version string) string {
	if version == "" {
		return "none"
	}
	return version
}

func pathOf(p servicing.PathReport) []byte {
	if len(p.PathBytes) > 0 {
		return absolute(p.PathBytes)
	}
	return []byte("/" + strings.TrimPrefix(p.Path, "/"))
}

func hidden(p servicing.PathReport) string {
	var fixes []string
	for _, f := range p.Hidden {
		fixes = append(fixes, f.Package+" "+f.Version)
	}
	if len(fixes) == 0 {
		return ""
	}
	return "hides " + strings.Join(fixes, ", ")
}

func meaning(v servicing.Verdict) string {
	for _, known := range verdicts {
		if known.verdict == v {
			return known.means
		}
	}
	return ""
}

// printPreviews prints what an operation would come to, and fails with errHeld when it would not reach all storages.
func printPreviews(c *cli.Command, r *api.PreviewResponse) error {
	if c.String("format") == formatJSON {
		if err := printJSON(c.Root().Writer, r); err != nil {
			return err
		}
		return held(r)
	}
	for _, p := range r.GetPreviews() {
		t := newTable(c.Root().Writer)
		switch {
		case p.GetError() != "":
			t.row(p.GetStorage()+":", "cannot be told: "+p.GetError())
		case p.GetWaits() != "":
			t.row(p.GetStorage()+":", p.GetWaits()+"; this would wait for its next start")
		case len(p.GetReport()) == 0:
			t.row(p.GetStorage()+":", "returns to exactly what it was; what was written since is set aside")
		}
		if err := t.w.Flush(); err != nil {
			return err
		}
		if len(p.GetReport()) > 0 {
			if err := printReports(c, []named{{p.GetStorage(), p.GetReport()}}); err != nil {
				return err
			}
		}
	}
	if len(r.GetPreviews()) == 0 {
		if _, err := fmt.Fprintln(c.Root().Writer, "no storage is concerned"); err != nil {
			return err
		}
	}
	return held(r)
}

func held(r *api.PreviewResponse) error {
	for _, p := range r.GetPreviews() {
		if len(p.GetHolds()) > 0 || p.GetError() != "" {
			return errHeld
		}
	}
	return nil
}
