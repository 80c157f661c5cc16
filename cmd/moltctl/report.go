// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
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
	{servicing.Beside, "yours stays, the new one is beside, where nothing reads it"},
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
	path, storages := c.Args().Get(1), []string{c.String("storage")}
	if storages[0] == "" {
		if storages, err = reportedStorages(ctx, client, id); err != nil {
			return err
		}
	}
	if len(storages) != 1 {
		if path != "" || len(storages) == 0 {
			return usagef("%s has %d storages with a report; name one with --storage", updateID(id), len(storages))
		}
		return reportAll(ctx, c, client, id, storages)
	}
	storage := storages[0]
	if path != "" {
		return reportPath(ctx, c, client, id, storage, path)
	}
	stream, err := client.GetReport(ctx, &api.GetReportRequest{Id: id, Storage: storage})
	if err != nil {
		return err
	}
	return printReport(c, storage, api.Reader(stream, (*api.GetReportResponse).GetReport))
}

// reportedStorages returns the storages of an update that has just one, else those of which there is a report.
func reportedStorages(ctx context.Context, client api.ControlClient, id uint64) (names []string, err error) {
	u, err := getUpdate(ctx, client, id)
	if err != nil {
		return nil, err
	}
	for _, o := range u.GetOutcomes() {
		if o.GetReport() || len(u.GetOutcomes()) == 1 {
			names = append(names, o.GetStorage())
		}
	}
	return names, nil
}

// printReport prints a report as it comes.
func printReport(c *cli.Command, storage string, report io.Reader) error {
	if c.String("format") == formatJSON {
		return copyJSON(c.Root().Writer, report)
	}
	_, err := printSummary(c, storage, report)
	return err
}

// printSummary prints a report for people as it comes. It returns the report without its paths.
func printSummary(c *cli.Command, storage string, report io.Reader) (*servicing.Report, error) {
	t := newTable(c.Root().Writer)
	s := &summary{t: t, storage: storage, report: &servicing.Report{}}
	return s.report, t.end(s.read(report))
}

// sortedPaths is up to how many paths a report shows by verdict; more come in the order of the report.
const sortedPaths = 4096

// summary shows a report to people as it comes.
type summary struct {
	t       *table
	storage string
	report  *servicing.Report // without its paths
	begun   bool              // what comes before the paths is shown
	paths   []servicing.PathReport
	many    bool // there are too many paths to hold them
	beside  bool // a version of one of them is not in force
}

// read shows a report, in which the paths come last.
func (s *summary) read(from io.Reader) error {
	err := eachField(from, func(name string, dec *json.Decoder) error {
		switch name {
		case "counts":
			return dec.Decode(&s.report.Counts)
		case "holds":
			return dec.Decode(&s.report.Holds)
		case "forced":
			return dec.Decode(&s.report.Forced)
		case "waiting":
			return dec.Decode(&s.report.Waiting)
		case "packages":
			return dec.Decode(&s.report.Packages)
		case "findings":
			return dec.Decode(&s.report.Findings)
		case "unread":
			return dec.Decode(&s.report.Unread)
		case "hidden_fixes":
			return dec.Decode(&s.report.HiddenFixes)
		case "paths":
			s.begin()
			return eachElement(dec, s.path)
		case "effects":
			return eachElement(dec, func(struct{}) error { return nil })
		}
		return skipValue(dec)
	})
	if err != nil {
		return err
	}
	s.begin()
	for _, v := range verdicts {
		for _, p := range s.paths {
			if p.Verdict == v.verdict {
				s.row(p)
			}
		}
	}
	if s.beside {
		s.t.row("  not in force:", "moltctl storage beside ls "+s.storage)
	}
	return s.t.err
}

// begin shows what comes before the paths.
func (s *summary) begin() {
	if s.begun {
		return
	}
	s.begun = true
	var counts []string
	for _, v := range verdicts {
		if n := s.report.Counts[v.verdict]; n > 0 {
			counts = append(counts, fmt.Sprintf("%d %s", n, v.verdict))
		}
	}
	if waits := fixesWait(uint32(len(s.report.FixesWaiting()))); waits != "" {
		counts = append(counts, waits)
	}
	if n := s.report.HiddenFixes; n > 0 {
		counts = append(counts, fmt.Sprintf("%d %s hidden", n, plural(n, "fix", "fixes")))
	}
	s.t.row(s.storage+":", orDash(strings.Join(counts, ", ")))
	held := map[bool]string{true: "  forced past:", false: "  held:"}[s.report.Forced]
	for _, h := range s.report.Holds {
		s.t.row(held, h.Message+codeText(h.Code))
		if h.Do != "" && !s.report.Forced { // reports of older versions do not say
			s.t.row("", "to do: "+h.Do)
		}
	}
	for _, f := range s.report.Findings {
		s.t.row("  "+string(f.Severity)+":", printable(pathOf(servicing.PathReport{Path: f.Path,
			PathBytes: f.PathBytes})), f.Message)
	}
	waiting(s.t, s.report.Waiting)
	unread(s.t, "  not looked at", s.report.Unread)
	for _, p := range s.report.Packages {
		s.t.row("  package", p.Name, fmt.Sprintf("%s -> %s", orNone(p.User), orNone(p.Effective)), p.Reason)
	}
}

// path takes a path.
func (s *summary) path(p servicing.PathReport) error {
	s.beside = s.beside || p.Beside != ""
	if !s.many && len(s.paths) < sortedPaths {
		s.paths = append(s.paths, p)
		return nil
	}
	if !s.many {
		s.many = true
		s.t.row("  in order:", fmt.Sprintf("there are more than %d paths", sortedPaths))
		for _, held := range s.paths {
			s.row(held)
		}
		s.paths = nil
	}
	s.row(p)
	return s.t.err
}

func (s *summary) row(p servicing.PathReport) {
	s.t.row("  "+string(p.Verdict), printable(pathOf(p)), p.Reason, hidden(p))
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
