// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// previewed says what a storage that servicing refuses comes to.
type previewed struct {
	exit int
	what string
}

var (
	previewedUpdate   = previewed{exitHeld, "would be held"}
	previewedRollback = previewed{exitRefused, "could not be carried over"}
)

// previews reads what an operation would come to, storage by storage. As a reader it is the report on the last one.
type previews struct {
	stream grpc.ServerStreamingClient[api.PreviewResponse]
	ahead  *api.Preview // read while the report before it was
	rest   []byte       // of a piece of the report
}

// next returns the next preview, or io.EOF.
func (p *previews) next() (*api.Preview, error) {
	if _, err := io.Copy(io.Discard, p); err != nil {
		return nil, err
	}
	if found := p.ahead; found != nil {
		p.ahead = nil
		return found, nil
	}
	return nil, io.EOF
}

// Read implements io.Reader. The report ends where the next preview begins.
func (p *previews) Read(data []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.ahead != nil {
			return 0, io.EOF
		}
		part, err := p.stream.Recv()
		if err != nil {
			return 0, err
		}
		p.ahead, p.rest = part.GetPreview(), part.GetReport()
	}
	n := copy(data, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// printPreviews prints what an operation would come to, and fails when it would not reach all storages.
func printPreviews(
	c *cli.Command, stream grpc.ServerStreamingClient[api.PreviewResponse], err error, refused previewed,
) error {
	if err != nil {
		return err
	}
	var (
		p       = &previews{stream: stream}
		counted shortfall
		shown   = &previewText{c: c}
		show    = shown.show
		w       = c.Root().Writer
	)
	if c.Bool(allOrNothingFlag) {
		counted.so = "; none of them would be updated, because of --" + allOrNothingFlag
	}
	if c.String("format") == formatJSON {
		show = (&previewList{w: w}).show
	}
	for {
		one, err := p.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		counted.addPreview(c, one, refused)
		if err := show(one, p); err != nil {
			return err
		}
	}
	if err := show(nil, nil); err != nil {
		return err
	}
	if counted.of == 0 && c.String("format") != formatJSON {
		if _, err := fmt.Fprintln(w, "no storage is concerned"); err != nil {
			return err
		}
	}
	return counted.err()
}

// addPreview counts a storage that the operation would not reach.
func (s *shortfall) addPreview(c *cli.Command, one *api.Preview, refused previewed) {
	s.of++
	switch {
	case one.GetError() != "":
		s.addCode(one.GetCode(), "cannot be told")
	case one.GetUndone().GetFate() == fateMovedOn:
		s.add(exitHeld, "moved on by a later update")
	case one.GetUndone().GetCode() != 0:
		s.addCode(one.GetUndone().GetCode(), "would stay")
	case len(one.GetHolds()) > 0:
		s.add(refused.exit, refused.what)
	case one.GetWaits() != "" && c.Bool(allOrNothingFlag):
		s.add(exitFailed, "in use")
	case one.GetUndone() == nil && one.GetFixesWaiting() > 0:
		s.add(exitHeld, "would be applied but for fixes that wait")
	}
}

// previewText shows previews to people, each with the report that comes after it, and counts at the end what they came
// to.
type previewText struct {
	c *cli.Command
	ending
	updated, wait, stay int // storages
}

func (v *previewText) show(p *api.Preview, report io.Reader) error {
	if p == nil {
		return v.end()
	}
	if err := printPreview(v.c, p); err != nil {
		return err
	}
	h := head{}
	if p.GetReported() {
		r, err := printSummary(v.c, p.GetStorage(), report)
		if err != nil {
			return err
		}
		h = headOf(r)
	}
	switch {
	case p.GetError() != "" || stays(p.GetUndone()):
		v.stay++
	case len(p.GetHolds()) > 0:
		v.stay++
		v.refused(h)
	case p.GetWaits() != "":
		v.wait++
		v.waiting(p.GetUse())
		v.done(h)
	default:
		v.updated++
		v.done(h)
	}
	return nil
}

// stays reports whether undoing an update would leave a storage where it is.
func stays(u *api.Undone) bool {
	return u != nil && u.GetFate() != fateRollsBack && u.GetFate() != fateAlong
}

// end says how many storages would be where, and what would come of it.
func (v *previewText) end() error {
	t := newTable(v.c.Root().Writer)
	if v.updated+v.wait+v.stay > 1 && !v.c.Bool(allOrNothingFlag) {
		t.row()
		t.row("in all:", fmt.Sprintf("%d at once, %d at the next start, %d not", v.updated, v.wait, v.stay))
	}
	return t.end(v.ending.show(t, ""))
}

// printPreview prints a preview for people, without its report.
func printPreview(c *cli.Command, p *api.Preview) error {
	t := newTable(c.Root().Writer)
	switch {
	case p.GetError() != "":
		t.row(p.GetStorage()+":", "cannot be told: "+p.GetError())
	case p.GetUndone() != nil && p.GetUndone().GetFate() != fateRollsBack:
		t.row(p.GetStorage()+":", fateOf(p.GetUndone()), cmp.Or(p.GetWaits(), p.GetUndone().GetWhy()))
	case p.GetWaits() != "" && c.Bool(allOrNothingFlag):
		t.row(p.GetStorage()+":", p.GetWaits()+"; this would keep all storages from being updated")
	case p.GetWaits() != "":
		t.row(p.GetStorage()+":", p.GetWaits()+"; this would wait for its next start")
	case len(p.GetHolds()) > 0 && !p.GetReported():
		for _, reason := range p.GetHolds() {
			t.row(p.GetStorage()+":", "held: "+reason)
		}
	case !p.GetReported() && c.Bool(discardFlag):
		t.row(p.GetStorage()+":", "returns to exactly what it was; what was written since is deleted")
	case !p.GetReported():
		t.row(p.GetStorage()+":", "returns to exactly what it was; what was written since is set aside")
	}
	return t.flush()
}

// previewList prints previews as one JSON object, each with its report.
type previewList struct {
	w   io.Writer
	any bool
}

func (l *previewList) show(p *api.Preview, report io.Reader) error {
	before := map[bool]string{true: ",\n", false: "{\n  \"previews\": [\n"}[l.any]
	if p == nil {
		end := map[bool]string{true: "\n  ]\n}\n", false: "{\n  \"previews\": []\n}\n"}[l.any]
		_, err := io.WriteString(l.w, end)
		return err
	}
	l.any = true
	text, err := asJSON(p)
	if err != nil {
		return err
	}
	fields := strings.TrimRight(strings.TrimSuffix(text, "}"), "\n ")
	w := &escaper{w: l.w}
	if _, err := fmt.Fprintf(w, "%s%s,\n  \"report\": ", before, fields); err != nil {
		return err
	}
	if !p.GetReported() {
		_, err = io.WriteString(l.w, "null\n}")
		return err
	}
	out := bufio.NewWriter(w)
	if err := errors.Join(copyDocument(out, report), out.Flush()); err != nil {
		return err
	}
	_, err = io.WriteString(l.w, "\n}")
	return err
}
