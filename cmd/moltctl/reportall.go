// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// finding is something that reports say, of one storage or of several.
type finding struct {
	rank                int // in which order they are shown
	what, subject, text string
}

// manyFindings is up to how many different ones are kept.
const manyFindings = 4096

// findings are what the reports of several storages say, each once, with the storages.
type findings struct {
	storages map[finding][]string
	left     int // how many were left out
}

func (f *findings) add(storage string, one finding) {
	if _, known := f.storages[one]; !known && len(f.storages) == manyFindings {
		f.left++
		return
	}
	if all := f.storages[one]; !slices.Contains(all, storage) {
		f.storages[one] = append(all, storage)
	}
}

// read takes the report of a storage.
func (f *findings) read(storage string, report io.Reader) error {
	return eachField(report, func(name string, dec *json.Decoder) error {
		switch name {
		case "holds":
			return eachElement(dec, func(h servicing.Reason) error {
				f.add(storage, finding{rank: -3, what: "held", subject: heldSubject(h),
					text: h.Message + codeText(h.Code)})
				return nil
			})
		case "findings":
			return eachElement(dec, func(c servicing.CheckFinding) error {
				subject := printable(pathOf(servicing.PathReport{Path: c.Path, PathBytes: c.PathBytes}))
				f.add(storage, finding{rank: -2, what: string(c.Severity), subject: subject, text: c.Message})
				return nil
			})
		case "waiting":
			return eachElement(dec, func(w servicing.Waiting) error {
				if w.Fix {
					f.add(storage, finding{rank: -1, what: "fix waits", subject: w.Package,
						text: fmt.Sprintf("%s -> %s: %s", w.Kept, cmp.Or(w.Base, "none"), w.Why())})
				}
				return nil
			})
		case "paths":
			return eachElement(dec, func(p servicing.PathReport) error {
				text := strings.Trim(p.Reason+"; "+hidden(p), "; ")
				f.add(storage, finding{rank: rankOf(p.Verdict), what: string(p.Verdict), subject: printable(pathOf(p)),
					text: text})
				return nil
			})
		}
		return skipValue(dec)
	})
}

// heldSubject returns the path or package that a reason is about, empty for none.
func heldSubject(r servicing.Reason) string {
	if r.Path != "" {
		return printable(absolute([]byte(r.Path)))
	}
	return r.Package
}

// rankOf returns how many verdicts people want to know of before one.
func rankOf(verdict servicing.Verdict) int {
	for rank, v := range verdicts {
		if v.verdict == verdict {
			return rank
		}
	}
	return len(verdicts)
}

// reportAll shows what was found in several storages of an update: for people each thing once, as JSON one line for
// each storage.
func reportAll(ctx context.Context, c *cli.Command, client api.ControlClient, id uint64, storages []string) error {
	all := findings{storages: map[finding][]string{}}
	for _, storage := range storages {
		stream, err := client.GetReport(ctx, &api.GetReportRequest{Id: id, Storage: storage})
		if err != nil {
			return err
		}
		report := api.Reader(stream, (*api.GetReportResponse).GetReport)
		if c.String("format") == formatJSON {
			err = copyReport(c.Root().Writer, storage, report)
		} else {
			err = all.read(storage, report)
		}
		if err != nil {
			return fmt.Errorf("report on storage %q: %w", storage, err)
		}
	}
	if c.String("format") == formatJSON {
		return nil
	}
	t := newTable(c.Root().Writer)
	return t.end(all.show(t, len(storages)))
}

// copyReport prints a report as a line of JSON that names its storage.
func copyReport(w io.Writer, storage string, report io.Reader) error {
	name, err := json.Marshal(storage)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(&escaper{w: w})
	_, err = fmt.Fprintf(out, `{"storage":%s,"report":`, name)
	if err == nil {
		err = copyDocument(out, report)
	}
	if err == nil {
		_, err = out.WriteString("}\n")
	}
	return errors.Join(err, out.Flush())
}

// show prints the findings, those first that matter most, and of these the ones of the most storages.
func (f *findings) show(t *table, of int) error {
	t.row("FINDING", "PATH OR PACKAGE", "STORAGES", "WHY")
	order := slices.SortedFunc(maps.Keys(f.storages), func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(len(f.storages[b]), len(f.storages[a])),
			cmp.Compare(a.subject, b.subject), cmp.Compare(a.text, b.text))
	})
	for _, one := range order {
		in := f.storages[one]
		t.row(one.what, orDash(one.subject), storagesText(in, of), one.text)
	}
	if f.left > 0 {
		t.row("more", "-", "-", fmt.Sprintf("%d more in these reports; see one storage with --storage", f.left))
	}
	return t.err
}

// namedStorages is how many storages are named beside something.
const namedStorages = 3

// storagesText names storages, or says how many there are.
func storagesText(in []string, of int) string {
	switch {
	case len(in) == of:
		return fmt.Sprintf("all %d", of)
	case len(in) <= namedStorages:
		return few(in)
	}
	return fmt.Sprintf("%d: %s", len(in), few(in))
}

// few names the first of several storages.
func few(names []string) string {
	if len(names) <= namedStorages {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:namedStorages], ", ") + ", ..."
}
